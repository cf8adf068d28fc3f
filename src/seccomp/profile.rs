//! The front end: from `linux.seccomp` of config.json (config-linux.md, section "Seccomp") to a policy.
#![forbid(unsafe_code)]

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

use super::abi::{self, Abi};
use super::error::SeccompError;
use super::policy::{Action, Condition, Interface, Policy, Rule, Test, Verdict};
use super::table::{self, Numbers};

/// `MAX_ERRNO` of the kernel's linux/err.h: it answers a larger number with this one.
const MAX_ERRNO: u32 = 4095;

pub(super) fn uses_notify(profile: &LinuxSeccomp) -> bool {
    let rules = profile.syscalls().iter().flatten();
    rules
        .map(LinuxSyscall::action)
        .any(|action| action == LinuxSeccompAction::ScmpActNotify)
}

pub(super) fn policy(profile: &LinuxSeccomp) -> Result<Policy, SeccompError> {
    check_notify(profile)?;
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let entries = entries(profile, default)?;
    let interfaces = abis(profile)?
        .into_iter()
        .map(|abi| Interface {
            abi,
            syscalls: verdicts(abi, &entries),
            last_known: last_known(abi, &entries).filter(|_| !permissive(profile.default_action())),
        })
        .collect();
    Ok(Policy {
        default,
        interfaces,
    })
}

/// The process that installs the filter hands the listener over with write(2): a filter that stops it there
/// would wait for an agent that has no listener yet. runc refuses the same two things.
fn check_notify(profile: &LinuxSeccomp) -> Result<(), SeccompError> {
    if profile.default_action() == LinuxSeccompAction::ScmpActNotify {
        return Err(SeccompError::NotifyByDefault);
    }
    let notifies = |rule: &&LinuxSyscall| rule.action() == LinuxSeccompAction::ScmpActNotify;
    for rule in profile.syscalls().iter().flatten().filter(notifies) {
        if rule.names().iter().any(|name| name == "write") {
            return Err(SeccompError::NotifyOnWrite);
        }
    }
    let listener = profile
        .listener_path()
        .as_ref()
        .is_some_and(|path| !path.as_os_str().is_empty());
    if uses_notify(profile) && !listener {
        return Err(SeccompError::ListenerPathMissing);
    }
    let metadata = profile
        .listener_metadata()
        .as_ref()
        .is_some_and(|text| !text.is_empty());
    if metadata && !listener {
        return Err(SeccompError::MetadataWithoutListener);
    }
    Ok(())
}

/// The native interface always, then those of the profile: libseccomp's rule, on which profiles rely
/// that list only the foreign ones.
fn abis(profile: &LinuxSeccomp) -> Result<Vec<&'static Abi>, SeccompError> {
    let unsupported = |arch: &str| SeccompError::Architecture { arch: arch.into() };
    let native = abi::native().ok_or_else(|| unsupported(std::env::consts::ARCH))?;
    let mut abis = vec![native];
    for &arch in profile.architectures().iter().flatten() {
        let abi = abi::of(arch).ok_or_else(|| unsupported(&arch.to_string()))?;
        if !abis.contains(&abi) {
            abis.push(abi);
        }
    }
    Ok(abis)
}

/// One syscall name of one entry of `syscalls`, resolved once for all interfaces.
struct Entry<'a> {
    name: &'a str,
    numbers: &'static Numbers,
    action: Action,
    /// Alternatives: any of them is enough. Empty where the entry changes nothing.
    alternatives: std::rc::Rc<[Vec<Condition>]>,
}

fn entries(profile: &LinuxSeccomp, default: Action) -> Result<Vec<Entry<'_>>, SeccompError> {
    let mut entries = Vec::new();
    for rule in profile.syscalls().iter().flatten() {
        let action = action(rule.action(), rule.errno_ret())?;
        let alternatives: std::rc::Rc<[_]> = match action == default {
            // Nothing to add to the filter, but the names still count as known to the profile.
            true => Vec::new().into(),
            false => alternatives(rule)?.into(),
        };
        for name in rule.names() {
            if name.is_empty() {
                return Err(SeccompError::EmptyName);
            }
            let Some(numbers) = table::numbers(name) else {
                tracing::debug!("unknown seccomp syscall {name:?} ignored");
                continue;
            };
            entries.push(Entry {
                name,
                numbers,
                action,
                alternatives: alternatives.clone(),
            });
        }
    }
    Ok(entries)
}

/// The conditions of one rule have to hold together, except where two of them look at the same argument:
/// then each is a rule of its own, as runc has it since before libseccomp could take both in one.
fn alternatives(rule: &LinuxSyscall) -> Result<Vec<Vec<Condition>>, SeccompError> {
    let args = rule.args().as_deref().unwrap_or_default();
    let syscall = || rule.names().first().cloned().unwrap_or_default();
    let conditions = args
        .iter()
        .map(|arg| condition(arg, syscall))
        .collect::<Result<Vec<_>, _>>()?;
    let mut seen = [false; 6];
    let repeats = |c: &Condition| std::mem::replace(&mut seen[usize::from(c.argument)], true);
    Ok(match conditions.iter().any(repeats) {
        true => conditions
            .into_iter()
            .map(|condition| vec![condition])
            .collect(),
        false => vec![conditions],
    })
}

fn condition(
    arg: &LinuxSeccompArg,
    syscall: impl Fn() -> String,
) -> Result<Condition, SeccompError> {
    let argument = match arg.index() {
        index @ 0..=5 => index as u8,
        index => {
            return Err(SeccompError::ArgumentIndex {
                syscall: syscall(),
                index,
            });
        }
    };
    let value = arg.value();
    let equal = Test::MaskedEqual {
        mask: u64::MAX,
        value,
    };
    let (test, negated) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpEq => (equal, false),
        LinuxSeccompOperator::ScmpCmpNe => (equal, true),
        LinuxSeccompOperator::ScmpCmpGt => (Test::Greater(value), false),
        LinuxSeccompOperator::ScmpCmpLe => (Test::Greater(value), true),
        LinuxSeccompOperator::ScmpCmpGe => (Test::GreaterOrEqual(value), false),
        LinuxSeccompOperator::ScmpCmpLt => (Test::GreaterOrEqual(value), true),
        // The mask comes first: "value" masks the argument, "valueTwo" is what it has to equal.
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            let wanted = arg.value_two().unwrap_or(0);
            (
                Test::MaskedEqual {
                    mask: value,
                    value: wanted,
                },
                false,
            )
        }
    };
    Ok(Condition {
        argument,
        test,
        negated,
    })
}

fn verdicts(abi: &Abi, entries: &[Entry]) -> Vec<(u32, Verdict)> {
    let mut numbered: Vec<(u32, &Entry, Option<u64>)> = Vec::with_capacity(entries.len());
    for entry in entries
        .iter()
        .filter(|entry| !entry.alternatives.is_empty())
    {
        if let Some(number) = table::number(entry.numbers, abi) {
            numbered.push((number, entry, None));
        }
        let carried = table::multiplexed(entry.name).filter(|_| abi.multiplexes);
        if let Some((carrier, call)) = carried
            && let Some(number) =
                table::numbers(carrier).and_then(|numbers| table::number(numbers, abi))
        {
            numbered.push((number, entry, Some(call)));
        }
    }
    // Stable: the order of the profile stays within a number.
    numbered.sort_by_key(|&(number, ..)| number);
    numbered
        .chunk_by(|left, right| left.0 == right.0)
        .map(|same| (same[0].0, verdict(same)))
        .collect()
}

fn verdict(same: &[(u32, &Entry, Option<u64>)]) -> Verdict {
    let unconditional = |&&(_, entry, carried): &&(u32, &Entry, Option<u64>)| {
        carried.is_none() && entry.alternatives.iter().any(Vec::is_empty)
    };
    // A rule without conditions wins over those with, wherever it stands: so libseccomp has it, and
    // profiles that allow a call outright and restrict it in a later entry exist.
    if let Some((_, entry, _)) = same.iter().find(unconditional) {
        return Verdict::Always(entry.action);
    }
    let rules = same.iter().flat_map(|&(_, entry, carried)| {
        entry.alternatives.iter().map(move |conditions| Rule {
            action: entry.action,
            conditions: match carried {
                None => conditions.clone(),
                Some(call) => carried_conditions(call, conditions),
            },
        })
    });
    Verdict::When(rules.collect())
}

/// socketcall(2) and ipc(2) take the number of the call where the call itself has its first argument; what
/// was asked of that one cannot be seen by a filter. libseccomp rewrites rules in the same way.
fn carried_conditions(call: u64, conditions: &[Condition]) -> Vec<Condition> {
    let test = Test::MaskedEqual {
        mask: u64::MAX,
        value: call,
    };
    let selects = Condition {
        argument: 0,
        test,
        negated: false,
    };
    let others = conditions
        .iter()
        .filter(|condition| condition.argument != 0);
    std::iter::once(selects).chain(others.copied()).collect()
}

/// The largest number that the profile mentions, whatever it says about it. A call above it was added to
/// the kernel after the profile was written, and a C library that tries it has to hear ENOSYS, not EPERM,
/// to fall back to an older one. The rule is runc's (libcontainer/seccomp/patchbpf).
fn last_known(abi: &Abi, entries: &[Entry]) -> Option<u32> {
    entries
        .iter()
        .filter_map(|entry| table::number(entry.numbers, abi))
        .max()
}

/// Whether unknown calls go through anyhow: the kernel says ENOSYS by itself, a tracer knows better.
fn permissive(default: LinuxSeccompAction) -> bool {
    use LinuxSeccompAction::{ScmpActAllow, ScmpActLog, ScmpActTrace};
    matches!(default, ScmpActAllow | ScmpActLog | ScmpActTrace)
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<Action, SeccompError> {
    let (name, base, max) = match action {
        LinuxSeccompAction::ScmpActKill => ("SCMP_ACT_KILL", libc::SECCOMP_RET_KILL_THREAD, None),
        LinuxSeccompAction::ScmpActKillThread => {
            ("SCMP_ACT_KILL_THREAD", libc::SECCOMP_RET_KILL_THREAD, None)
        }
        LinuxSeccompAction::ScmpActKillProcess => (
            "SCMP_ACT_KILL_PROCESS",
            libc::SECCOMP_RET_KILL_PROCESS,
            None,
        ),
        LinuxSeccompAction::ScmpActTrap => ("SCMP_ACT_TRAP", libc::SECCOMP_RET_TRAP, None),
        LinuxSeccompAction::ScmpActErrno => {
            ("SCMP_ACT_ERRNO", libc::SECCOMP_RET_ERRNO, Some(MAX_ERRNO))
        }
        LinuxSeccompAction::ScmpActTrace => (
            "SCMP_ACT_TRACE",
            libc::SECCOMP_RET_TRACE,
            Some(libc::SECCOMP_RET_DATA),
        ),
        LinuxSeccompAction::ScmpActAllow => ("SCMP_ACT_ALLOW", libc::SECCOMP_RET_ALLOW, None),
        LinuxSeccompAction::ScmpActLog => ("SCMP_ACT_LOG", libc::SECCOMP_RET_LOG, None),
        LinuxSeccompAction::ScmpActNotify => {
            ("SCMP_ACT_NOTIFY", libc::SECCOMP_RET_USER_NOTIF, None)
        }
    };
    match (max, errno) {
        (None, None) => Ok(base),
        // config-linux.md: "When the action doesn't support an errno, the runtime MUST print and error and fail."
        (None, Some(value)) => Err(SeccompError::ErrnoNotTaken {
            action: name,
            value,
        }),
        (Some(_), None) => Ok(base | libc::EPERM as u32),
        (Some(max), Some(value)) if value <= max => Ok(base | value),
        (Some(max), Some(value)) => Err(SeccompError::ErrnoTooLarge {
            action: name,
            value,
            max,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(value: Value) -> Result<Policy, SeccompError> {
        policy(&serde_json::from_value(value).unwrap())
    }

    fn rule(rule: Value) -> Result<Policy, SeccompError> {
        of(json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule] }))
    }

    fn native(policy: &Policy, name: &str) -> Option<Verdict> {
        let interface = &policy.interfaces[0];
        let number = table::number(table::numbers(name).unwrap(), interface.abi);
        let verdicts = interface.syscalls.iter();
        verdicts
            .clone()
            .find(|(n, _)| Some(*n) == number)
            .map(|(_, verdict)| match verdict {
                Verdict::Always(action) => Verdict::Always(*action),
                Verdict::When(rules) => Verdict::When(rules.clone()),
            })
    }

    #[test]
    fn notify_is_refused_where_it_would_stop_the_handing_over_of_the_listener() {
        let by_default = of(json!({ "defaultAction": "SCMP_ACT_NOTIFY" }));
        assert!(matches!(by_default, Err(SeccompError::NotifyByDefault)));
        let on_write = rule(json!({ "names": ["read", "write"], "action": "SCMP_ACT_NOTIFY" }));
        assert!(matches!(on_write, Err(SeccompError::NotifyOnWrite)));
        let nobody = rule(json!({ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }));
        assert!(matches!(nobody, Err(SeccompError::ListenerPathMissing)));
    }

    #[test]
    fn metadata_without_a_listener_is_refused() {
        let result = of(json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x" }));
        assert!(matches!(result, Err(SeccompError::MetadataWithoutListener)));
    }

    #[test]
    fn an_errno_that_the_action_cannot_return_is_refused() {
        let allow = rule(json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1 }));
        let message = allow.unwrap_err().to_string();
        assert_eq!(
            message,
            "seccomp action SCMP_ACT_ALLOW takes no errnoRet, but the profile gives 1"
        );
        let large =
            rule(json!({ "names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096 }));
        assert!(matches!(
            large,
            Err(SeccompError::ErrnoTooLarge {
                value: 4096,
                max: 4095,
                ..
            })
        ));
        let largest =
            rule(json!({ "names": ["read"], "action": "SCMP_ACT_TRACE", "errnoRet": 65535 }));
        assert_eq!(
            native(&largest.unwrap(), "read"),
            Some(Verdict::Always(0x7ff0_ffff))
        );
    }

    #[test]
    fn a_seventh_argument_is_refused_by_the_name_of_the_call() {
        let args = json!([{ "index": 6, "value": 0, "op": "SCMP_CMP_EQ" }]);
        let result = rule(json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": args }));
        let message = result.unwrap_err().to_string();
        assert!(
            message.contains("\"read\"") && message.contains('6'),
            "{message}"
        );
    }

    #[test]
    fn an_empty_name_is_refused_and_an_unknown_one_skipped() {
        let empty = rule(json!({ "names": [""], "action": "SCMP_ACT_ALLOW" }));
        assert!(matches!(empty, Err(SeccompError::EmptyName)));
        let unknown = rule(json!({ "names": ["frobnicate", "read"], "action": "SCMP_ACT_ALLOW" }));
        assert_eq!(unknown.unwrap().interfaces[0].syscalls.len(), 1);
    }

    #[test]
    fn an_architecture_without_a_table_is_refused_by_name() {
        let result =
            of(json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PARISC"] }));
        assert!(result.unwrap_err().to_string().contains("SCMP_ARCH_PARISC"));
    }

    #[test]
    fn a_rule_without_conditions_wins_over_earlier_ones_with() {
        let policy = of(json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            { "names": ["clone"], "action": "SCMP_ACT_ALLOW",
              "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }] },
            { "names": ["clone"], "action": "SCMP_ACT_LOG" },
        ]}));
        let verdict = native(&policy.unwrap(), "clone");
        assert_eq!(verdict, Some(Verdict::Always(libc::SECCOMP_RET_LOG)));
    }

    #[test]
    fn conditions_on_one_argument_are_alternatives_and_on_several_belong_together() {
        let arg = |index, value| json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" });
        let rules = |args: [Value; 2]| {
            let policy =
                rule(json!({ "names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": args }));
            match native(&policy.unwrap(), "ioctl") {
                Some(Verdict::When(rules)) => rules.iter().map(|r| r.conditions.len()).collect(),
                _ => Vec::new(),
            }
        };
        assert_eq!(rules([arg(1, 1), arg(1, 2)]), [1, 1]);
        assert_eq!(rules([arg(0, 1), arg(1, 2)]), [2]);
    }

    #[test]
    fn a_call_named_only_with_the_default_action_still_counts_as_known() {
        let policy = rule(json!({ "names": ["mseal"], "action": "SCMP_ACT_ERRNO" })).unwrap();
        assert!(policy.interfaces[0].syscalls.is_empty());
        assert_eq!(policy.interfaces[0].last_known, Some(462));
    }

    #[test]
    fn permissive_profiles_leave_unknown_calls_to_the_kernel() {
        for action in ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"] {
            let rules = json!([{ "names": ["mkdir"], "action": "SCMP_ACT_KILL" }]);
            let policy = of(json!({ "defaultAction": action, "syscalls": rules })).unwrap();
            assert_eq!(policy.interfaces[0].last_known, None, "{action}");
        }
    }
}
