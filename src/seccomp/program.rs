//! A compiled profile, ready to be installed.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag};

use crate::sys::seccomp::{self as sys, Instruction};

use super::assemble::assemble;
use super::error::SeccompError;
use super::features::{self, Flag};
use super::profile;

/// A BPF program with the flags that seccomp(2) is to be called with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<Instruction>,
    flags: u64,
}

/// Compiles `linux.seccomp` of config.json. Nothing is asked of the kernel, so that an error here is an
/// error of the profile.
pub fn compile(profile: &LinuxSeccomp) -> Result<Program, SeccompError> {
    let policy = profile::policy(profile)?;
    Ok(Program {
        instructions: assemble(&policy)?,
        flags: flags(profile),
    })
}

impl Program {
    /// Restricts the calling thread for good, with what it becomes by execve(2). The descriptor is the listener
    /// for the agent of `SCMP_ACT_NOTIFY`, if the profile has such a rule.
    ///
    /// Needs CAP_SYS_ADMIN in the user namespace or no_new_privs.
    pub fn install(&self) -> Result<Option<OwnedFd>, SeccompError> {
        sys::set_mode_filter(self.flags, &self.instructions).map_err(|source| self.explain(source))
    }

    /// Whether `install` hands back a listener.
    pub fn needs_listener(&self) -> bool {
        self.flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0
    }

    /// The flags for seccomp(2).
    pub fn flags(&self) -> u64 {
        self.flags
    }

    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    fn explain(&self, source: io::Error) -> SeccompError {
        match source.raw_os_error() {
            Some(libc::EACCES) => SeccompError::NotPermitted { source },
            Some(libc::EINVAL) => match features::unsupported_among(self.flags) {
                Some(flag) => SeccompError::FlagUnsupported { flag },
                None => self.failed(source),
            },
            _ => self.failed(source),
        }
    }

    fn failed(&self, source: io::Error) -> SeccompError {
        SeccompError::Install {
            instructions: self.instructions.len(),
            flags: self.flags,
            source,
        }
    }
}

fn flags(profile: &LinuxSeccomp) -> u64 {
    let notifies = profile::uses_notify(profile);
    let asked = match profile.flags() {
        Some(flags) => flags
            .iter()
            .fold(0, |bits, flag| bits | bit(*flag, notifies)),
        // What runc and crun do: without it every program in every container pays for the mitigation of
        // Speculative Store Bypass. A profile that wants the mitigation says `"flags": []`.
        None => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    };
    match notifies {
        true => asked | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
        false => asked,
    }
}

fn bit(flag: LinuxSeccompFilterFlag, notifies: bool) -> u64 {
    match flag {
        // Asks that the other threads of the process get the filter as well. There are none: the process
        // that installs it is a fresh child, and the kernel refuses the flag next to a listener.
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => Flag::LOG.bit,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => Flag::SPEC_ALLOW.bit,
        // Speaks of waiting for an agent, and the kernel refuses it where no rule can wait.
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if !notifies => 0,
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => Flag::WAIT_KILLABLE_RECV.bit,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn flags_of(flags: Value, rule: Value) -> u64 {
        let mut profile = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent.sock", "syscalls": [rule],
        });
        if !flags.is_null() {
            profile["flags"] = flags;
        }
        compile(&serde_json::from_value(profile).unwrap())
            .unwrap()
            .flags()
    }

    fn quiet() -> Value {
        json!({ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" })
    }

    fn notifying() -> Value {
        json!({ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" })
    }

    #[test]
    fn without_flags_the_speculation_mitigation_is_off_and_with_none_it_is_on() {
        assert_eq!(
            flags_of(Value::Null, quiet()),
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW
        );
        assert_eq!(flags_of(json!([]), quiet()), 0);
        assert_eq!(
            flags_of(json!(["SECCOMP_FILTER_FLAG_LOG"]), quiet()),
            libc::SECCOMP_FILTER_FLAG_LOG
        );
    }

    #[test]
    fn waiting_killably_is_asked_for_only_where_there_is_an_agent_to_wait_for() {
        let flag = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
        assert_eq!(flags_of(flag.clone(), quiet()), 0);
        assert_eq!(
            flags_of(flag, notifying()),
            1 << 5 | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
        );
    }

    #[test]
    fn a_single_thread_has_nothing_to_synchronize() {
        let flag = json!(["SECCOMP_FILTER_FLAG_TSYNC"]);
        assert_eq!(
            flags_of(flag, notifying()),
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
        );
    }

    #[test]
    fn a_profile_too_long_for_the_kernel_is_refused_with_both_numbers() {
        let arg = |value: u64| json!({ "index": 0, "value": value, "op": "SCMP_CMP_EQ" });
        let args: Vec<_> = (0..1500).map(arg).collect();
        let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "args": args }] });
        let error = compile(&serde_json::from_value(profile).unwrap()).unwrap_err();
        assert!(
            matches!(
                error,
                SeccompError::TooLong {
                    instructions: 4096..,
                    max: 4096
                }
            ),
            "{error}"
        );
    }
}
