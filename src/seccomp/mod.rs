//! Seccomp: from the profile in config.json to a classic BPF program that is installed in the container's process.
//! seccomp(2).
//!
//! A compiler of our own, of three parts: `profile` (the front end) reads the profile into a `policy` (plain data),
//! `assemble` (the back end) turns that into instructions. `abi` and `table` are facts of the kernel. `notify` hands the
//! listener to the agent of `SCMP_ACT_NOTIFY`. docs/seccomp.md tells why it is not libseccomp, and what differs.

mod abi;
mod assemble;
mod error;
mod features;
mod notify;
mod policy;
mod profile;
mod program;
mod table;

#[cfg(test)]
mod differential;
#[cfg(test)]
mod live;
#[cfg(test)]
mod machine;

pub use error::SeccompError;
pub use features::{
    enabled, known_actions, known_architectures, known_flags, known_operators, supported_actions,
    supported_flags,
};
pub use notify::{ContainerProcessState, send_listener};
pub use program::{Program, compile};
