//! The container's cgroup: made and limited before its first process, frozen, killed and removed.
//!
//! Here is all that tandem knows of cgroups: where a container's cgroup lies (`path`, `hierarchy`), how it is made
//! (`create`, with `unified` for v2 and `legacy` for v1), what its limits are on cgroup v1 and v2 (`limits`), which devices it may open (`devices`), and what is done to
//! it later (`freezer`, `kill`, `remove`, `join`). `lifecycle` and `launch` call it, through [`Cgroup`] alone.
//!
//! The directories and limits are written by us and not by libcgroups' managers. Those enter a process by writing
//! cgroup.procs, which waits for an RCU grace period, where a process here is born inside (CLONE_INTO_CGROUP); they write
//! one controller at a time into every level; and several of their values differ from what runc writes (swap where it is
//! not counted, weights of devices, keys of `unified` that are paths, device rules in the wrong order). docs/cgroups.md
//! lists what is written where.

mod create;
mod devices;
mod dir;
mod error;
mod freezer;
mod handle;
mod hierarchy;
mod join;
mod kill;
mod legacy;
mod limits;
mod oom;
mod path;
mod remove;
mod rootless;
mod stats;
#[cfg(test)]
mod tests;
mod unified;
mod wait;

pub use create::{Driver, Request};
pub use error::{CgroupError, DeviceRuleFlaw, LimitFlaw, PathFlaw};
pub use handle::{Cgroup, Member, Mode, Record};
pub use join::Target;
pub use oom::OomWatch;
pub use stats::Stats;
