//! Paths inside the container's root, resolved from a descriptor of it; never by joining strings.
//!
//! The root file system belongs to whoever made the image, and parts of it (volumes) may be changed by a running
//! process of another container at this very moment. So each lookup starts at the root's descriptor and either is
//! one openat2(2) that cannot leave it, or goes component by component with links followed by hand
//! (CVE-2019-18837, CVE-2021-30465, CVE-2024-45310).

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::readlinkat;
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat, mknodat};

use crate::sys::mount::{
    RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2,
};

/// path_resolution(7): as many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// A place in the container's root, by a descriptor that only names it (`O_PATH`).
#[derive(Debug)]
pub struct Place {
    pub fd: OwnedFd,
    /// Where it is, from the root and without links: `/dev/pts`.
    pub path: PathBuf,
    /// Nothing was there before.
    pub created: bool,
}

/// What to make where nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Nothing: the error is ENOENT.
    Fail,
    /// A directory with mode 0755, and its parents.
    Directory,
    /// An empty file with mode 0644, and its parents.
    File,
}

/// What to do with a link in the last component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLink {
    Follow,
    /// The error is ELOOP.
    Refuse,
}

/// `path` as it is meant from the root: absolute, `.` and `..` taken out by their names alone. The result has no
/// leading slash, which is how openat2(2) wants it, and is empty for the root itself.
pub fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}

/// The path in the container of a destination that names it by its place on the host, below the root file system, as
/// old engines did and runc still takes it; `None` for all others.
pub fn without_root(rootfs: &Path, destination: &Path) -> Option<PathBuf> {
    let below = destination.strip_prefix(rootfs).ok()?;
    (rootfs.parent().is_some()).then(|| Path::new("/").join(below))
}

/// Opens what is at `path` below `root`, without following a single link.
fn open_plain(root: BorrowedFd, path: &Path, flags: i32) -> Result<OwnedFd, Errno> {
    let resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    openat2(root, path, libc::O_PATH | flags, 0, resolve)
}

/// Resolves `path` below `root`. The usual case, where it exists and has no link in it, is one system call.
pub fn resolve(
    root: BorrowedFd,
    path: &Path,
    missing: Missing,
    last: LastLink,
) -> Result<Place, Errno> {
    let path = clean(path);
    if path.as_os_str().is_empty() {
        return Ok(Place {
            fd: root.try_clone_to_owned().map_err(errno)?,
            path: PathBuf::from("/"),
            created: false,
        });
    }
    match open_plain(root, &path, 0) {
        Ok(fd) => Ok(Place {
            fd,
            path: Path::new("/").join(&path),
            created: false,
        }),
        // A link somewhere, or something missing.
        Err(Errno::ELOOP) => Walk::new(root, missing, last).run(&path),
        Err(Errno::ENOENT) if missing != Missing::Fail => Walk::new(root, missing, last).run(&path),
        Err(other) => Err(other),
    }
}

/// [`resolve`] of the directory that `path` is to be made in, and the last name of `path`.
pub fn resolve_parent(root: BorrowedFd, path: &Path) -> Result<(Place, OsString), Errno> {
    let path = clean(path);
    let name = path.file_name().ok_or(Errno::EISDIR)?.to_owned();
    let parent = path.parent().unwrap_or(Path::new(""));
    let parent = resolve(root, parent, Missing::Directory, LastLink::Follow)?;
    Ok((parent, name))
}

/// Opens the plain entry `name` of `dir`: a link is opened itself, not followed.
pub fn open_entry(dir: BorrowedFd, name: &OsStr, flags: i32) -> Result<OwnedFd, Errno> {
    let resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    let flags = libc::O_PATH | libc::O_NOFOLLOW | flags;
    openat2(dir, Path::new(name), flags, 0, resolve)
}

/// The descriptors from the root down to where the resolution has come. `..` goes back along them, so it can
/// neither pass the root nor follow a directory that is moved away meanwhile.
struct Walk<'r> {
    root: BorrowedFd<'r>,
    missing: Missing,
    last: LastLink,
    below: Vec<(OsString, OwnedFd)>,
    links: usize,
    created: bool,
}

/// One step of a [`Walk`].
enum Step {
    Down(OwnedFd),
    File(OwnedFd),
    Link(OsString),
}

impl<'r> Walk<'r> {
    fn new(root: BorrowedFd<'r>, missing: Missing, last: LastLink) -> Walk<'r> {
        Walk {
            root,
            missing,
            last,
            below: Vec::new(),
            links: 0,
            created: false,
        }
    }

    fn run(mut self, path: &Path) -> Result<Place, Errno> {
        let mut ahead: VecDeque<OsString> = names(path).collect();
        while let Some(name) = ahead.pop_front() {
            let is_last = ahead.is_empty();
            match name.as_bytes() {
                b"." => continue,
                b".." => {
                    self.below.pop();
                    continue;
                }
                _ => {}
            }
            match self.step(&name, is_last)? {
                Step::Down(fd) => self.below.push((name, fd)),
                Step::File(fd) if is_last => return self.end(Some((name, fd))),
                Step::File(_) => return Err(Errno::ENOTDIR),
                Step::Link(target) => {
                    self.links += 1;
                    let refused = is_last && self.last == LastLink::Refuse;
                    if refused || self.links > MAX_LINKS {
                        return Err(Errno::ELOOP);
                    }
                    let target = Path::new(&target);
                    if target.is_absolute() {
                        self.below.clear();
                    }
                    for name in names(target).collect::<Vec<_>>().into_iter().rev() {
                        ahead.push_front(name);
                    }
                }
            }
        }
        self.end(None)
    }

    fn end(self, file: Option<(OsString, OwnedFd)>) -> Result<Place, Errno> {
        let created = self.created;
        let mut path = PathBuf::from("/");
        let mut fd = None;
        for (name, next) in self.below.into_iter().chain(file) {
            path.push(name);
            fd = Some(next);
        }
        let fd = match fd {
            Some(fd) => fd,
            None => self.root.try_clone_to_owned().map_err(errno)?,
        };
        Ok(Place { fd, path, created })
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.below.last().map_or(self.root, |(_, fd)| fd.as_fd())
    }

    fn step(&mut self, name: &OsStr, is_last: bool) -> Result<Step, Errno> {
        match open_entry(self.here(), name, 0) {
            Ok(fd) => classify(fd),
            Err(Errno::ENOENT) => self.make(name, is_last),
            Err(other) => Err(other),
        }
    }

    fn make(&mut self, name: &OsStr, is_last: bool) -> Result<Step, Errno> {
        let here = Some(self.here().as_raw_fd());
        let made = match self.missing {
            Missing::Fail => return Err(Errno::ENOENT),
            // mknodat(2) follows no link and takes no existing file, as open(2) with O_CREAT and O_EXCL would.
            Missing::File if is_last => mknodat(
                here,
                name,
                SFlag::S_IFREG,
                Mode::from_bits_truncate(0o644),
                0,
            ),
            Missing::File | Missing::Directory => {
                mkdirat(here, name, Mode::from_bits_truncate(0o755))
            }
        };
        match made {
            // Someone else was quicker: what is there now is looked at like anything else.
            Ok(()) | Err(Errno::EEXIST) => self.created |= made.is_ok(),
            Err(other) => return Err(other),
        }
        classify(open_entry(self.here(), name, 0)?)
    }
}

/// What a descriptor from [`open_entry`] is open on.
fn classify(fd: OwnedFd) -> Result<Step, Errno> {
    let kind = fstat(fd.as_raw_fd())?.st_mode & SFlag::S_IFMT.bits();
    if kind == SFlag::S_IFDIR.bits() {
        Ok(Step::Down(fd))
    } else if kind == SFlag::S_IFLNK.bits() {
        Ok(Step::Link(readlinkat(Some(fd.as_raw_fd()), "")?))
    } else {
        Ok(Step::File(fd))
    }
}

/// The components of a path, `..` among them.
fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// A directory below `root` for what must not be a link in its last component (proc, sysfs), made if missing.
pub fn ordinary_directory(root: BorrowedFd, path: &Path) -> Result<Place, Errno> {
    let cleaned = clean(path);
    if let Ok(fd) = open_plain(root, &cleaned, libc::O_DIRECTORY) {
        return Ok(Place {
            fd,
            path: Path::new("/").join(cleaned),
            created: false,
        });
    }
    let place = resolve(root, path, Missing::Directory, LastLink::Refuse)?;
    let mode = fstat(place.fd.as_raw_fd())?.st_mode;
    match mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() {
        true => Ok(place),
        false => Err(Errno::ENOTDIR),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory that is deleted when the test is over.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Scratch {
            let template = std::env::temp_dir().join("tandem-resolve-XXXXXX");
            Scratch(nix::unistd::mkdtemp(&template).unwrap())
        }
        fn root(&self) -> fs::File {
            fs::File::open(self.0.join("root")).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// `outside` beside the root, the root with some directories and links.
    fn scratch() -> Scratch {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.0.join("root/real/deep")).unwrap();
        fs::create_dir(scratch.0.join("outside")).unwrap();
        fs::write(scratch.0.join("root/file"), "").unwrap();
        symlink("/real", scratch.0.join("root/link")).unwrap();
        symlink("../../../outside", scratch.0.join("root/up")).unwrap();
        symlink("/gone/away", scratch.0.join("root/dangling")).unwrap();
        symlink("loop", scratch.0.join("root/loop")).unwrap();
        scratch
    }

    fn found(scratch: &Scratch, path: &str, missing: Missing) -> Result<(PathBuf, bool), Errno> {
        let root = scratch.root();
        let place = resolve(root.as_fd(), Path::new(path), missing, LastLink::Follow)?;
        Ok((place.path, place.created))
    }

    #[test]
    fn clean_takes_dots_out_by_name() {
        assert_eq!(clean(Path::new("/a/./b/../c/")), Path::new("a/c"));
        assert_eq!(clean(Path::new("../../x")), Path::new("x"));
        assert_eq!(clean(Path::new("/..")), Path::new(""));
    }

    #[test]
    fn a_destination_below_the_root_on_the_host_is_taken_for_one_inside() {
        let inside = |path| without_root(Path::new("/run/c/rootfs"), Path::new(path));
        assert_eq!(inside("/run/c/rootfs/mnt"), Some("/mnt".into()));
        assert_eq!(inside("/run/c/rootfs2"), None);
        assert_eq!(inside("/mnt"), None);
        assert_eq!(without_root(Path::new("/"), Path::new("/mnt")), None);
    }

    #[test]
    fn links_are_followed_inside_the_root() {
        let scratch = scratch();
        let expected = (PathBuf::from("/real/deep"), false);
        assert_eq!(found(&scratch, "/link/deep", Missing::Fail), Ok(expected));
    }

    #[test]
    fn a_link_that_climbs_ends_at_the_root_and_makes_nothing_outside() {
        let scratch = scratch();
        let expected = (PathBuf::from("/outside/new"), true);
        assert_eq!(found(&scratch, "/up/new", Missing::Directory), Ok(expected));
        assert!(scratch.0.join("root/outside/new").is_dir());
        assert!(!scratch.0.join("outside/new").exists());
    }

    #[test]
    fn a_dangling_link_is_made_real_inside_the_root() {
        let scratch = scratch();
        let expected = (PathBuf::from("/gone/away/x"), true);
        assert_eq!(found(&scratch, "/dangling/x", Missing::File), Ok(expected));
        assert!(scratch.0.join("root/gone/away/x").is_file());
    }

    #[test]
    fn a_loop_of_links_is_an_error() {
        let scratch = scratch();
        assert_eq!(
            found(&scratch, "/loop/x", Missing::Directory),
            Err(Errno::ELOOP)
        );
    }

    #[test]
    fn nothing_is_made_below_a_file() {
        let scratch = scratch();
        assert_eq!(
            found(&scratch, "/file/x", Missing::Directory),
            Err(Errno::ENOTDIR)
        );
    }

    #[test]
    fn a_missing_path_without_leave_to_make_it_is_an_error() {
        let scratch = scratch();
        assert_eq!(
            found(&scratch, "/real/none", Missing::Fail),
            Err(Errno::ENOENT)
        );
        assert_eq!(
            found(&scratch, "/link/none", Missing::Fail),
            Err(Errno::ENOENT)
        );
    }

    #[test]
    fn an_ordinary_directory_is_no_link() {
        let scratch = scratch();
        let root = scratch.root();
        let link = ordinary_directory(root.as_fd(), Path::new("/link"));
        assert_eq!(link.unwrap_err(), Errno::ELOOP);
        let made = ordinary_directory(root.as_fd(), Path::new("/proc")).unwrap();
        assert!(made.created);
    }

    #[test]
    fn the_root_resolves_to_itself() {
        let scratch = scratch();
        let expected = (PathBuf::from("/"), false);
        assert_eq!(found(&scratch, "/..", Missing::Fail), Ok(expected));
    }
}
