//! The option `tmpcopyup`: a tmpfs begins with what was in the directory that it covers.
//!
//! Everything goes by descriptors, and no link is followed, on either side. The tmpfs is not attached yet, so nobody
//! else sees it; the directory may be anyone's, so each entry is opened first and looked at afterwards.

#![forbid(unsafe_code)]

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, futimens, mkdirat, mknodat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, symlinkat};

use crate::launch::rootfs::resolve::open_entry;
use crate::sys::mount::{
    RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, get_xattr, list_xattrs, openat2, set_xattr,
};

/// Deeper trees than this would run out of descriptors.
const MAX_DEPTH: usize = 200;

/// Copies all that is in the directory `from` into the directory `into`, with owners, modes, times and extended
/// attributes. Those of `into` itself are the business of the options of the tmpfs.
pub fn copy(from: BorrowedFd, into: BorrowedFd) -> Result<(), Errno> {
    let from = reopen_dir(from)?;
    let into = reopen_dir(into)?;
    copy_entries(&from, &into, 0)
}

/// A descriptor that directory entries can be read from, of a directory known by an `O_PATH` one.
fn reopen_dir(dir: BorrowedFd) -> Result<OwnedFd, Errno> {
    openat2(
        dir,
        Path::new("."),
        libc::O_RDONLY | libc::O_DIRECTORY,
        0,
        0,
    )
}

fn copy_entries(from: &OwnedFd, into: &OwnedFd, depth: usize) -> Result<(), Errno> {
    if depth > MAX_DEPTH {
        return Err(Errno::ENAMETOOLONG);
    }
    let mut listing = Dir::from_fd(raw_copy(from)?)?;
    for entry in listing.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_entry(from, into, name, depth)?;
        }
    }
    Ok(())
}

/// `Dir` closes the descriptor it is given.
fn raw_copy(fd: &OwnedFd) -> Result<i32, Errno> {
    use std::os::fd::IntoRawFd;
    let copy = reopen_dir(fd.as_fd())?;
    Ok(copy.into_raw_fd())
}

fn copy_entry(from: &OwnedFd, into: &OwnedFd, name: &CStr, depth: usize) -> Result<(), Errno> {
    let os_name = OsStr::from_bytes(name.to_bytes());
    let seen = open_entry(from.as_fd(), os_name, 0)?;
    let stat = fstat(seen.as_raw_fd())?;
    let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
    let into_raw = Some(into.as_raw_fd());
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    match kind {
        SFlag::S_IFDIR => {
            mkdirat(into_raw, name, Mode::from_bits_truncate(0o700))?;
            let (from, into) = (
                reopen_dir(seen.as_fd())?,
                open_new(into, os_name, libc::O_DIRECTORY)?,
            );
            copy_entries(&from, &into, depth + 1)?;
            take_over(&from, &into, &stat)
        }
        SFlag::S_IFREG => {
            let source = openat2(
                from.as_fd(),
                Path::new(os_name),
                libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK,
                0,
                RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
            )?;
            // Swapped for something else since: copying that would not be what was looked at.
            if fstat(source.as_raw_fd())?.st_ino != stat.st_ino {
                return Err(Errno::ESTALE);
            }
            mknodat(
                into_raw,
                name,
                SFlag::S_IFREG,
                Mode::from_bits_truncate(0o600),
                0,
            )?;
            let target = open_new(into, os_name, libc::O_WRONLY)?;
            let (mut reader, mut writer) = (File::from(source), File::from(target));
            io::copy(&mut reader, &mut writer).map_err(errno)?;
            let (source, target) = (OwnedFd::from(reader), OwnedFd::from(writer));
            take_over(&source, &target, &stat)
        }
        SFlag::S_IFLNK => {
            let link = readlinkat(Some(seen.as_raw_fd()), "")?;
            symlinkat(link.as_os_str(), into_raw, name)?;
            own(into, name, &stat)
        }
        // A listening socket cannot be copied; its name alone would be of no use.
        SFlag::S_IFSOCK => Ok(()),
        node => {
            mknodat(into_raw, name, node, mode, stat.st_rdev)?;
            own(into, name, &stat)
        }
    }
}

fn open_new(dir: &OwnedFd, name: &OsStr, flags: i32) -> Result<OwnedFd, Errno> {
    let resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    openat2(dir.as_fd(), Path::new(name), flags, 0, resolve)
}

fn own(dir: &OwnedFd, name: &CStr, stat: &FileStat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
    fchownat(Some(dir.as_raw_fd()), name, Some(uid), Some(gid), flags)
}

/// Owner first: chown(2) clears the set-user-id bit and file capabilities. Times last: everything else changes them.
fn take_over(from: &OwnedFd, into: &OwnedFd, stat: &FileStat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchown(into.as_raw_fd(), Some(uid), Some(gid))?;
    copy_xattrs(from, into)?;
    fchmod(
        into.as_raw_fd(),
        Mode::from_bits_truncate(stat.st_mode & 0o7777),
    )?;
    let accessed = TimeSpec::new(stat.st_atime, stat.st_atime_nsec);
    let modified = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
    futimens(into.as_raw_fd(), &accessed, &modified)
}

fn copy_xattrs(from: &OwnedFd, into: &OwnedFd) -> Result<(), Errno> {
    let names = match list_xattrs(from.as_fd()) {
        // A file system without any.
        Err(Errno::EOPNOTSUPP) => return Ok(()),
        names => names?,
    };
    for name in names {
        let value = get_xattr(from.as_fd(), &name)?;
        match set_xattr(into.as_fd(), &name, &value) {
            // xattr(7): a tmpfs before Linux 6.6 has no user attributes; overlayfs keeps its own in trusted ones, which a
            // user namespace can neither set nor need.
            Ok(()) | Err(Errno::EOPNOTSUPP) => {}
            Err(Errno::EPERM) if name.to_bytes().starts_with(b"trusted.") => {}
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

fn errno(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
