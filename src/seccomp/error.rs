//! What can be wrong with a profile, and with installing it.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    #[error("seccomp architecture {arch:?} is not supported")]
    Architecture { arch: String },
    #[error("seccomp action {action} takes no errnoRet, but the profile gives {value}")]
    ErrnoNotTaken { action: &'static str, value: u32 },
    #[error("errnoRet {value} of seccomp action {action} is above {max}")]
    ErrnoTooLarge {
        action: &'static str,
        value: u32,
        max: u32,
    },
    #[error("SCMP_ACT_NOTIFY cannot be used as default action")]
    NotifyByDefault,
    #[error("SCMP_ACT_NOTIFY cannot be used for the write syscall")]
    NotifyOnWrite,
    #[error("the seccomp profile uses SCMP_ACT_NOTIFY, so listenerPath must be set")]
    ListenerPathMissing,
    #[error("seccomp listenerMetadata is set, so listenerPath must be set as well")]
    MetadataWithoutListener,
    #[error("a seccomp rule has an empty string where a syscall name belongs")]
    EmptyName,
    #[error(
        "the seccomp rule for {syscall:?} compares argument {index}; a syscall has arguments 0 to 5"
    )]
    ArgumentIndex { syscall: String, index: usize },
    #[error(
        "the seccomp profile needs {instructions} BPF instructions, the kernel takes at most {max}"
    )]
    TooLong { instructions: usize, max: usize },
    #[error("this kernel does not support the seccomp flag {flag}")]
    FlagUnsupported { flag: &'static str },
    #[error(
        "cannot install the seccomp filter without CAP_SYS_ADMIN: set process.noNewPrivileges to true"
    )]
    NotPermitted { source: io::Error },
    #[error("cannot install the seccomp filter ({instructions} instructions, flags {flags:#x})")]
    Install {
        instructions: usize,
        flags: u64,
        source: io::Error,
    },
    #[error("failed to connect with seccomp agent at listenerPath {path:?}")]
    ConnectListener { path: PathBuf, source: io::Error },
    #[error("cannot send the seccomp listener to the agent at listenerPath {path:?}")]
    SendListener { path: PathBuf, source: io::Error },
}
