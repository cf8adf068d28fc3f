//! Compiled code, kept by content: the second container of a module compiles nothing.
//!
//! `tandem` calls this on the host at create; no engine is needed for it. An entry's folder is named after what the
//! compiler says about itself (`key`), its file after the module's sha256 (`digest`); `store` puts it there and proves it on the
//! way out, `entry` is the format on disk, `compiler` runs the confined program that makes it.
//!
//! A cache that is missing, full, damaged or not writable costs time and never the container: whatever goes wrong
//! here but in the compiler ends in [`Origin::Uncached`].

mod compiler;
mod digest;
mod entry;
mod key;
mod store;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::FileType;

pub use compiler::CompileError;
pub use store::StoreError;

use compiler::Compiler;
use digest::Digest;
use store::Store;

/// A module is read as a whole by whoever starts the container: an image must not choose how much that is. Engines
/// refuse a gigabyte; Python with its library is 18 MB.
const MAX_MODULE: u64 = 512 << 20;

/// Where compiled code comes from and where it is kept.
#[derive(Debug, Clone, Copy)]
pub struct CacheRequest<'a> {
    /// The cache of this user: `/var/cache/tandem` for root. `None` keeps nothing.
    pub root: Option<&'a Path>,
    /// The program that compiles, `tandem-wasmc`.
    pub compiler: &'a Path,
}

/// Compiled code, ready to be handed to the engine's handler.
#[derive(Debug)]
pub struct Artifact {
    /// Open for reading only: a file of the cache or a sealed memfd.
    pub fd: OwnedFd,
    pub origin: Origin,
}

#[derive(Debug)]
pub enum Origin {
    /// Found in the cache, nothing was compiled.
    Hit,
    /// Compiled now and kept.
    Compiled,
    /// Compiled now; the next container compiles again, for this reason (`None`: no cache was asked for).
    Uncached { reason: Option<StoreError> },
}

#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("cannot read the module")]
    Module { source: io::Error },
    #[error("the module is not a regular file")]
    NotAFile,
    #[error("the module has {length} bytes, more than {MAX_MODULE}")]
    TooLong { length: u64 },
    #[error(transparent)]
    Compile(#[from] CompileError),
}

/// Compiled code for `module`, from the cache if it is there.
pub fn artifact(
    module: BorrowedFd<'_>,
    request: &CacheRequest<'_>,
) -> Result<Artifact, ArtifactError> {
    let compiler = Compiler::at(request.compiler);
    let store = match open_store(&compiler, request.root) {
        Ok(Some(store)) => store,
        Ok(None) => return compile_uncached(&compiler, module, None),
        Err(StoreError::Key(error)) => return Err(error.into()),
        Err(reason) => return compile_uncached(&compiler, module, Some(reason)),
    };
    require_readable(module)?;
    let seen = digest::of_file(module).map_err(|source| ArtifactError::Module { source })?;
    if let Some(fd) = store.find(&seen) {
        return Ok(Artifact {
            fd,
            origin: Origin::Hit,
        });
    }
    compile_and_keep(&compiler, &store, module)
}

fn open_store(compiler: &Compiler<'_>, root: Option<&Path>) -> Result<Option<Store>, StoreError> {
    let Some(root) = root else { return Ok(None) };
    let folder = store::open_root(root)?;
    let key = key::of(compiler, &folder)?;
    Store::open(folder, root, key).map(Some)
}

/// The cache-miss path.
///
/// The module is copied into a sealed memfd, and the digest of that copy names the entry: the file belongs to the
/// image, and whoever swapped its content between our reading and the compiler's would otherwise have
/// another module's entry filled with his code.
fn compile_and_keep(
    compiler: &Compiler<'_>,
    store: &Store,
    module: BorrowedFd<'_>,
) -> Result<Artifact, ArtifactError> {
    let (copy, digest) = freeze(module)?;
    // Of many containers that start at once, one compiles and the others wait for its entry.
    let slot = match store.reserve(&digest) {
        Ok(store::Reserved::Published(fd)) => {
            return Ok(Artifact {
                fd,
                origin: Origin::Hit,
            });
        }
        Ok(store::Reserved::Slot(slot)) => Ok(slot),
        Err(reason) => Err(reason),
    };
    let code = compiler.compile(copy)?;
    Ok(match slot.and_then(|slot| slot.publish(&code, compiler)) {
        Ok(fd) => Artifact {
            fd,
            origin: Origin::Compiled,
        },
        Err(reason) => Artifact {
            fd: code,
            origin: Origin::Uncached {
                reason: Some(reason),
            },
        },
    })
}

fn compile_uncached(
    compiler: &Compiler<'_>,
    module: BorrowedFd<'_>,
    reason: Option<StoreError>,
) -> Result<Artifact, ArtifactError> {
    require_readable(module)?;
    let (copy, _) = freeze(module)?;
    Ok(Artifact {
        fd: compiler.compile(copy)?,
        origin: Origin::Uncached { reason },
    })
}

fn freeze(module: BorrowedFd<'_>) -> Result<(File, Digest), ArtifactError> {
    digest::frozen_copy(module).map_err(|source| ArtifactError::Module { source })
}

/// A pipe or a device as entrypoint would be read for ever.
fn require_readable(module: impl AsFd) -> Result<(), ArtifactError> {
    let stat = rustix::fs::fstat(module).map_err(|errno| ArtifactError::Module {
        source: errno.into(),
    })?;
    let length = stat.st_size as u64;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if length > MAX_MODULE => Err(ArtifactError::TooLong { length }),
        FileType::RegularFile => Ok(()),
        _ => Err(ArtifactError::NotAFile),
    }
}
