//! The runtime's side of a Wasm container: which handler runs it, and the compiled code of its module.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use wasm_handler::cache::{self, ArtifactError, CacheRequest, Origin};
use wasm_handler::choice::{Choice, Engine};

use super::seal;

/// Why a module cannot run.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    #[error("cannot find the Wasm handlers beside our own executable")]
    Locate { source: io::Error },
    #[error("the Wasm engine {engine} is not installed: cannot open {path:?}")]
    Absent {
        engine: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot put the compiled module on a read-only mount")]
    Protect { source: io::Error },
    #[error("cannot prepare the Wasm module {name:?}")]
    Artifact { name: String, source: ArtifactError },
}

/// Where compiled modules of root's containers are kept.
const CACHE: &str = "/var/cache/tandem";

/// The handler's program, on a read-only detached mount so that a guest cannot write the host's file through
/// /proc/self/exe (CVE-2019-5736), and the module's compiled code.
///
/// # Errors
/// See [`HandlerError`]: no such engine here, or no module that it could run.
pub fn find(
    choice: Choice,
    name: &str,
    module: BorrowedFd<'_>,
) -> Result<(OwnedFd, Option<OwnedFd>), HandlerError> {
    let engine = match choice {
        Choice::Wasm {
            engine: Some(engine),
        } => engine,
        _ => Engine::Wasmtime,
    };
    let program = open(engine)?;
    let artifact = match engine {
        Engine::Wasmtime => Some(compile(name, module)?),
        // WasmEdge's own compiler is not ours to run yet; its handler takes the module as it is.
        Engine::WasmEdge => None,
    };
    Ok((program, artifact))
}

fn open(engine: Engine) -> Result<OwnedFd, HandlerError> {
    let name = match engine {
        Engine::Wasmtime => "tandem-wasm",
        Engine::WasmEdge => "tandem-wasmedge",
    };
    let path = beside_us(name)?;
    seal::clone_read_only(&path).map_err(|source| HandlerError::Absent {
        engine: engine.name(),
        path,
        source,
    })
}

fn compile(name: &str, module: BorrowedFd<'_>) -> Result<OwnedFd, HandlerError> {
    let compiler = beside_us("tandem-wasmc")?;
    let root = cache_root();
    let request = CacheRequest {
        root: root.as_deref(),
        compiler: &compiler,
    };
    let artifact = cache::artifact(module, &request).map_err(|source| HandlerError::Artifact {
        name: name.into(),
        source,
    })?;
    if let Origin::Uncached {
        reason: Some(reason),
    } = &artifact.origin
    {
        tracing::warn!(
            "compiled code is not kept: {}",
            crate::report::one_line(reason)
        );
    }
    match artifact.origin {
        // A sealed memfd: nobody can write to it.
        Origin::Uncached { .. } => Ok(artifact.fd),
        Origin::Hit | Origin::Compiled => {
            read_only(&artifact.fd).map_err(|source| HandlerError::Protect { source })
        }
    }
}

/// The same file on a read-only detached mount. A root of the container that opens a descriptor once more through
/// /proc/PID/fd would else have the cache's file for writing, and with it the code of other containers.
fn read_only(file: &OwnedFd) -> io::Result<OwnedFd> {
    let by_number = |fd: &OwnedFd| PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let clone = seal::clone_read_only(&by_number(file))?;
    Ok(File::open(by_number(&clone))?.into())
}

/// Root's cache, or the user's own below XDG_CACHE_HOME.
fn cache_root() -> Option<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Some(CACHE.into());
    }
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base =
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("tandem"))
}

fn beside_us(name: &str) -> Result<PathBuf, HandlerError> {
    let own = seal::origin().map_err(|source| HandlerError::Locate { source })?;
    Ok(own.parent().unwrap_or(Path::new("/")).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_cache_cannot_be_opened_again_for_writing() {
        if !nix::unistd::geteuid().is_root() {
            return eprintln!("skipped: cloning a mount takes root");
        }
        let path = std::env::temp_dir().join(format!("tandem-handler-{}", std::process::id()));
        std::fs::write(&path, "code").unwrap();
        let protected = read_only(&File::open(&path).unwrap().into());
        std::fs::remove_file(&path).unwrap();
        let protected = protected.unwrap();
        let again = format!("/proc/self/fd/{}", protected.as_raw_fd());
        assert_eq!(std::fs::read_to_string(&again).unwrap(), "code");
        let error = std::fs::OpenOptions::new().write(true).open(&again);
        assert_eq!(error.unwrap_err().raw_os_error(), Some(libc::EROFS));
    }
}
