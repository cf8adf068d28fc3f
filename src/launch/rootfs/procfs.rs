//! Writes below /proc that protect the container (labels, sysctls) have to arrive at the kernel, not at a file that
//! somebody has mounted there (CVE-2019-16884, CVE-2019-19921, CVE-2025-52881).

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use crate::launch::rootfs::error::Refusal;
use crate::sys::mount::{
    ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, CWD, FsContext, RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_XDEV, openat2,
};

/// linux/proc_ns.h: no other inode of a proc file system has this number.
const PROC_ROOT_INODE: u64 = 1;

/// Why a file of the kernel could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ProcError {
    #[error("cannot open /proc of the host")]
    Open(#[source] Refusal),
    #[error("/proc of the host is not the root of a proc file system")]
    NotProc,
    #[error("something is mounted over /proc/{}, and no proc file system without it can be made", path.display())]
    Covered { path: PathBuf, source: Refusal },
    #[error("cannot open /proc/{}", path.display())]
    File { path: PathBuf, source: Refusal },
    #[error("cannot write {text:?} to /proc/{}", path.display())]
    Write {
        path: PathBuf,
        text: String,
        source: io::Error,
    },
}

/// A verified proc file system, held by a descriptor: it stays usable after the pivot, when the container's own
/// /proc may be anything.
#[derive(Debug)]
pub struct ProcHandle(OwnedFd);

impl AsFd for ProcHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ProcHandle {
    /// /proc of the host; to be called before the pivot.
    pub fn open() -> Result<ProcHandle, ProcError> {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let open = |errno| ProcError::Open(Refusal(errno));
        let proc = openat2(CWD, Path::new("/proc"), flags, 0, 0).map_err(open)?;
        match is_proc_root(proc.as_fd()).map_err(open)? {
            true => Ok(ProcHandle(proc)),
            false => Err(ProcError::NotProc),
        }
    }

    /// Opens a file by its path below /proc: `self/attr/exec`, `sys/net/ipv4/ip_forward`. The only links on the way are
    /// the kernel's own (`self`), and no mount is crossed.
    pub fn file(&self, path: &Path, flags: i32) -> Result<OwnedFd, ProcError> {
        match beneath(self.0.as_fd(), path, flags) {
            // The host, itself a container perhaps, has a mount over it.
            Err(Errno::EXDEV) => {
                let covered = |errno| ProcError::Covered {
                    path: path.to_owned(),
                    source: Refusal(errno),
                };
                let own = private_proc().map_err(covered)?;
                beneath(own.as_fd(), path, flags).map_err(covered)
            }
            opened => opened.map_err(|errno| ProcError::File {
                path: path.to_owned(),
                source: Refusal(errno),
            }),
        }
    }

    /// Writes `text` in one go, as the kernel's files want it.
    pub fn write(&self, path: &Path, text: &str) -> Result<(), ProcError> {
        let file = self.file(path, libc::O_WRONLY)?;
        let mut file = File::from(file);
        let written = file.write(text.as_bytes()).and_then(|count| {
            let whole = count == text.len();
            whole.then_some(()).ok_or(io::ErrorKind::WriteZero.into())
        });
        written.map_err(|source| ProcError::Write {
            path: path.to_owned(),
            text: text.to_owned(),
            source,
        })
    }
}

fn beneath(proc: BorrowedFd, path: &Path, flags: i32) -> Result<OwnedFd, Errno> {
    let resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS;
    openat2(proc, path, flags | libc::O_NOFOLLOW, 0, resolve)
}

/// A proc file system that nobody can mount over, since it is attached nowhere.
fn private_proc() -> Result<OwnedFd, Errno> {
    let context = FsContext::open("proc")?;
    context.create()?;
    context.mount(ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC)
}

fn is_proc_root(fd: BorrowedFd) -> Result<bool, Errno> {
    let is_proc = fstatfs(fd)?.filesystem_type() == PROC_SUPER_MAGIC;
    Ok(is_proc && fstat(fd.as_raw_fd())?.st_ino == PROC_ROOT_INODE)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_file_of_this_process_can_be_read() {
        let proc = ProcHandle::open().unwrap();
        let file = proc.file(Path::new("self/status"), libc::O_RDONLY).unwrap();
        let mut text = String::new();
        File::from(file).read_to_string(&mut text).unwrap();
        assert!(text.contains(&format!("Pid:\t{}\n", std::process::id())));
    }

    #[test]
    fn links_to_elsewhere_are_not_followed() {
        let proc = ProcHandle::open().unwrap();
        for path in ["self/root/etc/passwd", "self/cwd", "../etc/passwd"] {
            assert!(
                proc.file(Path::new(path), libc::O_RDONLY).is_err(),
                "{path}"
            );
        }
    }
}
