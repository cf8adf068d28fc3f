//! Masked and read-only paths of config-linux.md, applied inside the new root.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{SFlag, fstat, fstatat};

use crate::launch::rootfs::error::{DevNullError, Refusal, RootfsError};
use crate::launch::rootfs::mounts::Made;
use crate::sys::mount::{
    ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, FsContext, MountAttr, RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS, Reach, attach, attach_at, clone_tree_of, openat2, set_attributes,
};

/// Finds the targets: those below a proc or sysfs of ours from that mount's own descriptor, others from the root.
pub struct Finder<'f> {
    root: BorrowedFd<'f>,
    /// Mounts of the kernel's own trees, where no name can be swapped and no link leads elsewhere, the last first.
    kernel: Vec<(&'f Path, BorrowedFd<'f>)>,
}

/// Where something is to be mounted.
enum Spot<'f> {
    In(BorrowedFd<'f>, PathBuf),
    At(OwnedFd),
}

impl<'f> Finder<'f> {
    /// `trusted` is false if hooks may have changed what lies at the paths since.
    pub fn new(root: &'f OwnedFd, made: &'f [Made], trusted: bool) -> Finder<'f> {
        let kernel = made.iter().filter(|made| trusted && covers_nothing(made));
        let kernel =
            kernel.filter_map(|made| Some((made.path.as_path(), made.root.as_ref()?.as_fd())));
        let last = |path: &Path| made.iter().rev().find(|made| path == made.path);
        let kernel = kernel.filter(|(path, _)| last(path).is_some_and(covers_nothing));
        Finder {
            root: root.as_fd(),
            kernel: kernel.collect(),
        }
    }

    fn find(&self, path: &Path) -> Result<Spot<'f>, Errno> {
        for (above, dir) in &self.kernel {
            let below = path.strip_prefix(above).ok();
            let below = below.filter(|below| !below.as_os_str().is_empty() && is_plain(below));
            if let Some(below) = below {
                return Ok(Spot::In(*dir, below.to_owned()));
            }
        }
        let resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
        openat2(self.root, path, libc::O_PATH, 0, resolve).map(Spot::At)
    }
}

/// A mount of the kernel's own tree.
fn covers_nothing(made: &Made) -> bool {
    matches!(made.fstype.as_str(), "proc" | "sysfs")
}

/// Nothing but names. The first one of a path below /proc may be a link (`self`, `mounts`), which leads to a process.
fn is_plain(path: &Path) -> bool {
    use std::path::Component;
    let names = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let first = path
        .iter()
        .next()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let process = first.starts_with(|letter: char| letter.is_ascii_digit());
    names && !process && !matches!(first, "self" | "thread-self" | "net" | "mounts")
}

impl Spot<'_> {
    fn attach(&self, mount: BorrowedFd) -> Result<(), Errno> {
        match self {
            Spot::In(dir, name) => attach_at(mount, *dir, name),
            Spot::At(fd) => attach(mount, fd.as_fd()),
        }
    }

    /// What is there: a link is not followed, but where there could be one it has been by now.
    fn is_directory(&self) -> Result<bool, Errno> {
        let stat = match self {
            Spot::In(dir, name) => {
                fstatat(Some(dir.as_raw_fd()), name, AtFlags::AT_SYMLINK_NOFOLLOW)?
            }
            Spot::At(fd) => fstat(fd.as_raw_fd())?,
        };
        Ok(stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits())
    }

    /// A detached copy of what is there and below it.
    fn clone_tree(&self) -> Result<OwnedFd, Errno> {
        match self {
            Spot::In(dir, name) => crate::sys::mount::clone_tree(*dir, name, Reach::Tree),
            Spot::At(fd) => clone_tree_of(fd.as_fd(), Reach::Tree),
        }
    }
}

/// `linux.readonlyPaths`: each path becomes a mount of itself that is read-only; what is missing is skipped.
pub fn make_read_only(finder: &Finder, paths: &[String]) -> Result<(), RootfsError> {
    for path in paths {
        match read_only(finder, Path::new(path)) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => {
                return Err(RootfsError::ReadonlyPath {
                    path: path.into(),
                    source: Refusal(errno),
                });
            }
        }
    }
    Ok(())
}

fn read_only(finder: &Finder, path: &Path) -> Result<(), Errno> {
    let spot = finder.find(path)?;
    let tree = spot.clone_tree()?;
    set_attributes(tree.as_fd(), Reach::One, &MountAttr::setting(ATTR_RDONLY))?;
    spot.attach(tree.as_fd())
}

/// `linux.maskedPaths`: files are covered by /dev/null, directories by an empty read-only tmpfs, one for all of them.
/// What is missing is skipped.
pub fn mask(
    finder: &Finder,
    paths: &[String],
    null: impl Fn() -> Result<OwnedFd, DevNullError>,
    label: Option<&str>,
) -> Result<(), RootfsError> {
    let mut covers = Covers {
        null: None,
        empty: None,
        label,
    };
    for path in paths {
        let spot = finder.find(Path::new(path));
        let spot = spot.and_then(|spot| Ok((spot.is_directory()?, spot)));
        let covered = match spot {
            Ok((true, spot)) => covers.cover_directory(&spot),
            Ok((false, spot)) => {
                if covers.null.is_none() {
                    covers.null = Some(null().map_err(RootfsError::Mask)?);
                }
                covers.cover_file(&spot)
            }
            Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        };
        covered.map_err(|errno| RootfsError::MaskedPath {
            path: path.into(),
            source: Refusal(errno),
        })?;
    }
    Ok(())
}

/// What paths are covered with. A detached mount is made only when it will be used: dropping one that was not attached
/// would wait for an RCU grace period, which takes as long as all the rest.
struct Covers<'l> {
    null: Option<OwnedFd>,
    empty: Option<OwnedFd>,
    label: Option<&'l str>,
}

impl Covers<'_> {
    fn cover_file(&mut self, spot: &Spot) -> Result<(), Errno> {
        let null = self.null.as_ref().ok_or(Errno::ENODEV)?;
        spot.attach(clone_tree_of(null.as_fd(), Reach::One)?.as_fd())
    }

    fn cover_directory(&mut self, spot: &Spot) -> Result<(), Errno> {
        match &self.empty {
            Some(empty) => spot.attach(clone_tree_of(empty.as_fd(), Reach::One)?.as_fd()),
            // The first one is where the others are copied from.
            None => {
                let first = self.make_empty()?;
                spot.attach(first.as_fd())?;
                self.empty = Some(first);
                Ok(())
            }
        }
    }

    fn make_empty(&self) -> Result<OwnedFd, Errno> {
        let context = FsContext::open("tmpfs")?;
        context.set_string("source", "tmpfs".as_ref())?;
        context.set_string("nr_blocks", "1".as_ref())?;
        context.set_string("nr_inodes", "1".as_ref())?;
        if let Some(label) = self.label {
            context.set_string("context", label.as_ref())?;
        }
        context.create()?;
        context.mount(ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC)
    }
}
