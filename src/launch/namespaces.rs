//! Which namespaces a container gets, and in which way a process can come to be in them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespaceType as Kind, Spec};

use crate::bundle::SpecExt;
use crate::sys::process as sys;

/// Why a namespace cannot be made or joined.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    #[error("cannot open the {kind} namespace {path:?}")]
    Open {
        kind: Kind,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot join the {kind} namespace {path:?}")]
    Join {
        kind: Kind,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{path:?} is no {kind} namespace")]
    WrongKind { kind: Kind, path: PathBuf },
    #[error("cannot make the new {kinds} namespaces")]
    Make { kinds: String, source: io::Error },
    #[error("cannot set the offsets of the time namespace")]
    Offsets { source: io::Error },
    #[error("time offset clock {clock:?} is unknown (monotonic and boottime are known)")]
    Clock { clock: String },
}

/// A namespace of another process that the container joins.
#[derive(Debug)]
struct Joined {
    kind: Kind,
    path: PathBuf,
    fd: OwnedFd,
}

/// All namespaces of a container, those to join already opened.
#[derive(Debug)]
pub struct Namespaces {
    joined: Vec<Joined>,
    new: Vec<Kind>,
    /// Lines for /proc/self/timens_offsets (time_namespaces(7)).
    offsets: String,
}

impl Namespaces {
    /// Reads them from the config and opens those to join, with the rights of the host.
    ///
    /// # Errors
    /// [`NamespaceError::Open`] and [`NamespaceError::WrongKind`].
    pub fn open(spec: &Spec) -> Result<Self, NamespaceError> {
        let mut plan = Self {
            joined: Vec::new(),
            new: Vec::new(),
            offsets: time_offsets(spec)?,
        };
        for (kind, path) in spec.namespaces() {
            match path {
                None => plan.new.push(kind),
                Some(path) => plan.joined.push(open_namespace(kind, path)?),
            }
        }
        Ok(plan)
    }

    /// Whether a namespace of this kind is made for the container.
    #[must_use]
    pub fn is_new(&self, kind: Kind) -> bool {
        self.new.contains(&kind)
    }

    /// Whether a namespace of this kind is joined by path.
    #[must_use]
    pub fn is_joined(&self, kind: Kind) -> bool {
        self.joined.iter().any(|namespace| namespace.kind == kind)
    }

    /// Whether the container has a user namespace other than ours.
    #[must_use]
    pub fn has_user(&self) -> bool {
        self.is_new(Kind::User) || self.is_joined(Kind::User)
    }

    /// Whether a process in between has to join or prepare something first, so that the container's process is
    /// then born in it: a pid namespace takes only children, a time namespace starts with its first child, and
    /// from inside a new user namespace one cannot join what belongs to the host.
    #[must_use]
    pub fn need_two_steps(&self) -> bool {
        self.is_joined(Kind::User)
            || self.is_joined(Kind::Pid)
            || self.is_new(Kind::Time)
            || (self.is_new(Kind::User) && !self.joined.is_empty())
    }

    /// The flags for the clone that makes the container's process.
    ///
    /// Without the cgroup namespace: its root would be the cgroup of the cloning process (cgroup_namespaces(7)), so
    /// the new process unshares it by itself. And without the time namespace, see [`Self::prepare`].
    #[must_use]
    pub fn clone_flags(&self) -> u64 {
        let at_clone = self
            .new
            .iter()
            .filter(|kind| !matches!(kind, Kind::Cgroup | Kind::Time));
        at_clone.fold(0, |flags, kind| flags | *kind as u64)
    }

    /// Joins the namespaces of other processes, and makes the time namespace that the next child will be in.
    ///
    /// # Errors
    /// [`NamespaceError::Join`], [`NamespaceError::Make`] and [`NamespaceError::Offsets`].
    pub fn prepare(&self) -> Result<(), NamespaceError> {
        let mut later = Vec::new();
        let mut user = None;
        for namespace in &self.joined {
            match namespace.kind {
                Kind::User => user = Some(namespace),
                // From inside the user namespace, what the host owns is out of reach; what the user namespace
                // owns is within reach only from inside.
                _ if namespace.join().is_err() => later.push(namespace),
                _ => {}
            }
        }
        for namespace in user.into_iter().chain(later) {
            namespace.join().map_err(|source| namespace.error(source))?;
        }
        if self.is_new(Kind::Time) {
            sys::unshare(Kind::Time as i32).map_err(|source| NamespaceError::Make {
                kinds: "time".into(),
                source,
            })?;
            if !self.offsets.is_empty() {
                std::fs::write("/proc/self/timens_offsets", &self.offsets)
                    .map_err(|source| NamespaceError::Offsets { source })?;
            }
        }
        Ok(())
    }

    /// Makes the cgroup namespace, whose root is the cgroup that this process is in now.
    ///
    /// # Errors
    /// [`NamespaceError::Make`]
    pub fn enter_cgroup_namespace(&self) -> Result<(), NamespaceError> {
        if !self.is_new(Kind::Cgroup) {
            return Ok(());
        }
        sys::unshare(Kind::Cgroup as i32).map_err(|source| NamespaceError::Make {
            kinds: "cgroup".into(),
            source,
        })
    }

    /// Wraps a failed clone.
    #[must_use]
    pub fn clone_error(&self, source: io::Error) -> NamespaceError {
        let kinds: Vec<String> = self.new.iter().map(ToString::to_string).collect();
        NamespaceError::Make {
            kinds: kinds.join(", "),
            source,
        }
    }
}

impl Joined {
    fn join(&self) -> io::Result<()> {
        sys::setns(self.fd.as_fd(), self.kind as i32)
    }

    fn error(&self, source: io::Error) -> NamespaceError {
        let (kind, path) = (self.kind, self.path.clone());
        match source.raw_os_error() {
            Some(libc::EINVAL) => NamespaceError::WrongKind { kind, path },
            _ => NamespaceError::Join { kind, path, source },
        }
    }
}

fn open_namespace(kind: Kind, path: PathBuf) -> Result<Joined, NamespaceError> {
    let file = File::open(&path).map_err(|source| NamespaceError::Open {
        kind,
        path: path.clone(),
        source,
    })?;
    // Only a file of nsfs is a namespace: a FIFO or a device would block or answer something else later.
    let stat = nix::sys::statfs::fstatfs(&file).map_err(|errno| NamespaceError::Open {
        kind,
        path: path.clone(),
        source: errno.into(),
    })?;
    if stat.filesystem_type() != nix::sys::statfs::NSFS_MAGIC {
        return Err(NamespaceError::WrongKind { kind, path });
    }
    Ok(Joined {
        kind,
        path,
        fd: file.into(),
    })
}

fn time_offsets(spec: &Spec) -> Result<String, NamespaceError> {
    let offsets = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.time_offsets().as_ref());
    let mut lines = String::new();
    for (clock, offset) in offsets.into_iter().flatten() {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(NamespaceError::Clock {
                clock: clock.clone(),
            });
        }
        let (seconds, nanoseconds) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        lines += &format!("{clock} {seconds} {nanoseconds}\n");
    }
    Ok(lines)
}
