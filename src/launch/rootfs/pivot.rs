//! From the host's root to the container's: the propagation that keeps the two apart, and pivot_root(2) with its
//! replacements.

#![forbid(unsafe_code)]

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::unistd::{chdir, chroot, fchdir, pivot_root};

use crate::launch::rootfs::error::{PivotError, Refusal, RootfsError};
use crate::launch::rootfs::options::Propagation;
use crate::sys::mount::{
    CWD, MountAttr, RESOLVE_NO_MAGICLINKS, Reach, attach_on_host, clone_tree, openat2,
    set_attributes, set_attributes_at,
};

/// How the process gets its new root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    Pivot,
    /// `--no-pivot`: the host's root cannot be pivoted away, since it is the initial ramfs.
    Move,
    /// No mount namespace of the container's own.
    Chroot,
}

/// Whether the host's mounts would hear of what happens in the old root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldRoot {
    /// All its mounts are slaves or private.
    Cut,
    Connected,
}

/// Cuts this mount namespace from the host's as `linux.rootfsPropagation` says; slave without it, so that what the
/// host mounts still arrives below a bind mount that is a slave itself.
pub fn separate(asked: Option<Propagation>, rootfs: &Path) -> Result<OldRoot, RootfsError> {
    let change = asked.unwrap_or(Propagation {
        kind: libc::MS_SLAVE,
        reach: Reach::Tree,
    });
    let root = Path::new("/");
    set_attributes_at(root, change.reach, &MountAttr::propagation(change.kind)).map_err(
        |errno| RootfsError::Propagation {
            path: root.into(),
            source: Refusal(errno),
        },
    )?;
    let cut = change.reach == Reach::Tree && change.kind != libc::MS_SHARED;
    if cut {
        return Ok(OldRoot::Cut);
    }
    make_parent_private(rootfs)?;
    Ok(OldRoot::Connected)
}

/// The mount that the root file system lies on must not be shared: pivot_root(2) refuses that, and the bind mount would
/// spread to the host.
fn make_parent_private(rootfs: &Path) -> Result<(), RootfsError> {
    let private = MountAttr::propagation(libc::MS_PRIVATE);
    for path in rootfs.ancestors() {
        match set_attributes_at(path, Reach::One, &private) {
            // EINVAL: not a mount point.
            Err(Errno::EINVAL) if path != Path::new("/") => {}
            set => {
                return set.map_err(|errno| RootfsError::Propagation {
                    path: path.into(),
                    source: Refusal(errno),
                });
            }
        }
    }
    Ok(())
}

/// Mounts the root file system on itself, as a private mount: the root of the container. The descriptor is that of the
/// new mount.
pub fn bind_root(rootfs: &Path) -> Result<OwnedFd, RootfsError> {
    let error = |errno| RootfsError::BindRoot {
        path: rootfs.into(),
        source: Refusal(errno),
    };
    let tree = clone_tree(CWD, rootfs, Reach::Tree).map_err(error)?;
    let private = MountAttr::propagation(libc::MS_PRIVATE);
    set_attributes(tree.as_fd(), Reach::One, &private).map_err(error)?;
    attach_on_host(tree.as_fd(), rootfs).map_err(error)?;
    Ok(tree)
}

/// Makes `root` the root and the current directory of this process.
pub fn enter(root: &OwnedFd, rootfs: &Path, how: Entry, old: OldRoot) -> Result<(), PivotError> {
    let step = |wrap: fn(Refusal) -> PivotError| move |errno| wrap(Refusal(errno));
    fchdir(root.as_raw_fd()).map_err(step(PivotError::Enter))?;
    match how {
        Entry::Pivot => pivot(old),
        Entry::Move => {
            hide_kernel_views(rootfs)?;
            let nothing = None::<&str>;
            nix::mount::mount(Some("."), "/", nothing, MsFlags::MS_MOVE, nothing)
                .map_err(step(PivotError::Move))?;
            jail()
        }
        Entry::Chroot => jail(),
    }
}

/// pivot_root(2), NOTES: with "." for both, no directory for the old root is needed; it ends up on top of the new
/// one, where the unmount of "." finds it.
fn pivot(old: OldRoot) -> Result<(), PivotError> {
    let old_root = match old {
        OldRoot::Cut => None,
        OldRoot::Connected => {
            let root = openat2(CWD, Path::new("/"), libc::O_PATH, 0, RESOLVE_NO_MAGICLINKS);
            Some(root.map_err(|errno| PivotError::OldRoot(Refusal(errno)))?)
        }
    };
    pivot_root(".", ".").map_err(|errno| PivotError::PivotRoot(Refusal(errno)))?;
    if let Some(old_root) = old_root {
        // Or the unmount would reach the host. A slave, not private: a private copy would keep mounts busy that the
        // host unmounts meanwhile.
        let slave = MountAttr::propagation(libc::MS_SLAVE);
        set_attributes(old_root.as_fd(), Reach::Tree, &slave)
            .map_err(|errno| PivotError::OldRoot(Refusal(errno)))?;
    }
    umount2(".", MntFlags::MNT_DETACH).map_err(|errno| PivotError::Unmount(Refusal(errno)))
}

fn jail() -> Result<(), PivotError> {
    chroot(".").map_err(|errno| PivotError::Chroot(Refusal(errno)))?;
    chdir("/").map_err(|errno| PivotError::Enter(Refusal(errno)))
}

/// After a mere move the host's mounts are still there, below; a full proc or sysfs among them would permit the
/// container to mount new ones without any masks, so they are unmounted, or covered where that is not allowed.
fn hide_kernel_views(rootfs: &Path) -> Result<(), PivotError> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(PivotError::Mounts)?;
    let views: Vec<_> = mounts.lines().filter_map(full_kernel_view).collect();
    for path in views.iter().filter(|path| !path.starts_with(rootfs)) {
        let error = |errno| PivotError::Hide {
            path: path.clone(),
            source: Refusal(errno),
        };
        match set_attributes_at(path, Reach::Tree, &MountAttr::propagation(libc::MS_SLAVE)) {
            // Gone together with one above it.
            Err(Errno::ENOENT | Errno::EINVAL) => continue,
            set => set.map_err(error)?,
        }
        match umount2(path, MntFlags::MNT_DETACH) {
            Err(Errno::EINVAL | Errno::EPERM) => {
                let (tmpfs, none) = (Some("tmpfs"), None::<&str>);
                nix::mount::mount(tmpfs, path, tmpfs, MsFlags::empty(), none).map_err(error)?;
            }
            unmounted => unmounted.map_err(error)?,
        }
    }
    Ok(())
}

/// The mount point of a line of mountinfo (proc(5)) that shows a whole proc or sysfs.
fn full_kernel_view(line: &str) -> Option<PathBuf> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, path) = (fields.next()?, fields.next()?);
    let fstype = filesystem.split(' ').next()?;
    let full = root == "/" && matches!(fstype, "proc" | "sysfs");
    full.then(|| unescape(path))
}

/// proc(5): space, tab, newline and backslash are octal in mountinfo.
pub fn unescape(field: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).filter(|_| *first == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_proc_is_a_kernel_view_and_a_part_of_it_is_not() {
        let whole = "22 27 0:21 / /proc rw,nosuid shared:12 - proc proc rw";
        let part = "23 27 0:21 /sys /proc/sys ro - proc proc rw";
        let other = "24 27 0:22 / /run rw - tmpfs tmpfs rw";
        assert_eq!(full_kernel_view(whole), Some("/proc".into()));
        assert_eq!(full_kernel_view(part), None);
        assert_eq!(full_kernel_view(other), None);
    }

    #[test]
    fn escapes_of_mountinfo_are_undone() {
        assert_eq!(unescape(r"/a\040b\134c"), Path::new(r"/a b\c"));
        assert_eq!(unescape(r"/a\04"), Path::new(r"/a\04"));
    }
}
