//! The state root: a directory of containers.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::Mode;

use super::Record;
use crate::lifecycle::ContainerId;

/// Why the state of a container cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot make the state directory {path:?}")]
    Root { path: PathBuf, source: io::Error },
    #[error(
        "state directory {path:?} belongs to user {owner}, not to us (name another with --root)"
    )]
    ForeignRoot { path: PathBuf, owner: u32 },
    #[error("container with given ID already exists: {id:?}")]
    Exists { id: String },
    /// buildkit looks for "container does not exist".
    #[error("container does not exist: {id:?}")]
    NotFound { id: String },
    #[error("cannot read state of container {id:?} from {path:?}")]
    Read {
        id: String,
        path: PathBuf,
        source: io::Error,
    },
    #[error("state of container {id:?} in {path:?} is damaged (`delete --force` removes it)")]
    Parse {
        id: String,
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error(
        "state of container {id:?} was written by another version of this program ({found}, not {expected})"
    )]
    Version {
        id: String,
        found: u32,
        expected: u32,
    },
    #[error("cannot write {path:?}")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot remove {path:?}")]
    Remove { path: PathBuf, source: io::Error },
}

const RECORD: &str = "state.json";
const CONFIG: &str = "config.json";
const CGROUP: &str = "cgroup.json";
const START: &str = "exec.fifo";
const NOTIFY: &str = "notify";

/// The directory that `--root` names.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store at `root`, which need not exist yet.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// Takes an id: from here on nobody else can, until the reservation is dropped.
    ///
    /// # Errors
    /// [`StateError::Exists`] when a container has the id or is being made with it.
    pub fn reserve(&self, id: &ContainerId) -> Result<Reservation, StateError> {
        let dir = self.root.join(id.as_str());
        // Whoever owns the root decides which process and which cgroup `delete` takes for the container's.
        if let Ok(metadata) = fs::metadata(&self.root) {
            self.require_own(&metadata)?;
        }
        if let Err(error) = make_private_dir(&dir) {
            match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    return Err(StateError::Exists { id: id.to_string() });
                }
                io::ErrorKind::NotFound => self.make_root()?,
                _ => {
                    return Err(StateError::Write {
                        path: dir,
                        source: error,
                    });
                }
            }
            make_private_dir(&dir).map_err(|source| match source.kind() {
                io::ErrorKind::AlreadyExists => StateError::Exists { id: id.to_string() },
                _ => StateError::Write {
                    path: dir.clone(),
                    source,
                },
            })?;
        }
        let mut reservation = Reservation {
            entry: Entry {
                dir,
                id: id.clone(),
            },
            lock: None,
            committed: false,
        };
        reservation.lock = Some(reservation.entry.lock(FlockArg::LockExclusiveNonblock)?);
        Ok(reservation)
    }

    /// The state root is made with mode 01711 as runc's is: others may pass, and read nothing.
    fn make_root(&self) -> Result<(), StateError> {
        let wrap = |source| StateError::Root {
            path: self.root.clone(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .map_err(wrap)?;
        self.require_own(&fs::metadata(&self.root).map_err(wrap)?)
    }

    fn require_own(&self, metadata: &fs::Metadata) -> Result<(), StateError> {
        let own = nix::unistd::geteuid().as_raw();
        if metadata.uid() != own {
            return Err(StateError::ForeignRoot {
                path: self.root.clone(),
                owner: metadata.uid(),
            });
        }
        Ok(())
    }

    /// The container with this id.
    ///
    /// # Errors
    /// [`StateError::NotFound`] when there is none, also while it is still being created.
    pub fn load(&self, id: &ContainerId) -> Result<(Entry, Record), StateError> {
        let entry = self.entry(id);
        let record = entry.read()?;
        Ok((entry, record))
    }

    /// The directory of an id, whether it exists or not.
    #[must_use]
    pub fn entry(&self, id: &ContainerId) -> Entry {
        Entry {
            dir: self.root.join(id.as_str()),
            id: id.clone(),
        }
    }

    /// Every id that has a directory, in order.
    ///
    /// # Errors
    /// Those of reading the directory; a root that does not exist holds no container.
    pub fn ids(&self) -> Result<Vec<ContainerId>, StateError> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => {
                return Err(StateError::Root {
                    path: self.root.clone(),
                    source,
                });
            }
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut ids: Vec<_> = names
            .filter_map(|name| ContainerId::parse(&name).ok())
            .collect();
        ids.sort();
        Ok(ids)
    }
}

fn make_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o711).create(path)
}

/// One container's directory.
#[derive(Debug)]
pub struct Entry {
    dir: PathBuf,
    id: ContainerId,
}

impl Entry {
    fn read(&self) -> Result<Record, StateError> {
        let (id, path) = (self.id.to_string(), self.dir.join(RECORD));
        let text = fs::read(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                StateError::NotFound { id: id.clone() }
            }
            _ => StateError::Read {
                id: id.clone(),
                path: path.clone(),
                source,
            },
        })?;
        let record: Record = serde_json::from_slice(&text).map_err(|source| StateError::Parse {
            id: id.clone(),
            path,
            source,
        })?;
        if record.version != Record::VERSION {
            return Err(StateError::Version {
                id,
                found: record.version,
                expected: Record::VERSION,
            });
        }
        Ok(record)
    }

    /// Replaces the record.
    ///
    /// # Errors
    /// Those of writing, `ENOSPC` among them: the old record is left as it was.
    pub fn write(&self, record: &Record) -> Result<(), StateError> {
        let text = serde_json::to_vec(record).expect("a record has only string keys");
        // Replaced by rename, never rewritten in place: another command may be reading right now and has to see
        // the old record or the new one, not half of each.
        let staged = self.dir.join(".state.json.new");
        write_new(&staged, &text)?;
        let path = self.dir.join(RECORD);
        fs::rename(&staged, &path).map_err(|source| StateError::Write { path, source })
    }

    /// The config that the container was made from.
    ///
    /// # Errors
    /// [`StateError::Read`]
    pub fn config(&self) -> Result<Vec<u8>, StateError> {
        let path = self.dir.join(CONFIG);
        fs::read(&path).map_err(|source| StateError::Read {
            id: self.id.to_string(),
            path,
            source,
        })
    }

    /// The directory for the container's notify socket; it need not be there.
    #[must_use]
    pub fn notify_directory(&self) -> PathBuf {
        self.dir.join(NOTIFY)
    }

    /// The cgroup of a container that was never finished, or whose record is damaged.
    #[must_use]
    pub fn unfinished_cgroup(&self) -> Option<crate::cgroup::Record> {
        serde_json::from_slice(&fs::read(self.dir.join(CGROUP)).ok()?).ok()
    }

    /// Whether the container's process still waits for `start`.
    #[must_use]
    pub fn is_waiting_for_start(&self) -> bool {
        self.dir.join(START).exists()
    }

    /// Opens the FIFO that the container's process waits on, for writing; `None` when it was started already or no
    /// process waits any more.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open_start(&self) -> Result<Option<File>, StateError> {
        let path = self.dir.join(START);
        // O_NONBLOCK: without a reader the open fails with ENXIO (fifo(7)) instead of waiting for one for ever.
        let opened = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&path);
        match opened {
            Ok(file) => Ok(Some(file)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENOENT)) => {
                Ok(None)
            }
            Err(source) => Err(StateError::Read {
                id: self.id.to_string(),
                path,
                source,
            }),
        }
    }

    /// Removes the FIFO: the container counts as started.
    ///
    /// # Errors
    /// Those of unlink(2).
    pub fn remove_start(&self) -> Result<(), StateError> {
        let path = self.dir.join(START);
        fs::remove_file(&path).map_err(|source| StateError::Remove { path, source })
    }

    /// Takes the lock of this container: whoever changes it holds it. Released when the result is dropped.
    ///
    /// # Errors
    /// Those of open(2) and flock(2); [`StateError::NotFound`] when the directory is gone.
    pub fn lock(&self, how: FlockArg) -> Result<Flock<OwnedFd>, StateError> {
        let wrap = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => StateError::NotFound {
                id: self.id.to_string(),
            },
            _ => StateError::Read {
                id: self.id.to_string(),
                path: self.dir.clone(),
                source,
            },
        };
        let dir: OwnedFd = File::open(&self.dir).map_err(wrap)?.into();
        Flock::lock(dir, how).map_err(|(_dir, errno)| wrap(errno.into()))
    }

    /// Whether the directory is there, with or without a record in it.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.dir.is_dir()
    }

    /// Removes the directory with all that it holds. Nothing there is fine.
    ///
    /// # Errors
    /// [`StateError::Remove`]
    pub fn remove(&self) -> Result<(), StateError> {
        // Our own files by name first: that is nearly always all there is, and three unlinks are less than a walk.
        for name in [RECORD, CONFIG, CGROUP, START] {
            match fs::remove_file(self.dir.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => break,
                _ => {}
            }
        }
        let removed = fs::remove_dir(&self.dir).or_else(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty => fs::remove_dir_all(&self.dir),
            _ => Err(error),
        });
        match removed {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StateError::Remove {
                path: self.dir.clone(),
                source,
            }),
            _ => Ok(()),
        }
    }
}

/// An id that is taken for a container in the making. Dropped before `commit`, it is free again.
#[derive(Debug)]
pub struct Reservation {
    entry: Entry,
    lock: Option<Flock<OwnedFd>>,
    committed: bool,
}

impl Reservation {
    /// The directory for the container's notify socket; it need not be there.
    #[must_use]
    pub fn notify_directory(&self) -> PathBuf {
        self.entry.notify_directory()
    }

    /// Keeps the config.
    ///
    /// # Errors
    /// [`StateError::Write`]
    pub fn keep_config(&self, text: &[u8]) -> Result<(), StateError> {
        write_new(&self.entry.dir.join(CONFIG), text)
    }

    /// Takes down the cgroup that was made, before there is a record: if this program is killed now, `delete --force` still
    /// knows what to remove.
    ///
    /// # Errors
    /// [`StateError::Write`]
    pub fn keep_cgroup(&self, cgroup: &crate::cgroup::Record) -> Result<(), StateError> {
        let text = serde_json::to_vec(cgroup).expect("a record has only string keys");
        write_new(&self.entry.dir.join(CGROUP), &text)
    }

    /// Makes the FIFO and opens it for the container's process to wait on.
    ///
    /// # Errors
    /// [`StateError::Write`]
    pub fn make_start(&self) -> Result<OwnedFd, StateError> {
        let path = self.entry.dir.join(START);
        let wrap = |source| StateError::Write {
            path: path.clone(),
            source,
        };
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|errno| wrap(errno.into()))?;
        // Read and write: as its own writer the process does not read an end of file before `start` opens the
        // other side (fifo(7)).
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&path)
            .map_err(wrap)?;
        Ok(file.into())
    }

    /// Writes the record: the container exists.
    ///
    /// # Errors
    /// [`StateError::Write`]; the id is free again then.
    pub fn commit(mut self, record: &Record) -> Result<Entry, StateError> {
        self.entry.write(record)?;
        self.committed = true;
        Ok(Entry {
            dir: self.entry.dir.clone(),
            id: self.entry.id.clone(),
        })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.committed
            && let Err(error) = self.entry.remove()
        {
            tracing::warn!("cannot undo: {error}");
        }
    }
}

fn write_new(path: &Path, text: &[u8]) -> Result<(), StateError> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)?;
        file.write_all(text)
    };
    write().map_err(|source| StateError::Write {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("tandem-store-{}-{name}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn id(raw: &str) -> ContainerId {
        ContainerId::parse(raw).unwrap()
    }

    #[test]
    fn a_reservation_that_is_dropped_leaves_nothing() {
        let scratch = Scratch::new("dropped");
        let store = Store::new(&scratch.0.join("root"));
        let reservation = store.reserve(&id("web")).unwrap();
        reservation.keep_config(b"{}").unwrap();
        drop(reservation.make_start().unwrap());
        assert!(matches!(
            store.reserve(&id("web")),
            Err(StateError::Exists { .. })
        ));
        assert!(matches!(
            store.load(&id("web")),
            Err(StateError::NotFound { .. })
        ));
        drop(reservation);
        assert_eq!(store.ids().unwrap(), []);
        assert!(store.reserve(&id("web")).is_ok());
    }

    #[test]
    fn a_root_of_another_user_is_refused() {
        if !nix::unistd::geteuid().is_root() {
            return eprintln!("skipped: giving a directory away takes root");
        }
        let scratch = Scratch::new("foreign");
        std::os::unix::fs::chown(&scratch.0, Some(65534), None).unwrap();
        assert!(matches!(
            Store::new(&scratch.0).reserve(&id("a")),
            Err(StateError::ForeignRoot { owner: 65534, .. })
        ));
    }

    #[test]
    fn the_fifo_has_a_reader_only_while_the_process_holds_it() {
        let scratch = Scratch::new("fifo");
        let store = Store::new(&scratch.0);
        let reservation = store.reserve(&id("a")).unwrap();
        let waiting = reservation.make_start().unwrap();
        assert!(store.entry(&id("a")).open_start().unwrap().is_some());
        drop(waiting);
        assert!(store.entry(&id("a")).open_start().unwrap().is_none());
    }

    #[test]
    fn a_damaged_record_is_an_error_that_names_the_way_out() {
        let scratch = Scratch::new("damaged");
        let store = Store::new(&scratch.0);
        fs::create_dir(scratch.0.join("a")).unwrap();
        fs::write(scratch.0.join("a/state.json"), "{").unwrap();
        let error = store.load(&id("a")).unwrap_err().to_string();
        assert!(error.contains("delete --force"), "{error}");
    }
}
