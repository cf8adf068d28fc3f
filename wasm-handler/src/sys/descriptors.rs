//! Inherited descriptors: taken over by number, and everything else closed.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::process::{Resource, getrlimit};

/// Takes over the descriptor that the parent left under `number`; it is close-on-exec from here on.
///
/// Call it once for a number, before anything else in the process opens files.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: only integers are passed.
    match unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the call before shows that the descriptor is open, and by the contract above nothing in this process
        // owns it yet.
        _ => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
    }
}

/// Closes every descriptor from 3 up but those in `keep`.
pub fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep
        .iter()
        .filter_map(|fd| u32::try_from(*fd).ok())
        .collect();
    keep.sort_unstable();
    let mut first = 3;
    for kept in keep {
        if kept > first {
            close_range(first, kept - 1)?;
        }
        first = first.max(kept + 1);
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: the caller owns none of these descriptors in Rust's sense: they are closed before any is taken over.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error().raw_os_error() {
            // Linux before 5.9, or a seccomp profile that is older than the call.
            Some(libc::ENOSYS | libc::EPERM) => {
                close_each(first, last);
                Ok(())
            }
            _ => Err(io::Error::last_os_error()),
        },
    }
}

fn close_each(first: u32, last: u32) {
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(1 << 20);
    let last = u64::from(last).min(limit) as u32;
    for number in first..=last {
        // SAFETY: as above; closing a number that is not open does nothing.
        unsafe { libc::close(number as RawFd) };
    }
}
