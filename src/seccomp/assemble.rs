//! The back end: from a policy to classic BPF (linux/filter.h, Documentation/networking/filter.rst).
//!
//! The program looks at the architecture, then walks a balanced tree of number ranges with equal answers, then
//! compares arguments where a rule asks for it. Jumps only go forward and, when conditional, over at most 255
//! instructions; so the program is written from its end to its start, when every target is already in place
//! and its distance is known.
#![forbid(unsafe_code)]

use crate::sys::seccomp::{Instruction, MAX_INSTRUCTIONS};

use super::abi::{Abi, X32_BIT};
use super::error::SeccompError;
use super::policy::{Action, Condition, Interface, Policy, Rule, Test, Verdict};

/// Offsets in `struct seccomp_data` of linux/seccomp.h.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGUMENTS: u32 = 16;

/// A call of an interface that the profile does not list. libseccomp's default, which runc keeps.
const BAD_ARCH: Action = libc::SECCOMP_RET_KILL_THREAD;
const NO_SYSCALL: Action = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const IF_GREATER_OR_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

pub(super) fn assemble(policy: &Policy) -> Result<Vec<Instruction>, SeccompError> {
    let mut program = Backwards::default();
    let mut entries = Vec::new();
    let mut audits: Vec<u32> = Vec::new();
    for interface in &policy.interfaces {
        if !audits.contains(&interface.abi.audit) {
            audits.push(interface.abi.audit);
        }
    }
    // The native architecture ends up nearest to the start, where it is asked for first.
    for &audit in audits.iter().rev() {
        let segments = segments(policy, audit);
        let tree = program.tree(&segments, policy.default);
        entries.push((
            audit,
            if segments.len() > 1 {
                program.load(OFFSET_NUMBER, tree)
            } else {
                tree
            },
        ));
    }
    let mut next = program.answer(BAD_ARCH);
    for (audit, entry) in entries {
        next = program.branch(IF_EQUAL, audit, entry, next);
    }
    program.load(OFFSET_ARCH, next);
    program.finish()
}

/// Numbers from `first` up to the next segment, and what they get.
#[derive(Clone, Copy)]
struct Segment<'a> {
    first: u32,
    leaf: Leaf<'a>,
}

#[derive(Clone, Copy, PartialEq)]
enum Leaf<'a> {
    Answer(Action),
    Check(&'static Abi, &'a [Rule]),
}

#[derive(Default)]
struct Segments<'a>(Vec<Segment<'a>>);

impl<'a> Segments<'a> {
    fn push(&mut self, first: u32, leaf: Leaf<'a>) {
        match self.0.last_mut() {
            Some(last) if last.first == first => last.leaf = leaf,
            Some(last) if last.leaf == leaf => {}
            _ => self.0.push(Segment { first, leaf }),
        }
        // What was replaced may have been all that stood between two equal neighbours.
        if let [.., before, last] = &self.0[..]
            && before.leaf == last.leaf
        {
            self.0.pop();
        }
    }

    fn interface(&mut self, interface: &'a Interface, default: Action) {
        let abi = interface.abi;
        self.push(abi.first, Leaf::Answer(default));
        for (number, verdict) in &interface.syscalls {
            let leaf = match verdict {
                Verdict::Always(action) => Leaf::Answer(*action),
                Verdict::When(rules) => Leaf::Check(abi, rules),
            };
            self.push(*number, leaf);
            self.push(number + 1, Leaf::Answer(default));
        }
        let Some(last) = interface.last_known else {
            return;
        };
        self.push(last + 1, Leaf::Answer(NO_SYSCALL));
    }
}

/// All numbers of one architecture value, in order, from 0 to the largest. x86_64 and x32 share theirs.
fn segments(policy: &Policy, audit: u32) -> Vec<Segment<'_>> {
    let mut segments = Segments::default();
    let of = |first| {
        let wanted = move |i: &&Interface| i.abi.audit == audit && i.abi.first == first;
        policy.interfaces.iter().find(wanted)
    };
    match of(0) {
        Some(interface) => {
            let unknown_is_zero = interface.abi.unknown_is_zero && interface.last_known.is_some();
            segments.interface(interface, policy.default);
            if unknown_is_zero {
                segments.zero_is_unknown();
            }
        }
        None => segments.push(0, Leaf::Answer(BAD_ARCH)),
    }
    if audit == super::abi::X86_64.audit {
        match of(X32_BIT) {
            Some(interface) => segments.interface(interface, policy.default),
            None => {
                segments.push(X32_BIT, Leaf::Answer(BAD_ARCH));
                // A tracer that cancels a call sets its number to -1, seccomp(2): no reason to kill.
                segments.push(u32::MAX, Leaf::Answer(policy.default));
            }
        }
    }
    segments.0
}

impl Segments<'_> {
    /// Number 0 is setup(2), unused for decades; the kernel leaves it in place of a number it does not know.
    fn zero_is_unknown(&mut self) {
        let second_starts_at_one = self.0.get(1).is_some_and(|segment| segment.first == 1);
        if !second_starts_at_one {
            self.0.insert(
                1,
                Segment {
                    first: 1,
                    ..self.0[0]
                },
            );
        }
        self.0[0].leaf = Leaf::Answer(NO_SYSCALL);
    }
}

/// Where an instruction stands, counted from the end of the program.
#[derive(Clone, Copy)]
struct Label(usize);

/// A program that grows towards its start.
#[derive(Default)]
struct Backwards<'a> {
    reversed: Vec<Instruction>,
    /// Argument checks that are in place; system calls with the same rules share them.
    checks: Vec<(Leaf<'a>, Label)>,
    /// The latest return of each action, to be shared while it is in reach.
    answers: Vec<(Action, Label)>,
}

impl<'a> Backwards<'a> {
    /// Two less than what a conditional jump spans, as bringing two targets near adds up to two instructions.
    const REACH: usize = 253;

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.reversed.push(Instruction { code, jt, jf, k });
        Label(self.reversed.len() - 1)
    }

    /// The instructions to skip from the one that is pushed next.
    fn distance(&self, target: Label) -> usize {
        self.reversed.len() - target.0 - 1
    }

    fn answer(&mut self, action: Action) -> Label {
        let known = self.answers.iter().position(|&(known, _)| known == action);
        if let Some(at) = known
            && self.distance(self.answers[at].1) <= Self::REACH
        {
            return self.answers[at].1;
        }
        let label = self.push(RETURN, 0, 0, action);
        match known {
            Some(at) => self.answers[at].1 = label,
            None => self.answers.push((action, label)),
        }
        label
    }

    /// A place from which `target` goes on and which a conditional jump can reach.
    fn near(&mut self, target: Label) -> Label {
        let distance = self.distance(target);
        if distance <= Self::REACH {
            return target;
        }
        match self.reversed[target.0] {
            answer if answer.code == RETURN => self.answer(answer.k),
            _ => self.push(JUMP, 0, 0, distance as u32),
        }
    }

    fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        if yes.0 == no.0 {
            return yes;
        }
        let (yes, no) = (self.near(yes), self.near(no));
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.push(code, jt, jf, k)
    }

    /// An unconditional instruction before `next`, which it has to fall through to.
    fn before(&mut self, code: u16, k: u32, next: Label) -> Label {
        let distance = self.distance(next);
        if distance > 0 {
            self.push(JUMP, 0, 0, distance as u32);
        }
        self.push(code, 0, 0, k)
    }

    fn load(&mut self, offset: u32, next: Label) -> Label {
        self.before(LOAD, offset, next)
    }

    fn tree(&mut self, segments: &[Segment<'a>], default: Action) -> Label {
        match segments {
            [] => self.answer(default),
            [only] => self.leaf(only.leaf, default),
            // A single number between two ranges of one answer: one comparison, not two.
            [before, alone, after]
                if before.leaf == after.leaf && after.first - alone.first == 1 =>
            {
                let others = self.leaf(before.leaf, default);
                let alone_leaf = self.leaf(alone.leaf, default);
                self.branch(IF_EQUAL, alone.first, alone_leaf, others)
            }
            _ => {
                let (low, high) = segments.split_at(segments.len() / 2);
                let high_tree = self.tree(high, default);
                let low_tree = self.tree(low, default);
                self.branch(IF_GREATER_OR_EQUAL, high[0].first, high_tree, low_tree)
            }
        }
    }

    fn leaf(&mut self, leaf: Leaf<'a>, default: Action) -> Label {
        let (abi, rules) = match leaf {
            Leaf::Answer(action) => return self.answer(action),
            Leaf::Check(abi, rules) => (abi, rules),
        };
        if let Some(&(_, in_place)) = self.checks.iter().find(|(known, _)| *known == leaf) {
            return in_place;
        }
        let mut next = self.answer(default);
        for rule in rules.iter().rev() {
            let matched = self.answer(rule.action);
            let conditions = rule.conditions.iter().rev();
            next = conditions.fold(matched, |yes, condition| {
                self.check(abi, condition, yes, next)
            });
        }
        self.checks.push((leaf, next));
        next
    }

    fn check(&mut self, abi: &Abi, condition: &Condition, yes: Label, no: Label) -> Label {
        let (yes, no) = if condition.negated {
            (no, yes)
        } else {
            (yes, no)
        };
        let start = OFFSET_ARGUMENTS + 8 * u32::from(condition.argument);
        let (high, low) = if abi.big_endian {
            (start, start + 4)
        } else {
            (start + 4, start)
        };
        match condition.test {
            Test::MaskedEqual { mask, value } => {
                let next = self.masked_equal(low, mask as u32, value as u32, yes, no);
                match abi.wide {
                    true => self.masked_equal(high, upper(mask), upper(value), next, no),
                    false => next,
                }
            }
            Test::Greater(value) => self.ordered(abi, IF_GREATER, (high, low), value, yes, no),
            Test::GreaterOrEqual(value) => {
                self.ordered(abi, IF_GREATER_OR_EQUAL, (high, low), value, yes, no)
            }
        }
    }

    fn masked_equal(&mut self, offset: u32, mask: u32, value: u32, yes: Label, no: Label) -> Label {
        match mask {
            0 if value == 0 => yes,
            _ if value & !mask != 0 => no,
            u32::MAX => {
                let equal = self.branch(IF_EQUAL, value, yes, no);
                self.load(offset, equal)
            }
            _ => {
                let equal = self.branch(IF_EQUAL, value, yes, no);
                let masked = self.before(AND, mask, equal);
                self.load(offset, masked)
            }
        }
    }

    fn ordered(
        &mut self,
        abi: &Abi,
        code: u16,
        (high, low): (u32, u32),
        value: u64,
        yes: Label,
        no: Label,
    ) -> Label {
        let last = self.branch(code, value as u32, yes, no);
        let by_low = self.load(low, last);
        if !abi.wide {
            return by_low;
        }
        let tie = self.branch(IF_EQUAL, upper(value), by_low, no);
        let by_high = self.branch(IF_GREATER, upper(value), yes, tie);
        self.load(high, by_high)
    }

    fn finish(mut self) -> Result<Vec<Instruction>, SeccompError> {
        let instructions = self.reversed.len();
        if instructions > MAX_INSTRUCTIONS {
            return Err(SeccompError::TooLong {
                instructions,
                max: MAX_INSTRUCTIONS,
            });
        }
        self.reversed.reverse();
        Ok(self.reversed)
    }
}

fn upper(value: u64) -> u32 {
    (value >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::super::abi::{PPC64, S390X, X86_64};
    use super::super::machine::{Call, check, run};
    use super::*;

    const DENY: Action = libc::SECCOMP_RET_ERRNO | 1;
    const ALLOW: Action = libc::SECCOMP_RET_ALLOW;

    fn policy(abi: &'static Abi, syscalls: Vec<(u32, Verdict)>, last_known: Option<u32>) -> Policy {
        Policy {
            default: DENY,
            interfaces: vec![Interface {
                abi,
                syscalls,
                last_known,
            }],
        }
    }

    fn answer(policy: &Policy, number: u32, argument: u64) -> u32 {
        let program = assemble(policy).unwrap();
        check(&program);
        let abi = policy.interfaces[0].abi;
        let arguments = [argument; 6];
        run(
            &program,
            &Call {
                number,
                audit: abi.audit,
                arguments,
                big_endian: abi.big_endian,
            },
        )
    }

    fn when(test: Test) -> Verdict {
        let condition = Condition {
            argument: 1,
            test,
            negated: false,
        };
        Verdict::When(vec![Rule {
            action: ALLOW,
            conditions: vec![condition],
        }])
    }

    #[test]
    fn a_big_endian_argument_is_compared_by_its_halves_in_order() {
        let greater = policy(&PPC64, vec![(5, when(Test::Greater(0x1_0000_0005)))], None);
        for (argument, expected) in [
            (0x1_0000_0005, DENY),
            (0x1_0000_0006, ALLOW),
            (0x2_0000_0000, ALLOW),
            (0xffff_ffff, DENY),
        ] {
            assert_eq!(answer(&greater, 5, argument), expected, "{argument:#x}");
        }
    }

    #[test]
    fn zero_stands_for_an_unknown_call_on_s390x() {
        let zero_is_listed = policy(&S390X, vec![(0, Verdict::Always(ALLOW))], Some(400));
        assert_eq!(answer(&zero_is_listed, 0, 0), NO_SYSCALL);
        let only_one = policy(&S390X, vec![(1, Verdict::Always(ALLOW))], Some(400));
        assert_eq!(answer(&only_one, 0, 0), NO_SYSCALL);
        assert_eq!(answer(&only_one, 1, 0), ALLOW);
        assert_eq!(answer(&only_one, 2, 0), DENY);
    }

    #[test]
    fn a_cancelled_call_is_no_reason_to_kill() {
        let plain = policy(&X86_64, vec![(1, Verdict::Always(ALLOW))], Some(400));
        assert_eq!(answer(&plain, u32::MAX, 0), DENY);
        assert_eq!(answer(&plain, X32_BIT + 1, 0), BAD_ARCH);
    }

    #[test]
    fn jumps_reach_their_targets_however_far_these_are() {
        let verdict = |n: u32| (2 * n, when(Test::GreaterOrEqual(u64::from(n) << 32 | 7)));
        let many = policy(&X86_64, (0..300).map(verdict).collect(), Some(700));
        for n in [0, 1, 150, 298, 299] {
            let boundary = u64::from(n) << 32 | 7;
            assert_eq!(answer(&many, 2 * n, boundary), ALLOW);
            assert_eq!(answer(&many, 2 * n, boundary - 1), DENY);
            assert_eq!(answer(&many, 2 * n + 1, boundary), DENY);
        }
        assert_eq!(answer(&many, 701, 0), NO_SYSCALL);
    }
}
