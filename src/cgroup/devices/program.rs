//! Device rules as an eBPF program for cgroup v2.
//!
//! The kernel runs it for each open and each mknod with `struct bpf_cgroup_dev_ctx` (linux/bpf.h) and lets the access pass
//! if it returns 1. The rules are tried from the last to the first. An access may ask for several things at once (open
//! for reading and writing): each rule decides those that it names, and the rest goes on to the rule before it.

use super::{Access, Rule, Rules};
use crate::sys::bpf::Insn;

/// Where the context has its fields.
const TYPE_AND_ACCESS: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;

/// The registers: the result (and scratch), the context, and what is read from it once.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const DEVICE_TYPE: u8 = 2;
/// The accesses that no rule has decided yet.
const UNDECIDED: u8 = 3;
const DEVICE_MAJOR: u8 = 4;
const DEVICE_MINOR: u8 = 5;

// Operation codes, linux/bpf_common.h and linux/bpf.h: class, operation, source.
const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbf;
const MOVE: u8 = 0xb7;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_IF_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// The program for `rules`.
pub(in crate::cgroup) fn compile(rules: &Rules) -> Vec<Insn> {
    let mut program = vec![
        load(DEVICE_TYPE, TYPE_AND_ACCESS),
        register(MOVE_REGISTER, UNDECIDED, DEVICE_TYPE),
        immediate(AND, DEVICE_TYPE, 0xffff),
        immediate(SHIFT_RIGHT, UNDECIDED, 16),
        load(DEVICE_MAJOR, MAJOR),
        load(DEVICE_MINOR, MINOR),
    ];
    for rule in rules.rules.iter().rev() {
        program.extend(compile_rule(rule));
    }
    program.extend(answer(rules.allow_by_default));
    program
}

/// One rule: the tests whether it is about this device, each of which jumps behind the rule where it fails, and what it
/// decides.
fn compile_rule(rule: &Rule) -> Vec<Insn> {
    let tests = [
        rule.kind.map(|kind| (DEVICE_TYPE, kind as i32)),
        // A number above i32::MAX, which no device has, is extended with its sign and matches nothing: as it should.
        rule.major.map(|major| (DEVICE_MAJOR, major as i32)),
        rule.minor.map(|minor| (DEVICE_MINOR, minor as i32)),
    ];
    let tests: Vec<_> = tests.into_iter().flatten().collect();
    let decision = decide(rule);
    let mut block = Vec::with_capacity(tests.len() + decision.len());
    for (index, (register, value)) in tests.iter().enumerate() {
        // Jumps are counted from the next instruction.
        let distance = tests.len() - index - 1 + decision.len();
        block.push(jump(JUMP_IF_NOT_EQUAL, *register, *value, distance));
    }
    block.extend(decision);
    block
}

fn decide(rule: &Rule) -> Vec<Insn> {
    let named = i32::from(rule.access.bits());
    let answer = answer(rule.allow);
    // A rule for all accesses leaves nothing undecided. `Rules` has no such rule for all devices as well, behind which the
    // verifier would find code that cannot be reached.
    if rule.access == Access::ALL {
        return answer.to_vec();
    }
    let mut decision = match rule.allow {
        // Allowed is what it names; the access passes if nothing else is left.
        true => vec![
            immediate(AND, UNDECIDED, i32::from(Access::ALL.bits()) & !named),
            jump(JUMP_IF_NOT_EQUAL, UNDECIDED, 0, answer.len()),
        ],
        // One denied part denies the whole.
        false => vec![
            register(MOVE_REGISTER, RESULT, UNDECIDED),
            immediate(AND, RESULT, named),
            jump(JUMP_IF_EQUAL, RESULT, 0, answer.len()),
        ],
    };
    decision.extend(answer);
    decision
}

fn answer(allow: bool) -> [Insn; 2] {
    [
        immediate(MOVE, RESULT, i32::from(allow)),
        immediate(EXIT, 0, 0),
    ]
}

fn load(to: u8, offset: i16) -> Insn {
    Insn {
        code: LOAD_WORD,
        registers: registers(to, CONTEXT),
        offset,
        immediate: 0,
    }
}

fn register(code: u8, to: u8, from: u8) -> Insn {
    Insn {
        code,
        registers: registers(to, from),
        offset: 0,
        immediate: 0,
    }
}

fn immediate(code: u8, to: u8, immediate: i32) -> Insn {
    Insn {
        code,
        registers: registers(to, 0),
        offset: 0,
        immediate,
    }
}

fn jump(code: u8, tested: u8, value: i32, distance: usize) -> Insn {
    Insn {
        code,
        registers: registers(tested, 0),
        // A rule has at most eight instructions.
        offset: distance as i16,
        immediate: value,
    }
}

/// Two bit fields of four bits, which C lays out in the order of the bytes.
fn registers(to: u8, from: u8) -> u8 {
    match cfg!(target_endian = "little") {
        true => from << 4 | to,
        false => to << 4 | from,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DOCKER, Kind, rules};
    use super::*;

    /// Runs `program` as the kernel would, refusing what its verifier refuses: registers that were not set, jumps
    /// backwards or out of the program, and running off its end.
    fn run(program: &[Insn], kind: Kind, major: u32, minor: u32, access: u8) -> u64 {
        let context = [(u32::from(access) << 16) | kind as u32, major, minor];
        let mut set: [Option<u64>; 11] = [None; 11];
        let mut at = 0;
        loop {
            let insn = program[at];
            let to = usize::from(insn.registers & 0xf);
            let from = usize::from(insn.registers >> 4);
            let value = insn.immediate as i64 as u64;
            at += 1;
            let mut jump = |taken: bool| {
                if taken {
                    at += usize::try_from(insn.offset).unwrap();
                }
            };
            match insn.code {
                LOAD_WORD => {
                    assert_eq!(from, usize::from(CONTEXT));
                    let field = usize::try_from(insn.offset).unwrap() / 4;
                    set[to] = Some(u64::from(context[field]));
                }
                MOVE_REGISTER => set[to] = Some(set[from].unwrap()),
                MOVE => set[to] = Some(value),
                AND => set[to] = Some(set[to].unwrap() & value),
                SHIFT_RIGHT => set[to] = Some(set[to].unwrap() >> value),
                JUMP_IF_EQUAL => jump(set[to].unwrap() == value),
                JUMP_IF_NOT_EQUAL => jump(set[to].unwrap() != value),
                EXIT => return set[usize::from(RESULT)].unwrap(),
                code => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    /// Every instruction is reached by some path, or the verifier refuses the program ("unreachable insn").
    fn reached(program: &[Insn]) -> bool {
        let mut seen = vec![false; program.len()];
        let mut next = vec![0];
        while let Some(at) = next.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            let insn = program[at];
            match insn.code {
                EXIT => {}
                JUMP_IF_EQUAL | JUMP_IF_NOT_EQUAL => {
                    next.extend([at + 1, at + 1 + insn.offset as usize]);
                }
                _ => next.push(at + 1),
            }
        }
        seen.into_iter().all(|seen| seen)
    }

    fn assert_program_does_what_the_rules_say(json: &str) {
        let rules = rules(json);
        let program = compile(&rules);
        assert!(reached(&program), "{json}");
        for kind in [Kind::Block, Kind::Char] {
            for major in [0, 1, 5, 8, 10, 136, 240, 4095] {
                for minor in [0, 1, 2, 3, 5, 7, 8, 9, 200, 229, 1_048_575] {
                    for access in 1..=7 {
                        let got = run(&program, kind, major, minor, access);
                        let expected = rules.allows(kind, major, minor, Access(access));
                        assert_eq!(
                            got,
                            u64::from(expected),
                            "{kind:?} {major}:{minor} {} by {json}",
                            Access(access)
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_program_does_what_the_rules_say() {
        for json in [
            "[]",
            DOCKER,
            r#"[{"allow":true,"access":"rwm"}]"#,
            r#"[{"allow":true,"access":"rwm"},{"allow":false,"type":"b","major":8,"access":"w"}]"#,
            r#"[{"allow":true,"access":"r"}]"#,
            r#"[{"allow":false,"access":"m"},{"allow":true,"type":"c","minor":200,"access":"rw"}]"#,
            r#"[{"allow":true,"type":"b","access":"r"},{"allow":true,"type":"b","major":8,"access":"w"},
                {"allow":false,"type":"b","major":8,"minor":1,"access":"r"}]"#,
            r#"[{"allow":true,"type":"c","major":4294967295,"minor":4294967295,"access":"rw"}]"#,
        ] {
            assert_program_does_what_the_rules_say(json);
        }
    }

    /// Many lists of rules, made of all that a rule can hold by a fixed linear congruence.
    #[test]
    fn the_program_does_what_any_rules_say() {
        let mut state = 1u64;
        let mut choose = |choices: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % choices
        };
        for _ in 0..300 {
            let count = choose(6);
            let rules: Vec<_> = (0..count)
                .map(|_| {
                    let allow = choose(2) == 0;
                    let kind = ["a", "b", "c"][choose(3) as usize];
                    let major = [-1, 1, 8, 10][choose(4) as usize];
                    let minor = [-1, 0, 3, 200][choose(4) as usize];
                    let access = ["r", "w", "m", "rw", "rm", "wm", "rwm"][choose(7) as usize];
                    format!(
                        r#"{{"allow":{allow},"type":"{kind}","major":{major},"minor":{minor},"access":"{access}"}}"#
                    )
                })
                .collect();
            assert_program_does_what_the_rules_say(&format!("[{}]", rules.join(",")));
        }
    }

    #[test]
    fn the_program_of_docker_is_short() {
        let length = compile(&rules(DOCKER)).len();
        assert!(length < 80, "{length}");
    }
}
