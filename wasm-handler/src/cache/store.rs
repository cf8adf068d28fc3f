//! The folder of entries: verified on the way in and on the way out, published by rename.

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, mkdirat, open, openat,
    renameat, statat, unlinkat,
};
use rustix::io::Errno;

use super::compiler::{CompileError, Compiler};
use super::digest::Digest;
use super::entry;
use super::key::Key;

/// How long a start waits for another one that compiles the same module, before it compiles for itself.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(5);

/// Why an artifact is not kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot use the cache folder {path:?}")]
    Folder { path: PathBuf, source: io::Error },
    #[error(
        "cache folder {path:?} is open to others: it must belong to user {user} with mode 0700"
    )]
    Open { path: PathBuf, user: u32 },
    #[error("cannot lock the cache entry {name:?}")]
    Lock { name: String, source: io::Error },
    #[error("another process has been compiling the cache entry {name:?} for {} s", PATIENCE.as_secs())]
    Busy { name: String },
    #[error("cannot write the cache entry {name:?}")]
    Write { name: String, source: io::Error },
    #[error("the compiler was replaced while it ran")]
    CompilerChanged,
    #[error(transparent)]
    Key(CompileError),
}

/// Opens the cache's root and makes it, with its parents, if it is missing.
pub(super) fn open_root(root: &Path) -> Result<OwnedFd, StoreError> {
    let folder = |source: io::Error| StoreError::Folder {
        path: root.into(),
        source,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = match open(root, flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(root);
            made.map_err(folder)?;
            open(root, flags, Mode::empty())
        }
        result => result,
    };
    let opened = opened.map_err(|errno| folder(errno.into()))?;
    require_private(&opened, root)?;
    Ok(opened)
}

/// Who can write into the folder decides what runs as native code; who can read it, needs no other proof either.
fn require_private(folder: impl AsFd, path: &Path) -> Result<(), StoreError> {
    let stat = fstat(folder).map_err(|errno| StoreError::Folder {
        path: path.into(),
        source: errno.into(),
    })?;
    let user = rustix::process::geteuid().as_raw();
    match stat.st_uid == user && stat.st_mode & 0o077 == 0 {
        true => Ok(()),
        false => Err(StoreError::Open {
            path: path.into(),
            user,
        }),
    }
}

/// The entries of one key.
#[derive(Debug)]
pub(super) struct Store {
    folder: OwnedFd,
}

/// What a reservation found.
pub(super) enum Reserved<'a> {
    /// Somebody else published the entry in the meantime.
    Published(OwnedFd),
    Slot(Slot<'a>),
}

impl Store {
    pub(super) fn open(root: OwnedFd, path: &Path, key: Key) -> Result<Store, StoreError> {
        let path = path.join(key.as_str());
        let failed = |errno: Errno| StoreError::Folder {
            path: path.clone(),
            source: errno.into(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match openat(&root, key.as_str(), flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                match mkdirat(&root, key.as_str(), Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(failed(errno)),
                }
                openat(&root, key.as_str(), flags, Mode::empty())
            }
            result => result,
        };
        let folder = folder.map_err(failed)?;
        require_private(&folder, &path)?;
        Ok(Store { folder })
    }

    /// The entry of `module`, if there is a whole one of ours. Whatever else lies there is replaced by a compile.
    pub(super) fn find(&self, module: &Digest) -> Option<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = openat(&self.folder, module.hex(), flags, Mode::empty()).ok()?;
        let stat = fstat(&opened).ok()?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let ours = stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o222 == 0;
        if !(regular && ours) {
            return None;
        }
        let file = File::from(opened);
        entry::is_whole(&file, module)
            .is_ok_and(|whole| whole)
            .then(|| file.into())
    }

    /// Claims the right to make the entry of `module`, or waits for whoever has it.
    ///
    /// The claim is a lock on the file that becomes the entry. Its name is fixed, so that a process that was
    /// killed leaves at most one file for a module, which the next one takes over.
    pub(super) fn reserve(&self, module: &Digest) -> Result<Reserved<'_>, StoreError> {
        let name = module.hex();
        let staged = format!(".{name}");
        let failed = |errno: Errno| StoreError::Lock {
            name: name.clone(),
            source: errno.into(),
        };
        let deadline = Instant::now() + PATIENCE;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let mode = Mode::from_raw_mode(0o600);
            let file = openat(&self.folder, &staged, flags, mode).map_err(failed)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if self.is_still_at(&file, &staged) => {
                    let slot = Slot {
                        store: self,
                        file: File::from(file),
                        staged,
                        module: *module,
                        published: false,
                    };
                    // Whoever held the lock before may have published between our look and our lock.
                    return Ok(match self.find(module) {
                        Some(entry) => Reserved::Published(entry),
                        None => Reserved::Slot(slot),
                    });
                }
                // It was renamed to be the entry, or removed: the name is another file's now.
                Ok(()) | Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) if Instant::now() < deadline => std::thread::sleep(POLL),
                Err(Errno::AGAIN) => return Err(StoreError::Busy { name }),
                Err(errno) => return Err(failed(errno)),
            }
            if let Some(entry) = self.find(module) {
                return Ok(Reserved::Published(entry));
            }
        }
    }

    fn is_still_at(&self, file: &OwnedFd, name: &str) -> bool {
        let same = |a: Stat, b: Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        let there = statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW);
        matches!((fstat(file), there), (Ok(ours), Ok(there)) if same(ours, there))
    }
}

/// The claimed place of an entry; removed again unless it is published.
pub(super) struct Slot<'a> {
    store: &'a Store,
    file: File,
    staged: String,
    module: Digest,
    published: bool,
}

impl Slot<'_> {
    /// Puts `code` in place as the entry, and opens it for reading.
    pub(super) fn publish(
        mut self,
        code: &OwnedFd,
        compiler: &Compiler<'_>,
    ) -> Result<OwnedFd, StoreError> {
        if !compiler.is_unchanged() {
            return Err(StoreError::CompilerChanged);
        }
        let name = self.module.hex();
        let written = self.write(code).and_then(|()| {
            let folder = &self.store.folder;
            Ok(renameat(folder, &self.staged, folder, &name)?)
        });
        written.map_err(|source| StoreError::Write {
            name: name.clone(),
            source,
        })?;
        self.published = true;
        // The slot's own descriptor could still write; the container gets one that never could.
        self.store
            .find(&self.module)
            .ok_or_else(|| StoreError::Write {
                name,
                source: io::ErrorKind::NotFound.into(),
            })
    }

    fn write(&mut self, code: &OwnedFd) -> io::Result<()> {
        let code = File::from(code.try_clone()?);
        io::Seek::rewind(&mut &code)?;
        // What a killed predecessor left.
        self.file.set_len(0)?;
        entry::write(&code, &mut self.file, &self.module)?;
        self.file.set_permissions(Permissions::from_mode(0o444))?;
        // Before the rename makes it an entry: after a crash the name must not lead to code with holes.
        self.file.sync_data()
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if !self.published {
            // Failing leaves an unlocked file, which the next one takes over.
            unlinkat(&self.store.folder, &self.staged, AtFlags::empty()).ok();
        }
    }
}
