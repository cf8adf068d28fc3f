//! What `features` reports of seccomp: what a profile may say here, and what this kernel takes.
#![forbid(unsafe_code)]

use libc::{
    SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    SECCOMP_FILTER_FLAG_TSYNC,
};

use crate::sys::seccomp as sys;

use super::abi;

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` of linux/seccomp.h, Linux 5.19.
const WAIT_KILLABLE_RECV: u64 = 1 << 5;

pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) bit: u64,
    /// What the kernel takes it only together with.
    with: u64,
}

impl Flag {
    const TSYNC: Flag = Flag {
        name: "SECCOMP_FILTER_FLAG_TSYNC",
        bit: SECCOMP_FILTER_FLAG_TSYNC,
        with: 0,
    };
    pub(super) const LOG: Flag = Flag {
        name: "SECCOMP_FILTER_FLAG_LOG",
        bit: SECCOMP_FILTER_FLAG_LOG,
        with: 0,
    };
    pub(super) const SPEC_ALLOW: Flag = Flag {
        name: "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        bit: SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        with: 0,
    };
    pub(super) const WAIT_KILLABLE_RECV: Flag = Flag {
        name: "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        bit: WAIT_KILLABLE_RECV,
        with: SECCOMP_FILTER_FLAG_NEW_LISTENER,
    };
    const NEW_LISTENER: Flag = Flag {
        name: "SECCOMP_FILTER_FLAG_NEW_LISTENER",
        bit: SECCOMP_FILTER_FLAG_NEW_LISTENER,
        with: 0,
    };

    fn is_supported(&self) -> bool {
        sys::knows_flags(self.bit | self.with)
    }
}

const FLAGS: [Flag; 4] = [
    Flag::TSYNC,
    Flag::SPEC_ALLOW,
    Flag::LOG,
    Flag::WAIT_KILLABLE_RECV,
];

const ACTIONS: [(&str, u32); 9] = [
    ("SCMP_ACT_ALLOW", libc::SECCOMP_RET_ALLOW),
    ("SCMP_ACT_ERRNO", libc::SECCOMP_RET_ERRNO),
    ("SCMP_ACT_KILL", libc::SECCOMP_RET_KILL_THREAD),
    ("SCMP_ACT_KILL_PROCESS", libc::SECCOMP_RET_KILL_PROCESS),
    ("SCMP_ACT_KILL_THREAD", libc::SECCOMP_RET_KILL_THREAD),
    ("SCMP_ACT_LOG", libc::SECCOMP_RET_LOG),
    ("SCMP_ACT_NOTIFY", libc::SECCOMP_RET_USER_NOTIF),
    ("SCMP_ACT_TRACE", libc::SECCOMP_RET_TRACE),
    ("SCMP_ACT_TRAP", libc::SECCOMP_RET_TRAP),
];

/// Whether the kernel has seccomp filters at all.
pub fn enabled() -> bool {
    sys::knows_action(libc::SECCOMP_RET_ALLOW)
}

pub fn known_actions() -> Vec<&'static str> {
    ACTIONS.iter().map(|&(name, _)| name).collect()
}

/// The actions that this kernel knows as well.
pub fn supported_actions() -> Vec<&'static str> {
    ACTIONS
        .iter()
        .filter(|&&(_, action)| sys::knows_action(action))
        .map(|&(name, _)| name)
        .collect()
}

pub fn known_operators() -> Vec<&'static str> {
    vec![
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
        "SCMP_CMP_LE",
        "SCMP_CMP_LT",
        "SCMP_CMP_MASKED_EQ",
        "SCMP_CMP_NE",
    ]
}

pub fn known_architectures() -> Vec<&'static str> {
    abi::ALL.iter().map(|abi| abi.name).collect()
}

pub fn known_flags() -> Vec<&'static str> {
    FLAGS.iter().map(|flag| flag.name).collect()
}

/// The flags that this kernel knows as well.
pub fn supported_flags() -> Vec<&'static str> {
    FLAGS
        .iter()
        .filter(|flag| flag.is_supported())
        .map(|flag| flag.name)
        .collect()
}

/// The first of the flags in `bits` that this kernel does not know.
pub(super) fn unsupported_among(bits: u64) -> Option<&'static str> {
    let mut asked = FLAGS
        .iter()
        .chain([&Flag::NEW_LISTENER])
        .filter(|flag| bits & flag.bit != 0);
    asked
        .find(|flag| !flag.is_supported())
        .map(|flag| flag.name)
}
