//! What can go wrong with a container's cgroup.

use std::io;
use std::path::PathBuf;

/// Why a `cgroupsPath` is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PathFlaw {
    #[error("it must not contain \"..\"")]
    Parent,
    #[error("it names the root of the hierarchy")]
    Root,
    #[error("it must be valid UTF-8 without control characters")]
    Character,
}

/// Why a limit of `linux.resources` is refused before anything is written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LimitFlaw {
    #[error("it needs memory.limit as well, from which the part for swap is computed")]
    SwapWithoutLimit,
    #[error("memory and swap together must not be less than memory.limit")]
    SwapBelowLimit,
    #[error("a negative value must be -1, which means unlimited")]
    Negative,
    #[error("it must be between 0 and 100")]
    Swappiness,
    #[error("it must be a size such as \"64KB\", \"2MB\" or \"1GB\"")]
    PageSize,
    #[error("it must be a plain device name")]
    DeviceName,
    #[error("it must be between 10 and 1000")]
    Weight,
}

/// Why a rule of `linux.resources.devices` is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DeviceRuleFlaw {
    #[error("its access cannot be empty")]
    NoAccess,
    #[error("its access {0:?} may only contain \"r\", \"w\" and \"m\"")]
    Access(String),
    #[error("its type must be \"a\", \"b\" or \"c\"")]
    Type,
    #[error("the device number {0} is out of range")]
    Number(i64),
}

/// An operation on a container's cgroup failed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error(
        "the systemd cgroup driver is not supported yet: leave out --systemd-cgroup (for Docker \"native.cgroupdriver=cgroupfs\", \
         for podman \"--cgroup-manager cgroupfs\", for containerd \"SystemdCgroup = false\")"
    )]
    SystemdDriver,
    #[error("invalid cgroupsPath {path:?}: {flaw}")]
    Path { path: PathBuf, flaw: PathFlaw },
    #[error("no cgroup hierarchy is mounted below {path:?}: mount one there to run containers")]
    NotMounted { path: PathBuf },
    #[error(
        "cannot tell the cgroup that tandem itself is in ({own:?}): give an absolute cgroupsPath"
    )]
    OwnCgroup { own: String },
    #[error(
        "rootless needs no limits + no cgrouppath when no permission is granted for cgroups: delegate a cgroup to this user, or \
         leave out the limits and cgroupsPath"
    )]
    Rootless { source: Box<CgroupError> },

    #[error("cannot read {path:?}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {value:?} to {path:?}")]
    Write {
        path: PathBuf,
        value: String,
        source: io::Error,
    },
    #[error("cannot make cgroup {path:?}")]
    Make { path: PathBuf, source: io::Error },
    #[error("cannot open cgroup {path:?}")]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot give cgroup {path:?} to user {owner}")]
    Delegate {
        path: PathBuf,
        owner: u32,
        source: io::Error,
    },
    #[error("container's cgroup is not empty: {count} process(es) found in {path:?}")]
    NotEmpty { path: PathBuf, count: usize },
    #[error("container's cgroup unexpectedly frozen: {path:?} (thaw it first)")]
    AlreadyFrozen { path: PathBuf },
    #[error(
        "cgroup {path:?} is in {kind} mode and cannot hold processes with {limit} set: choose a cgroupsPath whose parents hold no \
         processes"
    )]
    Threaded {
        path: PathBuf,
        kind: String,
        limit: String,
    },

    #[error(
        "cannot set {limit}: controller {controller:?} not available in cgroup {path:?} (available: {available:?})"
    )]
    Controller {
        limit: String,
        controller: String,
        path: PathBuf,
        available: String,
    },
    #[error("invalid {limit} {value:?}: {flaw}")]
    Limit {
        limit: &'static str,
        value: String,
        flaw: LimitFlaw,
    },
    #[error("cannot set {limit}: cgroup {version} has no such limit; leave it out")]
    Unsupported {
        limit: &'static str,
        version: &'static str,
    },
    #[error("invalid configuration: cannot use unified on cgroup v1")]
    UnifiedOnV1,
    #[error("unified resource {key:?} must be a file name (no slashes)")]
    UnifiedSlash { key: String },
    #[error("unified resource {key:?} must be in the form CONTROLLER.PARAMETER")]
    UnifiedForm { key: String },
    #[error("cannot set {limit}: cannot write {value:?} to {path:?}")]
    Set {
        limit: String,
        value: String,
        path: PathBuf,
        source: io::Error,
    },
    #[error("unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})")]
    MemoryInUse {
        limit: String,
        usage: String,
        peak: String,
    },
    #[error("rejecting {what} limit {limit} <= usage {usage} (checkBeforeUpdate is set)")]
    BelowUsage {
        what: &'static str,
        limit: i64,
        usage: u64,
    },
    #[error("the {bound} allowed cpu-shares is {allowed}")]
    CpuShares { bound: &'static str, allowed: u64 },

    #[error("invalid rule {index} of linux.resources.devices: {flaw}")]
    DeviceRule { index: usize, flaw: DeviceRuleFlaw },
    #[error(
        "cgroup v1 cannot deny {denied:?} while the wider rule {wider:?} allows it: list the allowed devices one by one"
    )]
    DeviceHole { denied: String, wider: String },
    #[error("cannot load the device program of cgroup {path:?}")]
    DeviceProgramLoad { path: PathBuf, source: io::Error },
    #[error("cannot attach the device program to cgroup {path:?}")]
    DeviceProgramAttach { path: PathBuf, source: io::Error },

    #[error("the container has no cgroup: {action} needs one")]
    NoCgroup { action: &'static str },
    #[error("cgroup {path:?} cannot be frozen: it has no freezer (cgroup v2: Linux 5.2 or newer)")]
    NoFreezer { path: PathBuf },
    #[error("unable to freeze: processes of {path:?} did not stop within {seconds} s")]
    FreezeTimeout { path: PathBuf, seconds: u64 },
    #[error("cannot send signal {signal} to process {pid}")]
    Signal {
        pid: i32,
        signal: i32,
        source: io::Error,
    },
    #[error("cannot remove cgroup {path:?}")]
    Remove { path: PathBuf, source: io::Error },
    #[error("cannot remove cgroup {path:?}: {count} process(es) in it do not end")]
    RemoveBusy { path: PathBuf, count: usize },

    #[error("invalid --cgroup argument: {argument} (empty <controller> prefix)")]
    SubControllerEmpty { argument: String },
    #[error("invalid --cgroup argument: {argument} (missing <controller>: prefix)")]
    SubControllerMissing { argument: String },
    #[error("invalid --cgroup argument(s): controller {controller} specified multiple times")]
    SubControllerTwice { controller: String },
    #[error("unknown controller {controller} in --cgroup")]
    SubControllerUnknown { controller: String },
    #[error("invalid --cgroup argument: {sub} is not a sub cgroup path: {flaw}")]
    SubPath { sub: String, flaw: PathFlaw },
    // The words, and the path without quotes, are those of runc, which its test suite looks for.
    #[error("error adding pid of the new process to cgroups: open {}/cgroup.procs", path.display())]
    Join { path: PathBuf, source: io::Error },
}

impl CgroupError {
    /// The system's error at the bottom, if there is one.
    pub(super) fn errno(&self) -> Option<i32> {
        match self {
            Self::Read { source, .. }
            | Self::Write { source, .. }
            | Self::Make { source, .. }
            | Self::Open { source, .. }
            | Self::Delegate { source, .. }
            | Self::Set { source, .. }
            | Self::DeviceProgramLoad { source, .. }
            | Self::DeviceProgramAttach { source, .. }
            | Self::Join { source, .. }
            | Self::Signal { source, .. }
            | Self::Remove { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the reason is that cgroups are not ours to change: what a rootless caller has to live with.
    pub(super) fn is_permission(&self) -> bool {
        matches!(self.errno(), Some(libc::EPERM | libc::EACCES | libc::EROFS))
    }
}
