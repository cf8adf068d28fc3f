//! One directory of a cgroup file system: its files, its children, its processes.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statfs::{FsType, fstatfs};

use super::error::CgroupError;
use super::path::Relative;
use crate::sys::cgroupfs::{open_beneath, open_entry};

/// Parents that another process removes while we make ours are made again this often.
const MKDIR_TRIES: usize = 16;

/// An open directory and the path that it was opened by, for messages.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

/// What `make` did.
#[derive(Debug)]
pub(super) struct Made {
    pub directory: Directory,
    /// The directories that were not there before, parents first.
    pub new: Vec<PathBuf>,
    /// Whether the last component is among them.
    pub fresh: bool,
}

impl Directory {
    /// Opens a directory by an absolute path: a mount point, or one that our own state recorded.
    pub(super) fn open(path: &Path) -> Result<Self, CgroupError> {
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
            .open(path);
        match opened {
            Ok(file) => Ok(Self {
                fd: file.into(),
                path: path.into(),
            }),
            Err(source) => Err(CgroupError::Open {
                path: path.into(),
                source,
            }),
        }
    }

    /// Opens a directory below this one.
    pub(super) fn open_below(&self, sub: &str) -> Result<Self, CgroupError> {
        let path = self.path.join(sub);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        match open_beneath(self.fd.as_fd(), sub, flags) {
            Ok(fd) => Ok(Self { fd, path }),
            Err(source) => Err(CgroupError::Open { path, source }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    pub(super) fn file_system(&self) -> Result<FsType, CgroupError> {
        match fstatfs(&self.fd) {
            Ok(status) => Ok(status.filesystem_type()),
            Err(errno) => Err(CgroupError::Read {
                path: self.path.clone(),
                source: errno.into(),
            }),
        }
    }

    /// Makes the directory `below`, and its parents where they are missing.
    ///
    /// On an error nothing that was made is left.
    pub(super) fn make(&self, below: &Relative) -> Result<Made, CgroupError> {
        let mut new = Vec::new();
        let made = self
            .make_levels(below, &mut new)
            .and_then(|()| self.open_below(below.as_str()));
        match made {
            Ok(directory) => {
                let fresh = new.last().is_some_and(|last| last == directory.path());
                Ok(Made {
                    directory,
                    new,
                    fresh,
                })
            }
            Err(error) => {
                for path in new.iter().rev() {
                    // The error above is the one to tell; what another process is using by now stays.
                    drop(std::fs::remove_dir(path));
                }
                Err(error)
            }
        }
    }

    fn make_levels(&self, below: &Relative, new: &mut Vec<PathBuf>) -> Result<(), CgroupError> {
        for _ in 0..MKDIR_TRIES {
            // The parents are there nearly always, so the whole path is tried first.
            match self.mkdir(below.as_str(), new) {
                Err(error) if error.errno() == Some(libc::ENOENT) => {}
                result => return result,
            }
            for level in below.ancestors() {
                match self.mkdir(level, new) {
                    // The last container of this parent went away meanwhile, and the parent with it.
                    Err(error) if error.errno() == Some(libc::ENOENT) => break,
                    result => result?,
                }
            }
        }
        self.mkdir(below.as_str(), new)
    }

    /// One level; that it exists is no error.
    fn mkdir(&self, level: &str, new: &mut Vec<PathBuf>) -> Result<(), CgroupError> {
        let mode = Mode::from_bits_truncate(0o755);
        match mkdirat(Some(self.fd.as_raw_fd()), level, mode) {
            Ok(()) => new.push(self.path.join(level)),
            Err(nix::Error::EEXIST) => {}
            Err(errno) => {
                return Err(CgroupError::Make {
                    path: self.path.join(level),
                    source: errno.into(),
                });
            }
        }
        Ok(())
    }

    /// The content of the file `name`: one that the kernel writes at once, as it does all but the lists of processes.
    pub(super) fn read(&self, name: &str) -> Result<String, CgroupError> {
        let content = self.open_to_read(name).and_then(read_small);
        content.map_err(|source| CgroupError::Read {
            path: self.path.join(name),
            source,
        })
    }

    fn open_to_read(&self, name: &str) -> io::Result<File> {
        let fd = open_entry(self.fd.as_fd(), name, OFlag::O_RDONLY)?;
        Ok(fd.into())
    }

    fn try_read_list(&self, name: &str) -> io::Result<String> {
        let mut text = String::new();
        // `take` hides the file's type, and with it the fstat for a size that is zero for all of these files.
        let mut list = self.open_to_read(name)?.take(u64::MAX);
        list.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Writes `value` to the file `name`, in one write(2) as these files want it.
    pub(super) fn write(&self, name: &str, value: &str) -> Result<(), CgroupError> {
        self.try_write(name, value)
            .map_err(|source| CgroupError::Write {
                path: self.path.join(name),
                value: value.into(),
                source,
            })
    }

    pub(super) fn try_write(&self, name: &str, value: &str) -> io::Result<()> {
        self.try_writer(name)?.put(value)
    }

    /// The file `name`, opened once for several writes.
    pub(super) fn try_writer(&self, name: &str) -> io::Result<Writer> {
        let fd = open_beneath(self.fd.as_fd(), name, OFlag::O_WRONLY)?;
        Ok(Writer(fd.into()))
    }

    pub(super) fn open_file(&self, name: &str) -> Result<File, CgroupError> {
        self.open_to_read(name).map_err(|source| CgroupError::Read {
            path: self.path.join(name),
            source,
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        open_entry(self.fd.as_fd(), name, OFlag::O_PATH).is_ok()
    }

    /// The processes of this cgroup alone. One that is gone has none.
    pub(super) fn processes(&self) -> Result<Vec<i32>, CgroupError> {
        let text = match self.try_read_list("cgroup.procs") {
            // A threaded cgroup lists its threads only, cgroups(7).
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                self.try_read_list("cgroup.threads")
            }
            result => result,
        };
        match text {
            Ok(text) => Ok(text.lines().filter_map(|pid| pid.parse().ok()).collect()),
            Err(error) if is_gone(&error) => Ok(Vec::new()),
            Err(source) => Err(CgroupError::Read {
                path: self.path.join("cgroup.procs"),
                source,
            }),
        }
    }

    /// Moves `pid` here.
    pub(super) fn adopt(&self, pid: i32) -> Result<(), CgroupError> {
        const TRIES: u32 = 5;
        const PAUSE: std::time::Duration = std::time::Duration::from_millis(30);
        let mut tries = 0;
        loop {
            match self.write("cgroup.procs", &pid.to_string()) {
                // The process is so new that the scheduler does not know it yet (TASK_NEW); the kernel offers nothing to
                // wait for.
                Err(error) if error.errno() == Some(libc::EINVAL) && tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                }
                result => return result,
            }
        }
    }

    /// The names of the cgroups below this one.
    pub(super) fn children(&self) -> Result<Vec<String>, CgroupError> {
        let read = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(&self.path)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    names.extend(entry.file_name().into_string());
                }
            }
            Ok(names)
        };
        match read() {
            Err(error) if is_gone(&error) => Ok(Vec::new()),
            result => result.map_err(|source| CgroupError::Read {
                path: self.path.clone(),
                source,
            }),
        }
    }
}

/// Reads a file whose content is made as one piece: a read that does not fill the buffer has all of it.
fn read_small(mut file: File) -> io::Result<String> {
    let mut content = vec![0; 4096];
    let mut length = 0;
    loop {
        match file.read(&mut content[length..]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(read) if length + read == content.len() => {
                length = content.len();
                content.resize(length * 2, 0);
            }
            result => {
                content.truncate(length + result?);
                return String::from_utf8(content)
                    .map_err(|error| io::Error::new(ErrorKind::InvalidData, error));
            }
        }
    }
}

/// A file that takes one value a write.
#[derive(Debug)]
pub(super) struct Writer(File);

impl Writer {
    pub(super) fn put(&mut self, value: &str) -> io::Result<()> {
        loop {
            match self.0.write(value.as_bytes()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(written) if written < value.len() => return Err(ErrorKind::WriteZero.into()),
                result => return result.map(drop),
            }
        }
    }
}

/// What is said of a cgroup that was removed: ENOENT when it is opened, ENODEV when a file of it was open already.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}
