//! The compiler against libseccomp: both filters answer every system call number of every architecture, with
//! argument values around every condition, and have to agree but for what docs/seccomp.md lists.

use std::collections::BTreeSet;

use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};
use serde_json::Value;

use super::abi::{self, Abi, X32_BIT};
use super::machine::{self, Call};
use super::table;
use crate::sys::seccomp::Instruction;

const ENOSYS: u32 = 0x0005_0000 | libc::ENOSYS as u32;

/// The profile's filter as libcontainer and runc have libseccomp make it.
fn by_libseccomp(profile: &LinuxSeccomp) -> Result<Vec<Instruction>, String> {
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

/// libseccomp 2.5.4 knows no name newer than Linux 6.6: those would only show that it is old.
fn without_newer_names(mut profile: LinuxSeccomp) -> LinuxSeccomp {
    let mut rules = profile.syscalls().clone().unwrap_or_default();
    for rule in &mut rules {
        let known = |name: &&String| ScmpSyscall::from_name(name).is_ok();
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
        let base = match abi.name {
            "SCMP_ARCH_MIPSEL" => 4000,
            "SCMP_ARCH_MIPSEL64" => 5000,
            "SCMP_ARCH_MIPSEL64N32" => 6000,
            _ => abi.first,
        };
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
    let unknown = |&number: &u32| {
        ScmpSyscall::from(number as i32)
            .get_name_by_arch(arch)
            .is_err()
    };
    names(profile).filter_map(number).filter(unknown).collect()
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
