//! What can go wrong with the container's view of the file system.

#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

/// The kernel's answer. ENOSYS gets the words that a user can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(pub Errno);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Errno::ENOSYS => f.write_str(
                "this kernel has no such system call (or a seccomp filter hides it): Linux 5.12 or newer is needed",
            ),
            // In the words of runc, which engines look for: "no such file or directory".
            errno => f.write_str(&errno.desc().to_lowercase()),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Refusal {
        Refusal(errno)
    }
}

/// One property of the config's file system part could not be given to the container.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    #[error("invalid mount {destination:?}")]
    InvalidMount {
        destination: PathBuf,
        #[source]
        reason: InvalidMount,
    },
    #[error(
        "unknown linux.rootfsPropagation {0:?}, it must be one of [r]private, [r]slave, [r]shared, [r]unbindable"
    )]
    InvalidPropagation(String),
    #[error("linux.{property} cannot be applied without a mount namespace of the container's own")]
    NoMountNamespace { property: &'static str },
    #[error("cannot open the root file system {path:?}")]
    Open { path: PathBuf, source: Refusal },
    #[error("cannot set the mount propagation of {path:?}")]
    Propagation { path: PathBuf, source: Refusal },
    #[error("cannot mount the root file system {path:?} on itself")]
    BindRoot { path: PathBuf, source: Refusal },
    #[error("error mounting {source_name:?} to rootfs at {destination:?}")]
    Mount {
        source_name: PathBuf,
        destination: PathBuf,
        #[source]
        cause: Box<MountError>,
    },
    #[error("configuring container /dev")]
    Dev(#[source] DevError),
    #[error("cannot set up /dev/console")]
    Console(#[source] ConsoleError),
    #[error("error jailing process inside rootfs")]
    Pivot(#[source] PivotError),
    #[error("cannot reopen the standard descriptors on the container's /dev/null")]
    DevNull(#[source] DevNullError),
    #[error("error setting rootfs as readonly")]
    RootReadOnly(#[source] Refusal),
    #[error("cannot make the mount at {path:?} read-only")]
    MountReadOnly { path: PathBuf, source: Refusal },
    #[error("can't make {path:?} read-only")]
    ReadonlyPath { path: PathBuf, source: Refusal },
    #[error("can't mask path {path:?}")]
    MaskedPath { path: PathBuf, source: Refusal },
    #[error("can't mask paths")]
    Mask(#[source] DevNullError),
}

/// What is wrong with a mount as config.json has it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidMount {
    #[error("mount field contains null byte")]
    NullByte,
    #[error("it has neither a type nor the option bind or rbind")]
    NoType,
    #[error("a bind mount needs a source")]
    NoSource,
    #[error("bind mounts cannot have any filesystem-specific options applied ({0:?})")]
    BindData(String),
    #[error("id-mapped mounts are only supported for bind-mounts")]
    IdmapNotBind,
    #[error(
        "id-mapped mounts must have both uid and gid mappings specified, on the mount or on the container's user namespace"
    )]
    IdmapWithoutMaps,
    #[error("tmpcopyup is only possible on a tmpfs")]
    CopyUpNotTmpfs,
}

/// Why one mount failed; which one says the error around it.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    #[error("cannot open bind source {path:?}")]
    BindSource { path: PathBuf, source: Refusal },
    #[error("cannot reach bind source {path:?} from the container's user namespace")]
    HiddenSource { path: PathBuf, source: Refusal },
    #[error("cannot make a user namespace for the id mapping")]
    IdmapNamespace(#[source] io::Error),
    #[error(
        "failed to set MOUNT_ATTR_IDMAP on {path:?} (maybe the filesystem used doesn't support idmap mounts on this kernel?)"
    )]
    Idmap { path: PathBuf, source: Refusal },
    #[error("id-mapped mounts are not supported for rootless containers")]
    RootlessIdmap,
    #[error("create mountpoint for {path:?} mount")]
    MountPoint { path: PathBuf, source: Refusal },
    #[error("mountpoint {path:?} is on the top of rootfs")]
    OnRoot { path: PathBuf },
    #[error("filesystem {fstype:?} must be mounted on ordinary directory")]
    NotOrdinaryDirectory { fstype: String, source: Refusal },
    #[error("{path:?} cannot be mounted because it is inside /proc")]
    InsideProc { path: PathBuf },
    #[error("{path:?} cannot be mounted because it is not of type proc")]
    NotProc { path: PathBuf },
    #[error("cannot use filesystem type {fstype:?}")]
    UnknownFilesystem { fstype: String, source: Refusal },
    #[error(
        "filesystem {fstype:?} refuses the option {option:?}{}",
        said(complaint)
    )]
    Option {
        fstype: String,
        option: String,
        complaint: Option<String>,
        source: Refusal,
    },
    #[error("cannot create filesystem {fstype:?}{}", said(complaint))]
    Create {
        fstype: String,
        complaint: Option<String>,
        source: Refusal,
    },
    #[error("cannot reconfigure the filesystem{}", said(complaint))]
    Reconfigure {
        complaint: Option<String>,
        source: Refusal,
    },
    #[error("cannot attach the mount")]
    Attach(#[source] Refusal),
    #[error("failed to set user-requested vfs flags")]
    Attributes(#[source] Refusal),
    #[error("cannot clear or change locked flags of the source")]
    LockedFlags(#[source] Refusal),
    #[error("change mount propagation")]
    Propagation(#[source] Refusal),
    #[error("tmpcopyup: failed to copy {path:?}")]
    CopyUp { path: PathBuf, source: Refusal },
    #[error("cannot label the mount {label:?}")]
    Label { label: String, source: Refusal },
    #[error("cannot find the cgroup hierarchies of the host")]
    Hierarchies(#[source] io::Error),
    #[error("cannot mount cgroup hierarchy {name:?}")]
    Hierarchy {
        name: String,
        #[source]
        cause: Box<MountError>,
    },
    #[error("cannot link cgroup controller {name:?}")]
    ControllerLink { name: String, source: Refusal },
    #[error("cannot hide the host's cgroups at {path:?}")]
    MaskCgroup { path: PathBuf, source: Refusal },
}

impl MountError {
    /// The kernel's answer, if it was the file system that could not be had.
    pub(super) fn no_filesystem(&self) -> Option<Errno> {
        match self {
            MountError::UnknownFilesystem { source, .. } | MountError::Create { source, .. } => {
                Some(source.0)
            }
            _ => None,
        }
    }
}

fn said(complaint: &Option<String>) -> String {
    complaint
        .as_ref()
        .map_or_else(String::new, |text| format!(" ({text})"))
}

/// Why /dev could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    #[error("error creating device nodes: {path:?}")]
    Node { path: PathBuf, source: Refusal },
    #[error("error creating device nodes: there is another file at {path:?} already")]
    Occupied { path: PathBuf },
    #[error("error creating device nodes: {kind:?} is not a valid device type for device {path:?}")]
    Kind { path: PathBuf, kind: &'static str },
    #[error("error creating device nodes: {path:?} on the host is not the device asked for")]
    HostNode { path: PathBuf },
    #[error("error setting up /dev symlinks: {path:?}")]
    Link { path: PathBuf, source: Refusal },
    #[error("error setting up ptmx")]
    Ptmx(#[source] Refusal),
}

/// Why the terminal could not be put on /dev/console (CVE-2025-52565).
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    #[error("the terminal given is not a pseudo terminal of a devpts")]
    NotPty,
    #[error("/dev/pts/ptmx of the container is not the multiplexer of a devpts")]
    NotPtmx,
    #[error("cannot open /dev/pts/ptmx of the container")]
    Ptmx(#[source] Refusal),
    #[error("cannot open the container's end of the terminal")]
    Peer(#[source] Refusal),
    #[error("create /dev/console mount target")]
    Target(#[source] Refusal),
    #[error("/dev/console must not be a symbolic link")]
    Link,
    #[error("cannot mount the terminal on /dev/console")]
    Mount(#[source] Refusal),
}

/// Why the process could not be moved into its root.
#[derive(Debug, thiserror::Error)]
pub enum PivotError {
    #[error("cannot enter the root file system")]
    Enter(#[source] Refusal),
    #[error("pivot_root")]
    PivotRoot(#[source] Refusal),
    #[error("cannot make the old root a slave")]
    OldRoot(#[source] Refusal),
    #[error("cannot unmount the old root")]
    Unmount(#[source] Refusal),
    #[error("cannot move the root file system to /")]
    Move(#[source] Refusal),
    #[error("chroot")]
    Chroot(#[source] Refusal),
    #[error("cannot read the mounts of the host")]
    Mounts(#[source] io::Error),
    #[error("cannot hide the host's {path:?}")]
    Hide { path: PathBuf, source: Refusal },
}

/// Why /dev/null cannot be trusted (CVE-2025-31133).
#[derive(Debug, thiserror::Error)]
pub enum DevNullError {
    #[error("cannot open /dev/null of the container")]
    Open(#[source] Refusal),
    #[error("container's /dev/null is invalid")]
    Invalid,
    #[error("cannot replace standard descriptor {0}")]
    Replace(i32, #[source] Refusal),
}
