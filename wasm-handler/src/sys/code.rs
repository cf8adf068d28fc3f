//! Native code from the handoff into the engine.
//!
//! Whoever writes these bytes decides what this process executes. They come from the descriptor in the handoff alone: a
//! file of the host's cache, or a memfd that `tandem` sealed. Never from a path of the container.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use rustix::fs::{AtFlags, Mode, OFlags, fstat, fstatfs, openat, statat};
use wasmtime::component::Component;
use wasmtime::{Engine, Module, Precompiled};

/// A loaded guest.
pub enum Code {
    Module(Module),
    Component(Component),
}

#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    #[error("cannot read the compiled code")]
    Read { source: io::Error },
    #[error("what was handed over as compiled code is none")]
    NotCode,
    #[error("the engine refuses the compiled code: {reason}")]
    Refused { reason: String },
}

/// Loads what the compiler made, mapped from the file so that all containers of a module share its pages.
pub fn load(engine: &Engine, artifact: OwnedFd) -> Result<Code, CodeError> {
    let file = File::from(artifact);
    let kind = kind_of(&file).map_err(|source| CodeError::Read { source })?;
    match kind.ok_or(CodeError::NotCode)? {
        Precompiled::Module => load_module(engine, file).map(Code::Module),
        Precompiled::Component => load_component(engine, file).map(Code::Component),
    }
}

fn load_module(engine: &Engine, file: File) -> Result<Module, CodeError> {
    let copy = file
        .try_clone()
        .map_err(|source| CodeError::Read { source })?;
    // SAFETY: the file is what the module's documentation above says; nobody writes to a cache entry (0444, replaced only by
    // rename), and a sealed memfd cannot be written.
    match unsafe { Module::deserialize_open_file(engine, copy) } {
        Ok(module) => Ok(module),
        // Executable mappings may be forbidden where the cache lies (noexec): then of a copy in memory.
        // SAFETY: as above.
        Err(_) => unsafe { Module::deserialize(engine, read(file)?) }.map_err(refused),
    }
}

fn load_component(engine: &Engine, file: File) -> Result<Component, CodeError> {
    match at_own_descriptor(&file, |path| {
        // SAFETY: as for a module; that the path leads to the descriptor was checked.
        unsafe { Component::deserialize_file(engine, path) }.ok()
    }) {
        Some(component) => Ok(component),
        // SAFETY: as above.
        None => unsafe { Component::deserialize(engine, read(file)?) }.map_err(refused),
    }
}

fn refused(error: wasmtime::Error) -> CodeError {
    CodeError::Refused {
        reason: format!("{error:#}"),
    }
}

/// What the compiler says it made, from the file's header.
fn kind_of(file: &File) -> io::Result<Option<Precompiled>> {
    let length = file.metadata()?.len() as usize;
    if length == 0 {
        return Ok(None);
    }
    let fd = file.as_raw_fd();
    // SAFETY: a new private mapping at an address of the kernel's choice, of a file that does not change (see above).
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length,
            libc::PROT_READ,
            libc::MAP_PRIVATE,
            fd,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is readable, `length` long, and lives until the call below.
    let bytes = unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) };
    let kind = Engine::detect_precompiled(bytes);
    // SAFETY: the mapping from above, of which nothing is borrowed any more.
    unsafe { libc::munmap(start, length) };
    Ok(kind)
}

/// Calls `with` with a path for an open file, for an interface that only takes paths; `None` if there is none.
///
/// The only such path is in procfs, and /proc in the container may be anything, even a folder of the image. So it
/// is opened once, proven to be procfs and to lead to this very file, and then used as the working directory: a
/// relative path cannot be led elsewhere in between.
fn at_own_descriptor<T>(file: &File, with: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat(rustix::fs::CWD, "/proc/self/fd", flags, Mode::empty()).ok()?;
    if fstatfs(&folder).ok()?.f_type != rustix::fs::PROC_SUPER_MAGIC {
        return None;
    }
    let number = file.as_raw_fd().to_string();
    let (ours, there) = (
        fstat(file).ok()?,
        statat(&folder, &number, AtFlags::empty()).ok()?,
    );
    if (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino) {
        return None;
    }
    let before = openat(
        rustix::fs::CWD,
        ".",
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    rustix::process::fchdir(&folder).ok()?;
    let result = with(&number);
    rustix::process::fchdir(&before).ok()?;
    result
}

fn read(mut file: File) -> Result<Vec<u8>, CodeError> {
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    read.map(|_| bytes)
        .map_err(|source| CodeError::Read { source })
}
