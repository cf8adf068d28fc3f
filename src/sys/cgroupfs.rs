//! What cgroups need of the kernel that nix lacks: opening below a directory descriptor with one owner of the result, and
//! signals by number.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

/// Opens `path`, which may have several components, strictly below `dir` and through no symbolic link.
///
/// openat2(2) is as old as Linux 5.6. Before it a cgroup file system is still safe to walk: it holds no symbolic links and
/// nobody can make one there, and the caller has refused `..`.
///
/// # Errors
/// Those of openat2(2).
pub fn open_beneath(dir: BorrowedFd<'_>, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
    let flags = flags | OFlag::O_CLOEXEC;
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(dir.as_raw_fd(), path, how) {
        Err(Errno::ENOSYS) => open_entry(dir, path, flags),
        opened => Ok(owned(opened?)),
    }
}

/// Opens the entry `name` of `dir`, not through a symbolic link.
///
/// # Errors
/// Those of openat(2).
pub fn open_entry(dir: BorrowedFd<'_>, name: &str, flags: OFlag) -> io::Result<OwnedFd> {
    let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let opened = openat(Some(dir.as_raw_fd()), name, flags, Mode::empty())?;
    Ok(owned(opened))
}

fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: both callers pass the descriptor that a successful open has just returned, so nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// kill(2) with any signal's number, those of real time too.
///
/// # Errors
/// Those of kill(2).
pub fn send_signal(pid: i32, signal: i32) -> io::Result<()> {
    // Zero and negative numbers mean groups of processes, ours among them: never what a list of a cgroup holds.
    if pid <= 0 {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: only integers are passed.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
