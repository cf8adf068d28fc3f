//! The compiler against libseccomp: both filters answer every system call number of every architecture, with
//! argument values around every condition, and have to agree but for what docs/seccomp.md lists.

use std::collections::BTreeSet;

use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};
use serde_json::{Value, json};

use super::abi::{self, Abi, X32_BIT};
use super::machine::{self, Call};
use super::table;
use crate::sys::seccomp::Instruction;

const ENOSYS: u32 = 0x0005_0000 | libc::ENOSYS as u32;

/// The profile's filter as libcontainer and runc have libseccomp make it.
pub(super) fn by_libseccomp(profile: &LinuxSeccomp) -> Result<Vec<Instruction>, String> {
    let text = |error: libseccomp::error::SeccompError| error.to_string();
    let default = scmp_action(profile.default_action(), profile.default_errno_ret());
    let mut filter = ScmpFilterContext::new(default).map_err(text)?;
    for arch in profile.architectures().iter().flatten() {
        let arch = arch.to_string().parse::<ScmpArch>().map_err(text)?;
        filter.add_arch(arch).map_err(text)?;
    }
    for rule in profile.syscalls().iter().flatten() {
        let action = scmp_action(rule.action(), rule.errno_ret());
        if action == default {
            continue;
        }
        for name in rule.names() {
            let Ok(syscall) = ScmpSyscall::from_name(name) else {
                continue;
            };
            let conditions: Vec<_> = rule.args().iter().flatten().map(scmp_condition).collect();
            let indexes: BTreeSet<_> = rule.args().iter().flatten().map(|a| a.index()).collect();
            if indexes.len() < conditions.len() {
                for condition in &conditions {
                    let alone = std::slice::from_ref(condition);
                    filter
                        .add_rule_conditional(action, syscall, alone)
                        .map_err(text)?;
                }
            } else {
                filter
                    .add_rule_conditional(action, syscall, &conditions)
                    .map_err(text)?;
            }
        }
    }
    let mut pipe = tempfile();
    filter.export_bpf(&mut pipe).map_err(text)?;
    use std::io::{Read, Seek};
    pipe.rewind().unwrap();
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).unwrap();
    let instruction = |b: &[u8]| Instruction {
        code: u16::from_ne_bytes([b[0], b[1]]),
        jt: b[2],
        jf: b[3],
        k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
    };
    Ok(bytes.chunks_exact(8).map(instruction).collect())
}

fn tempfile() -> std::fs::File {
    use nix::sys::memfd::{MemFdCreateFlag, memfd_create};
    memfd_create(c"bpf", MemFdCreateFlag::MFD_CLOEXEC)
        .unwrap()
        .into()
}

fn scmp_action(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    let errno = errno.unwrap_or(libc::EPERM as u32);
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            ScmpAction::KillThread
        }
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno as i32),
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(errno as u16),
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
    }
}

fn scmp_condition(arg: &LinuxSeccompArg) -> ScmpArgCompare {
    use ScmpCompareOp::*;
    let (op, value) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => (NotEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (Less, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (LessOrEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpEq => (Equal, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (GreaterEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (Greater, arg.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (MaskedEqual(arg.value()), arg.value_two().unwrap_or(0))
        }
    };
    ScmpArgCompare::new(arg.index() as u32, op, value)
}

fn profile(value: Value) -> LinuxSeccomp {
    serde_json::from_value(value).unwrap()
}

/// libseccomp 2.5.4 knows no name newer than Linux 6.6, and loses one of PowerPC on the way from another native
/// architecture: those would only show what it lacks.
fn without_newer_names(mut profile: LinuxSeccomp) -> LinuxSeccomp {
    let mut rules = profile.syscalls().clone().unwrap_or_default();
    for rule in &mut rules {
        let known = |name: &&String| {
            *name != "sys_debug_setcontext" && ScmpSyscall::from_name(name).is_ok()
        };
        let names = rule.names().iter().filter(known).cloned().collect();
        rule.set_names(names);
    }
    profile.set_syscalls(Some(rules));
    profile
}

fn abis(profile: &LinuxSeccomp) -> Vec<&'static Abi> {
    let listed = profile
        .architectures()
        .iter()
        .flatten()
        .map(|&arch| abi::of(arch).unwrap());
    let mut abis = vec![abi::native().unwrap()];
    abis.extend(listed);
    abis
}

fn names(profile: &LinuxSeccomp) -> impl Iterator<Item = &String> {
    profile
        .syscalls()
        .iter()
        .flatten()
        .flat_map(LinuxSyscall::names)
}

/// The number from which on ENOSYS is the answer, worked out apart from the compiler.
fn enosys_above(profile: &LinuxSeccomp, abi: &Abi) -> Option<u32> {
    use LinuxSeccompAction::*;
    if matches!(
        profile.default_action(),
        ScmpActAllow | ScmpActLog | ScmpActTrace
    ) {
        return None;
    }
    names(profile)
        .filter_map(|name| table::number(table::numbers(name)?, abi))
        .max()
}

/// Values on both sides of every boundary that some condition draws, in both halves.
fn interesting_values(profile: &LinuxSeccomp) -> Vec<u64> {
    let args = profile
        .syscalls()
        .iter()
        .flatten()
        .filter_map(|rule| rule.args().as_ref())
        .flatten();
    let mut values = BTreeSet::from([0, 1, u64::MAX, 1 << 32, u64::from(u32::MAX)]);
    for arg in args {
        for value in [arg.value(), arg.value_two().unwrap_or(0)] {
            let near = [value, value.wrapping_add(1), value.wrapping_sub(1), !value];
            values.extend(near);
            values.extend(near.map(|v| v ^ (1 << 32)));
            values.insert(value & 0xffff_ffff);
        }
    }
    values.into_iter().collect()
}

struct Differences {
    compared: usize,
    found: Vec<String>,
}

/// Runs both filters over everything. A rule pair that overlaps with different actions is left out by `skip`.
fn compare(
    profile: &LinuxSeccomp,
    theirs: &[Instruction],
    skip: impl Fn(&Call) -> bool,
) -> Differences {
    let ours = super::compile(profile).unwrap();
    machine::check(ours.instructions());
    let abis = abis(profile);
    let values = interesting_values(profile);
    let conditional: BTreeSet<&str> = profile
        .syscalls()
        .iter()
        .flatten()
        .filter(|rule| rule.args().as_ref().is_some_and(|args| !args.is_empty()))
        .flat_map(|rule| rule.names().iter().map(String::as_str))
        .collect();
    let mut differences = Differences {
        compared: 0,
        found: Vec::new(),
    };
    let limits: Vec<_> = abis
        .iter()
        .map(|abi| (*abi, enosys_above(profile, abi)))
        .collect();
    let beyond_libseccomp: Vec<_> = abis
        .iter()
        .map(|abi| (*abi, unknown_to_libseccomp(profile, abi)))
        .collect();
    let mut one = |call: Call| {
        let abi = interface_of(&abis, &call);
        if beyond_libseccomp
            .iter()
            .any(|(of, numbers)| Some(*of) == abi && numbers.contains(&call.number))
        {
            return;
        }
        let last = limits
            .iter()
            .find(|(of, _)| Some(*of) == abi)
            .and_then(|(_, last)| *last);
        let expected = match last {
            Some(last) if call.number > last => ENOSYS,
            _ => machine::run(theirs, &call),
        };
        let found = machine::run(ours.instructions(), &call);
        differences.compared += 1;
        if found != expected && !skip(&call) {
            let name = abi.map(|abi| abi.name);
            differences.found.push(format!(
                "{name:?}: {call:x?}: {found:#x}, not {expected:#x}"
            ));
        }
    };
    for abi in abi::ALL.iter().filter(|abi| !abi.big_endian) {
        let base = lowest_number(abi);
        let huge = [
            0x0fff_ffff,
            X32_BIT - 1,
            X32_BIT,
            X32_BIT + 9999,
            0xf0002,
            0xf0007,
            u32::MAX,
        ];
        for number in (base..base + 600).chain(huge) {
            let call = Call {
                number,
                audit: abi.audit,
                ..Call::default()
            };
            one(call);
            one(Call {
                arguments: [u64::MAX; 6],
                ..call
            });
        }
        if !abis.contains(abi) {
            continue;
        }
        let carriers = ["socketcall", "ipc"]
            .into_iter()
            .filter(|_| abi.multiplexes);
        for name in conditional.iter().copied().chain(carriers) {
            let Some(number) = table::numbers(name).and_then(|n| table::number(n, abi)) else {
                continue;
            };
            let call = Call {
                number,
                audit: abi.audit,
                ..Call::default()
            };
            for &first in values.iter().chain(&(0..30).collect::<Vec<_>>()) {
                for &other in &values {
                    for at in 1..6 {
                        let mut arguments = [first; 6];
                        arguments[at] = other;
                        one(Call { arguments, ..call });
                    }
                }
            }
        }
    }
    differences
}

fn lowest_number(abi: &Abi) -> u32 {
    match abi.name {
        "SCMP_ARCH_MIPS" | "SCMP_ARCH_MIPSEL" => 4000,
        "SCMP_ARCH_MIPS64" | "SCMP_ARCH_MIPSEL64" => 5000,
        "SCMP_ARCH_MIPS64N32" | "SCMP_ARCH_MIPSEL64N32" => 6000,
        _ => abi.first,
    }
}

/// The interface of the profile that a call belongs to.
fn interface_of(abis: &[&'static Abi], call: &Call) -> Option<&'static Abi> {
    let x32 = call.audit == abi::X86_64.audit && call.number >= X32_BIT;
    let first = if x32 { X32_BIT } else { 0 };
    abis.iter()
        .find(|abi| abi.audit == call.audit && abi.first == first)
        .copied()
}

/// Numbers of the profile that libseccomp 2.5.4 lacks on this architecture, though it knows the name.
fn unknown_to_libseccomp(profile: &LinuxSeccomp, abi: &Abi) -> BTreeSet<u32> {
    let arch: ScmpArch = abi.name.parse().unwrap();
    let number = |name: &String| table::number(table::numbers(name)?, abi);
    let unknown = |name: &&String| {
        let resolved = ScmpSyscall::from_name_by_arch(name, arch);
        // It gives multiplexed calls numbers from -100 down, and others that it lacks from -10000 down.
        resolved.is_ok_and(|syscall| syscall.as_raw_syscall() < -1000)
    };
    names(profile).filter(unknown).filter_map(number).collect()
}

fn assert_same(profile: &LinuxSeccomp) {
    let profile = without_newer_names(profile.clone());
    let theirs = by_libseccomp(&profile).unwrap();
    let differences = compare(&profile, &theirs, |_| false);
    assert!(differences.compared > 10_000);
    let some: Vec<_> = differences.found.iter().take(12).collect();
    assert!(
        some.is_empty(),
        "{} of {}: {some:#?}",
        differences.found.len(),
        differences.compared
    );
}

#[test]
#[ignore = "needs SECCOMP_CONFIGS: paths of config.json files, separated by colons"]
fn given_configs_get_the_answers_of_libseccomp() {
    let paths = std::env::var("SECCOMP_CONFIGS").unwrap();
    for path in paths.split(':') {
        let config: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let seccomp = &config["linux"]["seccomp"];
        if !seccomp.is_null() {
            println!("{path}");
            assert_same(&profile(seccomp.clone()));
        }
    }
}

/// What the specification and docs/seccomp.md say of one call, worked out rule by rule without a compiler.
struct Model<'a> {
    profile: &'a LinuxSeccomp,
    abis: Vec<&'static Abi>,
}

impl Model<'_> {
    /// The answer, and whether another rule that holds as well would have given another one.
    fn answer(&self, call: &Call) -> (u32, bool) {
        let default = ret(
            self.profile.default_action(),
            self.profile.default_errno_ret(),
        );
        let Some(abi) = interface_of(&self.abis, call) else {
            let cancelled = call.audit == abi::X86_64.audit && call.number == u32::MAX;
            let known = self.abis.iter().any(|abi| abi.audit == call.audit);
            return (if cancelled && known { default } else { 0 }, false);
        };
        if enosys_above(self.profile, abi).is_some_and(|last| call.number > last) {
            return (ENOSYS, false);
        }
        let mut conditional = Vec::new();
        for rule in self.profile.syscalls().iter().flatten() {
            let action = ret(rule.action(), rule.errno_ret());
            for name in rule.names().iter().filter(|_| action != default) {
                let args = rule.args().as_deref().unwrap_or_default();
                let direct = table::numbers(name).and_then(|n| table::number(n, abi));
                if direct == Some(call.number) {
                    if args.is_empty() {
                        return (action, false);
                    }
                    if holds(args, call, abi) {
                        conditional.push(action);
                    }
                }
                let Some((carrier, number)) = table::multiplexed(name) else {
                    continue;
                };
                let carried = table::numbers(carrier).and_then(|n| table::number(n, abi));
                if abi.multiplexes && carried == Some(call.number) {
                    let others: Vec<_> = args.iter().filter(|a| a.index() != 0).copied().collect();
                    let first = call.arguments[0] & if abi.wide { u64::MAX } else { 0xffff_ffff };
                    let repeated = has_repeated_index(args);
                    let any = others.is_empty() || (repeated && others.len() < args.len());
                    if first == number && (any || holds(&others, call, abi)) {
                        conditional.push(action);
                    }
                }
            }
        }
        let first = conditional.first().copied();
        (
            first.unwrap_or(default),
            conditional.iter().any(|&action| Some(action) != first),
        )
    }
}

fn has_repeated_index(args: &[LinuxSeccompArg]) -> bool {
    let indexes: BTreeSet<_> = args.iter().map(|arg| arg.index()).collect();
    indexes.len() < args.len()
}

fn holds(args: &[LinuxSeccompArg], call: &Call, abi: &Abi) -> bool {
    let seen = |value: u64| if abi.wide { value } else { value & 0xffff_ffff };
    let one = |arg: &LinuxSeccompArg| {
        let (actual, value) = (seen(call.arguments[arg.index()]), seen(arg.value()));
        match arg.op() {
            LinuxSeccompOperator::ScmpCmpNe => actual != value,
            LinuxSeccompOperator::ScmpCmpLt => actual < value,
            LinuxSeccompOperator::ScmpCmpLe => actual <= value,
            LinuxSeccompOperator::ScmpCmpEq => actual == value,
            LinuxSeccompOperator::ScmpCmpGe => actual >= value,
            LinuxSeccompOperator::ScmpCmpGt => actual > value,
            LinuxSeccompOperator::ScmpCmpMaskedEq => {
                actual & value == seen(arg.value_two().unwrap_or(0))
            }
        }
    };
    match has_repeated_index(args) {
        true => args.iter().any(one),
        false => args.iter().all(one),
    }
}

fn ret(action: LinuxSeccompAction, errno: Option<u32>) -> u32 {
    let kill = matches!(action, LinuxSeccompAction::ScmpActTrap);
    if kill {
        0x0003_0000
    } else {
        action.as_u32(errno)
    }
}

/// xorshift64*, so that a failure comes back with its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    fn value(&mut self) -> u64 {
        let bases = [
            0,
            1,
            2,
            8,
            40,
            0x7e02_0000,
            0xffff_ffff,
            1 << 32,
            0x1_0000_0008,
            1 << 63,
            u64::MAX,
        ];
        bases[self.below(bases.len())].wrapping_add(self.below(2) as u64)
    }

    fn action(&mut self) -> Value {
        let with_errno = |name, errno| json!({ "action": name, "errnoRet": errno });
        match self.below(8) {
            0 => with_errno("SCMP_ACT_ERRNO", 22),
            1 => with_errno("SCMP_ACT_TRACE", 7),
            2 => json!({ "action": "SCMP_ACT_ERRNO" }),
            3 => json!({ "action": "SCMP_ACT_KILL_PROCESS" }),
            4 => json!({ "action": "SCMP_ACT_LOG" }),
            5 => json!({ "action": "SCMP_ACT_TRAP" }),
            _ => json!({ "action": "SCMP_ACT_ALLOW" }),
        }
    }

    fn arg(&mut self) -> Value {
        let ops = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
        let op = format!("SCMP_CMP_{}", self.pick(&ops));
        let (index, value) = (self.below(6), self.value());
        match op.as_str() {
            "SCMP_CMP_MASKED_EQ" => {
                let value = value | 0x1_0000_0001;
                json!({ "index": index, "op": op, "value": value, "valueTwo": self.value() & value })
            }
            _ => json!({ "index": index, "op": op, "value": value }),
        }
    }

    fn profile(&mut self) -> LinuxSeccomp {
        let archs = [
            "X86_64", "X86", "X32", "AARCH64", "ARM", "MIPSEL", "MIPSEL64", "PPC64LE", "RISCV64",
        ];
        let archs: Vec<_> = (0..self.below(4)).map(|_| self.pick(&archs)).collect();
        let archs: BTreeSet<_> = archs
            .iter()
            .map(|arch| format!("SCMP_ARCH_{arch}"))
            .collect();
        // Few names in some profiles, so that rules meet.
        let few = [
            "socket",
            "clone",
            "shmget",
            "personality",
            "ptrace",
            "socketcall",
            "accept4",
        ];
        let many: Vec<_> = table::names().collect();
        let crowded = self.below(2) == 0;
        let mut rules = Vec::new();
        for _ in 0..=self.below(9) {
            let pool = if crowded { &few[..] } else { &many[..] };
            let names: Vec<_> = (0..=self.below(pool.len().min(60)))
                .map(|_| self.pick(pool))
                .collect();
            let mut rule = self.action();
            rule["names"] = json!(names);
            if self.below(3) > 0 {
                rule["args"] = (0..=self.below(3)).map(|_| self.arg()).collect();
            }
            rules.push(rule);
        }
        let default = self.action();
        profile(json!({
            "defaultAction": default["action"], "defaultErrnoRet": default["errnoRet"],
            "architectures": archs, "syscalls": rules,
        }))
    }

    fn calls(&mut self, profile: &LinuxSeccomp) -> Vec<Call> {
        let values = interesting_values(profile);
        let mut calls = Vec::new();
        for abi in abis(profile)
            .into_iter()
            .chain([&abi::X32, &abi::LOONGARCH64])
        {
            for name in names(profile)
                .map(String::as_str)
                .chain(["socketcall", "ipc", "read"])
            {
                let Some(n) = table::numbers(name).and_then(|n| table::number(n, abi)) else {
                    continue;
                };
                for number in [n, n, n, n + 1, n.wrapping_sub(1)] {
                    let mut call = Call {
                        number,
                        audit: abi.audit,
                        ..Call::default()
                    };
                    call.arguments = std::array::from_fn(|_| values[self.below(values.len())]);
                    if abi.multiplexes && self.below(2) == 0 {
                        call.arguments[0] = self.below(25) as u64;
                    }
                    calls.push(call);
                }
            }
            for number in [0, 600, X32_BIT - 1, X32_BIT, u32::MAX] {
                calls.push(Call {
                    number,
                    audit: abi.audit,
                    ..Call::default()
                });
            }
        }
        calls
    }
}

/// The part of a profile that has a say on one number of one interface.
fn about(profile: &LinuxSeccomp, abi: &Abi, number: u32) -> LinuxSeccomp {
    let is = |name: &str| table::numbers(name).and_then(|n| table::number(n, abi)) == Some(number);
    let carried = |name: &str| {
        abi.multiplexes && table::multiplexed(name).is_some_and(|(carrier, _)| is(carrier))
    };
    let mut rules = profile.syscalls().clone().unwrap_or_default();
    for rule in &mut rules {
        let names = rule
            .names()
            .iter()
            .filter(|name| is(name) || carried(name))
            .cloned();
        rule.set_names(names.collect());
    }
    rules.retain(|rule| !rule.names().is_empty());
    let mut part = profile.clone();
    part.set_syscalls(Some(rules));
    part
}

/// Differences that are known to be libseccomp's own. It merges the rules of a number into one tree by argument and
/// does not come back from a branch that fails further down, so that a rule may be missed next to another one.
/// And 2.5.4 makes mistakes in large filters that it does not make in the part of the profile that matters.
fn is_mistaken(profile: &LinuxSeccomp, abi: &Abi, call: &Call, right: u32) -> bool {
    let part = about(profile, abi, call.number);
    let rules = part.syscalls().iter().flatten();
    let conditions = |rule: &LinuxSyscall| match rule.args().as_deref().unwrap_or_default() {
        args if has_repeated_index(args) => args.len(),
        _ => 1,
    };
    let several = rules
        .map(|rule| rule.names().len() * conditions(rule))
        .sum::<usize>()
        > 1;
    several || by_libseccomp(&part).is_ok_and(|theirs| machine::run(&theirs, call) == right)
}

#[test]
fn random_profiles_get_the_answers_of_the_specification_and_of_libseccomp() {
    compare_random_profiles(1..=40);
}

#[test]
#[ignore = "takes minutes: the same with many more profiles"]
fn many_random_profiles_get_the_answers_of_the_specification_and_of_libseccomp() {
    compare_random_profiles(41..=1000);
}

fn compare_random_profiles(seeds: std::ops::RangeInclusive<u64>) {
    let (mut compared, mut mistaken) = (0, 0);
    for seed in seeds {
        let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let profile = without_newer_names(random.profile());
        let ours = super::compile(&profile).unwrap();
        machine::check(ours.instructions());
        let model = Model {
            profile: &profile,
            abis: abis(&profile),
        };
        // Rules that contradict each other are refused by libseccomp, as far as it notices.
        let theirs = by_libseccomp(&profile).ok();
        let lacking: BTreeSet<_> = model
            .abis
            .iter()
            .flat_map(|abi| unknown_to_libseccomp(&profile, abi))
            .collect();
        for call in random.calls(&profile) {
            let found = machine::run(ours.instructions(), &call);
            let (expected, contradicted) = model.answer(&call);
            assert_eq!(
                found, expected,
                "seed {seed}, {call:x?}: {found:#x}, not {expected:#x}"
            );
            let Some(theirs) = &theirs else { continue };
            if contradicted || expected == ENOSYS || lacking.contains(&call.number) {
                continue;
            }
            compared += 1;
            let theirs = machine::run(theirs, &call);
            if found != theirs {
                let abi = interface_of(&model.abis, &call);
                let known = abi.is_some_and(|abi| is_mistaken(&profile, abi, &call, found));
                assert!(
                    known,
                    "seed {seed}, {call:x?}: {found:#x}, but {theirs:#x} by libseccomp"
                );
                mistaken += 1;
            }
        }
    }
    println!("{compared} answers compared, {mistaken} of them mistaken in libseccomp");
    assert!(compared > 40_000, "only {compared} answers were compared");
    assert!(
        mistaken * 1000 < compared,
        "{mistaken} of {compared} answers differ"
    );
}

/// Shaped as the default profiles of the engines are: everything but what reaches the host is allowed, some of
/// it by argument, and what a program may try first has an errno of its own.
fn like_an_engine(default_errno: u32) -> LinuxSeccomp {
    let restricted = [
        "personality",
        "socket",
        "clone",
        "clone3",
        "bpf",
        "mount",
        "umount2",
        "setns",
        "unshare",
        "reboot",
        "kexec_load",
        "init_module",
        "swapon",
        "ptrace",
        "add_key",
        "keyctl",
        "open_by_handle_at",
        "io_uring_setup",
        "userfaultfd",
        "acct",
        "quotactl",
        "pivot_root",
        "shmctl",
        "vm86",
        "iopl",
        "ioperm",
    ];
    let allowed: Vec<_> = table::names()
        .filter(|name| !restricted.contains(name))
        .collect();
    let when = |name, index, value: u64, op| {
        json!({ "names": [name], "action": "SCMP_ACT_ALLOW",
            "args": [{ "index": index, "value": value, "op": op }] })
    };
    profile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": default_errno,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            { "names": allowed, "action": "SCMP_ACT_ALLOW" },
            when("personality", 0, 0, "SCMP_CMP_EQ"),
            when("personality", 0, 8, "SCMP_CMP_EQ"),
            when("personality", 0, 0xffff_ffff, "SCMP_CMP_EQ"),
            when("clone", 0, 0x7e02_0000, "SCMP_CMP_MASKED_EQ"),
            when("shmctl", 1, 2, "SCMP_CMP_LE"),
            { "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22, "args": [
                { "index": 0, "value": 16, "op": "SCMP_CMP_EQ" }, { "index": 2, "value": 9, "op": "SCMP_CMP_EQ" } ] },
            { "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
                { "index": 0, "value": 16, "op": "SCMP_CMP_EQ" }, { "index": 2, "value": 9, "op": "SCMP_CMP_NE" } ] },
            when("socket", 0, 16, "SCMP_CMP_NE"),
            { "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 },
            { "names": ["bpf", "mount", "setns"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 },
        ],
    }))
}

#[test]
fn a_profile_like_those_of_the_engines_gets_the_answers_of_libseccomp() {
    assert_same(&like_an_engine(1));
}

#[test]
fn every_number_of_the_table_is_the_one_that_libseccomp_has() {
    // What libseccomp 2.5.4 has no architecture token for.
    for abi in abi::ALL
        .iter()
        .filter(|abi| abi.name != "SCMP_ARCH_LOONGARCH64")
    {
        let arch: ScmpArch = abi.name.parse().unwrap();
        for name in table::names() {
            let ours = table::number(table::numbers(name).unwrap(), abi);
            let Ok(theirs) = ScmpSyscall::from_name_by_arch(name, arch) else {
                continue;
            };
            match theirs.as_raw_syscall() {
                -299..=-100 => assert!(table::multiplexed(name).is_some(), "{name}"),
                ..0 => {}
                theirs => assert_eq!(ours, Some(theirs as u32), "{name} of {}", abi.name),
            }
        }
        for number in lowest_number(abi)..lowest_number(abi) + 1000 {
            let Ok(name) = ScmpSyscall::from(number as i32).get_name_by_arch(arch) else {
                continue;
            };
            let ours = table::numbers(&name).and_then(|numbers| table::number(numbers, abi));
            assert_eq!(ours, Some(number), "{name} of {}", abi.name);
        }
    }
}

#[test]
fn a_filter_for_docker_like_profiles_stays_small_and_shallow() {
    let profile = like_an_engine(1);
    let program = super::compile(&profile).unwrap();
    let depth = |number| {
        let call = Call {
            number,
            audit: abi::X86_64.audit,
            ..Call::default()
        };
        machine::steps(program.instructions(), &call).1
    };
    let deepest = (0..480).map(depth).max().unwrap();
    assert!(
        program.instructions().len() < 450,
        "{} instructions",
        program.instructions().len()
    );
    assert!(deepest < 24, "{deepest} steps");
}
