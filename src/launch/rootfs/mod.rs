//! The container's view of the file system: mounts, /dev, pivot, masked and read-only paths.
//!
//! For the launch alone. The parent calls [`check()`] and [`Sources::open`]; the container's first process, in its
//! new mount namespace and with the host's root still in place, [`Rootfs::mount`], [`Rootfs::pivot`] and
//! [`Rootfs::finish`], with hooks in between. `docs/mounts.md` tells what is resolved how, and what it takes of the kernel.
//!
//! Not here: namespaces, ids, capabilities, labels of processes; the cgroup itself.

#![forbid(unsafe_code)]

mod cgroup;
mod check;
mod copy_up;
mod dev;
mod error;
mod hide;
mod mounts;
mod options;
mod pivot;
mod proc_guard;
mod procfs;
mod resolve;
mod sources;
mod sysctl;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::unistd::dup2;
use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};

pub use check::check;
pub use error::{ConsoleError, MountError, RootfsError};
pub use options::known_mount_options;
pub use procfs::{ProcError, ProcHandle};
pub use sources::Sources;
pub use sysctl::{SysctlError, check_sysctls, write_sysctl};

use dev::{Dev, Nodes};
use error::{DevNullError, Refusal};
use hide::Finder;
use mounts::{Made, Mounter};
use pivot::{Entry, OldRoot};

use crate::sys::mount::{ATTR_RDONLY, MountAttr, Reach, set_attributes};

/// The host's cgroups, as far as mounts of type cgroup depend on them.
#[derive(Clone, Copy, Debug)]
pub enum CgroupView<'p> {
    /// Version 2 at /sys/fs/cgroup; `path` is the container's own cgroup there, as a path of the host.
    Unified { path: Option<&'p Path> },
    /// Version 1, or both: the hierarchies and this process's place in them are read from /proc/self.
    Legacy,
}

/// All that decides about the container's view of the file system.
#[derive(Debug)]
pub struct Plan<'p> {
    pub spec: &'p Spec,
    /// Where relative sources of bind mounts begin.
    pub bundle: &'p Path,
    /// The root file system on the host, canonical.
    pub rootfs: &'p Path,
    pub sources: &'p Sources,
    /// `--no-pivot`.
    pub no_pivot: bool,
    pub cgroup: CgroupView<'p>,
    /// This process is not in the initial user namespace, so it cannot make device nodes.
    pub in_userns: bool,
    /// `linux.mountLabel`.
    pub mount_label: Option<&'p str>,
}

/// The container's root while it is being set up.
#[derive(Debug)]
pub struct Rootfs<'p> {
    plan: &'p Plan<'p>,
    root: OwnedFd,
    made: Vec<Made>,
    dev: Dev,
    entry: Entry,
    old_root: OldRoot,
}

impl<'p> Rootfs<'p> {
    /// Everything up to where hooks may look at it from the host's side.
    pub fn mount(plan: &'p Plan<'p>) -> Result<Rootfs<'p>, RootfsError> {
        // Modes of what is made are those asked for.
        let mask = umask(Mode::empty());
        let rootfs = Rootfs::mount_with_plain_modes(plan);
        umask(mask);
        rootfs
    }

    fn mount_with_plain_modes(plan: &'p Plan<'p>) -> Result<Rootfs<'p>, RootfsError> {
        let own_mounts = has_namespace(plan.spec, LinuxNamespaceType::Mount);
        let propagation = check::root_propagation(plan.spec)?;
        let old_root = match own_mounts {
            true => pivot::separate(propagation, plan.rootfs)?,
            // These are the host's mounts: their propagation is not ours to change.
            false => OldRoot::Connected,
        };
        let root = pivot::bind_root(plan.rootfs)?;
        let made = mount_all(plan, &root)?;
        let mounts = plan.spec.mounts().as_deref().unwrap_or(&[]);
        let nodes = match plan.in_userns {
            true => Nodes::Bound,
            false => Nodes::Made,
        };
        let dev = match dev::is_bound(mounts) {
            true => Dev::bound(root.as_fd()),
            false => dev::fill(root.as_fd(), plan.spec, &made, nodes),
        };
        let dev = dev.map_err(RootfsError::Dev)?;
        let entry = match (own_mounts, plan.no_pivot) {
            (false, _) => Entry::Chroot,
            (true, true) => Entry::Move,
            (true, false) => Entry::Pivot,
        };
        Ok(Rootfs {
            plan,
            root,
            made,
            dev,
            entry,
            old_root,
        })
    }

    /// The directories that the rest of the set-up needs. All of them are the container's own.
    pub fn directories(&self) -> Vec<BorrowedFd<'_>> {
        let mounts = self.made.iter().filter_map(|made| made.root.as_deref());
        let all = [&self.root, self.dev.dir()].into_iter().chain(mounts);
        all.map(AsFd::as_fd).collect()
    }

    /// Makes it this process's root and current directory, and points standard descriptors that are the host's
    /// /dev/null at the container's.
    pub fn pivot(&self) -> Result<(), RootfsError> {
        pivot::enter(&self.root, self.plan.rootfs, self.entry, self.old_root)
            .map_err(RootfsError::Pivot)?;
        if self.entry != Entry::Chroot
            && let Some(asked) = check::root_propagation(self.plan.spec)?
            && asked.kind != libc::MS_PRIVATE
        {
            // Only now is "/" the container's root; before, this would have reached the host's mounts.
            let attr = MountAttr::propagation(asked.kind);
            set_attributes(self.root.as_fd(), asked.reach, &attr).map_err(|errno| {
                RootfsError::Propagation {
                    path: "/".into(),
                    source: Refusal(errno),
                }
            })?;
        }
        match self.dev.is_ours() {
            true => reopen_null(&self.dev).map_err(RootfsError::DevNull),
            false => Ok(()),
        }
    }

    /// A new pseudo terminal of the container's devpts, master and slave.
    pub fn open_pty(&self) -> Result<(OwnedFd, OwnedFd), RootfsError> {
        self.dev.open_pty().map_err(RootfsError::Console)
    }

    /// Puts a terminal on /dev/console.
    pub fn dev_console(&self, slave: BorrowedFd) -> Result<(), RootfsError> {
        self.dev.mount_console(slave).map_err(RootfsError::Console)
    }

    /// Takes back what only the set-up was allowed: to be called in the new root, after [`Rootfs::dev_console`], sysctls
    /// and all hooks that may write to it.
    pub fn finish(&self) -> Result<(), RootfsError> {
        let read_only = MountAttr::setting(ATTR_RDONLY);
        for made in self.made.iter().filter(|made| made.read_only_later) {
            let Some(mount) = &made.root else { continue };
            set_attributes(mount.as_fd(), Reach::One, &read_only).map_err(|errno| {
                RootfsError::MountReadOnly {
                    path: made.path.clone(),
                    source: Refusal(errno),
                }
            })?;
        }
        let spec = self.plan.spec;
        if spec.root().as_ref().and_then(|root| root.readonly()) == Some(true) {
            set_attributes(self.root.as_fd(), Reach::One, &read_only)
                .map_err(|errno| RootfsError::RootReadOnly(Refusal(errno)))?;
        }
        let Some(linux) = spec.linux() else {
            return Ok(());
        };
        let finder = Finder::new(&self.root, &self.made, spec.hooks().is_none());
        let paths = linux.readonly_paths().as_deref().unwrap_or(&[]);
        hide::make_read_only(&finder, paths)?;
        let paths = linux.masked_paths().as_deref().unwrap_or(&[]);
        let label = self.plan.mount_label.filter(|label| !label.is_empty());
        hide::mask(&finder, paths, || self.dev.null(libc::O_PATH), label)
    }
}

fn mount_all(plan: &Plan, root: &OwnedFd) -> Result<Vec<Made>, RootfsError> {
    let mut mounter = Mounter {
        plan,
        root: root.as_fd(),
        made: Vec::new(),
    };
    for (index, mount) in plan.spec.mounts().iter().flatten().enumerate() {
        mounter
            .mount(index, mount)
            .map_err(|cause| wrap(mount, cause))?;
    }
    Ok(mounter.made)
}

/// Standard descriptors that are a null device of the host would keep a way to the host's file system open.
fn reopen_null(dev: &Dev) -> Result<(), DevNullError> {
    let mut null = None;
    for standard in 0..=2 {
        let failed = |errno| DevNullError::Replace(standard, Refusal(errno));
        match dev::is_null_number(standard) {
            Ok(false) => continue,
            // Closed: the process shall find it closed.
            Err(Errno::EBADF) => continue,
            Err(errno) => return Err(failed(errno)),
            Ok(true) => {}
        }
        let null = match &null {
            Some(null) => null,
            None => null.insert(dev.null(libc::O_RDWR)?),
        };
        dup2(null.as_raw_fd(), standard).map_err(failed)?;
    }
    Ok(())
}

fn wrap(mount: &Mount, cause: MountError) -> RootfsError {
    RootfsError::Mount {
        source_name: mount.source().clone().unwrap_or_default(),
        destination: mount.destination().clone(),
        cause: Box::new(cause),
    }
}

/// The namespace of this kind in the config: `Some(None)` for a new one, `Some(Some(path))` for one to join.
fn namespace(spec: &Spec, kind: LinuxNamespaceType) -> Option<Option<&Path>> {
    let linux = spec.linux().as_ref()?;
    let mut namespaces = linux.namespaces().iter().flatten();
    let found = namespaces.find(|namespace| namespace.typ() == kind)?;
    let path = found.path().as_deref();
    Some(path.filter(|path| !path.as_os_str().is_empty()))
}

fn has_namespace(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    namespace(spec, kind).is_some()
}
