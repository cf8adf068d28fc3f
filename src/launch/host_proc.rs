//! The host's /proc, held open across the pivot.
//!
//! What the set-up writes below /proc (labels, kernel parameters) must reach the kernel and nothing else. The container's
//! own /proc cannot be trusted with it: an image or a volume may put a tmpfs, a symlink or another file of /proc there
//! (CVE-2019-16884, CVE-2025-52881). So these files are opened through a descriptor of the host's procfs, which was proved
//! to be one.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

/// The inode number of the root of every procfs (linux/proc_fs.h, PROC_ROOT_INO).
const ROOT_INODE: u64 = 1;

/// /proc is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum HostProcError {
    #[error("cannot open /proc")]
    Open { source: io::Error },
    #[error("/proc is not a procfs")]
    Foreign,
}

/// A descriptor of a procfs.
#[derive(Debug)]
pub struct HostProc {
    root: OwnedFd,
}

impl HostProc {
    /// Opens it at /proc, before the pivot.
    ///
    /// # Errors
    /// [`HostProcError::Foreign`] when something else is mounted there.
    pub fn open() -> Result<Self, HostProcError> {
        let wrap = |source| HostProcError::Open { source };
        let root = File::options()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open("/proc")
            .map_err(wrap)?;
        let kind = fstatfs(&root)
            .map_err(|errno| wrap(errno.into()))?
            .filesystem_type();
        let inode = root.metadata().map_err(wrap)?.ino();
        if kind != PROC_SUPER_MAGIC || inode != ROOT_INODE {
            return Err(HostProcError::Foreign);
        }
        Ok(Self { root: root.into() })
    }

    /// Opens a file below it for writing.
    ///
    /// # Errors
    /// Those of openat2(2); `EXDEV` when another file system is mounted over a part of the path.
    pub fn open_write(&self, path: &str) -> io::Result<File> {
        let how = OpenHow::new()
            .flags(OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY)
            .resolve(
                ResolveFlag::RESOLVE_BENEATH
                    | ResolveFlag::RESOLVE_NO_XDEV
                    | ResolveFlag::RESOLVE_NO_MAGICLINKS,
            );
        let fd = openat2(self.root.as_raw_fd(), path, how)?;
        Ok(crate::sys::process::adopt(fd).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn own_files_are_reached_and_others_are_not() {
        let proc = HostProc::open().unwrap();
        proc.open_write("self/comm")
            .unwrap()
            .write_all(b"renamed")
            .unwrap();
        assert_eq!(
            std::fs::read_to_string("/proc/self/comm").unwrap().trim(),
            "renamed"
        );
        assert!(proc.open_write("self/root/etc/passwd").is_err());
        assert!(proc.open_write("../etc/passwd").is_err());
    }
}
