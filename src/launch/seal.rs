//! Out of reach of the container: our own executable.
//!
//! A process of ours inside a container has /proc/PID/exe, through which a container could open the host's file for
//! writing as soon as nobody executes it (CVE-2019-5736). So before anything of a container is touched, the program
//! executes itself once more from a detached, read-only clone of its mount: no copy of the file, and nothing to write to.
//! Only a user without the right to clone mounts (rootless, outside of a user namespace) pays for a copy in memory.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MemFdCreateFlag, memfd_create};

use crate::sys::{mount, process};

/// Tells the second execution where the program's file is, which its /proc/self/exe no longer does: `PID:PATH`. An execve keeps
/// the pid, so a value that some other process has left in the environment does not count.
const ORIGIN: &str = "_TANDEM_ORIGIN";

/// Why the executable cannot be protected.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("cannot find our own executable")]
    Locate { source: io::Error },
    #[error(
        "cannot clone the mount of our own executable read-only (Linux 5.12 or later is needed)"
    )]
    Clone { source: io::Error },
    #[error("our own executable can be written to even through a read-only clone of its mount")]
    Ineffective,
    #[error("cannot execute ourselves from the read-only clone")]
    Exec { source: io::Error },
}

/// Returns once the running executable is on a read-only mount: at once the second time.
///
/// # Errors
/// See [`SealError`]; without protection no container is touched.
pub fn seal() -> Result<(), SealError> {
    let sealed = process::is_on_read_only_mount(c"/proc/self/exe")
        .map_err(|source| SealError::Locate { source })?;
    if sealed || is_sealed_copy() {
        return Ok(());
    }
    if origin_of_this_process().is_some() {
        // Executed again and no better off: once more would go on for ever.
        return Err(SealError::Ineffective);
    }
    let origin =
        std::fs::read_link("/proc/self/exe").map_err(|source| SealError::Locate { source })?;
    let clone = clone_read_only(Path::new("/proc/self/exe"))
        .map_err(|source| SealError::Clone { source })?;
    let args: Vec<CString> = std::env::args_os().map(to_c).collect();
    let own = OsString::from(ORIGIN);
    let mut env: Vec<CString> = std::env::vars_os()
        .filter(|(name, _)| *name != own)
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            to_c(name)
        })
        .collect();
    let mut variable = own;
    variable.push(format!("={}:", std::process::id()));
    variable.push(origin);
    env.push(to_c(variable));
    Err(SealError::Exec {
        source: process::exec_fd(clone.as_fd(), &args, &env),
    })
}

/// [`seal`], for a command that is about to touch a container; says for `--debug` how it was done.
///
/// # Errors
/// See [`SealError`]; without protection no container is touched.
pub fn ensure(name: &str) -> Result<(), SealError> {
    seal()?;
    tracing::debug!("{name} exeseal: using /proc/self/exe clone from a read-only mount");
    Ok(())
}

/// A descriptor of a file of the host through which nobody can write to it, whatever his rights: the file on a detached,
/// read-only clone of its mount. A user who may not clone mounts gets a sealed copy of the file instead.
///
/// # Errors
/// Those of open_tree(2), mount_setattr(2) and memfd_create(2).
pub(super) fn clone_read_only(path: &Path) -> io::Result<OwnedFd> {
    match mount::clone_tree(mount::CWD, path, mount::Reach::One) {
        Err(Errno::EPERM) => copy_sealed(path),
        clone => {
            let clone = clone?;
            let read_only = mount::MountAttr::setting(mount::ATTR_RDONLY);
            mount::set_attributes(clone.as_fd(), mount::Reach::One, &read_only)?;
            Ok(clone)
        }
    }
}

fn copy_sealed(path: &Path) -> io::Result<OwnedFd> {
    let mut original = File::open(path)?;
    let flags = MemFdCreateFlag::MFD_CLOEXEC | MemFdCreateFlag::MFD_ALLOW_SEALING;
    let mut copy = File::from(memfd_create(c"tandem", flags)?);
    io::copy(&mut original, &mut copy)?;
    let seals = SEALS | SealFlag::F_SEAL_SEAL;
    fcntl(copy.as_raw_fd(), FcntlArg::F_ADD_SEALS(seals))?;
    Ok(copy.into())
}

const SEALS: SealFlag = SealFlag::F_SEAL_WRITE
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_SHRINK);

/// Whether the running executable is such a copy.
fn is_sealed_copy() -> bool {
    let seals = File::open("/proc/self/exe")
        .and_then(|exe| Ok(fcntl(exe.as_raw_fd(), FcntlArg::F_GET_SEALS)?));
    // Not a memfd: EINVAL.
    seals.is_ok_and(|seals| SealFlag::from_bits_truncate(seals).contains(SEALS))
}

fn to_c(text: OsString) -> CString {
    CString::new(text.into_vec())
        .expect("what the kernel gave as an argument or variable has no null byte")
}

/// The file that this program was first executed from.
///
/// # Errors
/// Those of readlink(2).
pub fn origin() -> io::Result<PathBuf> {
    match origin_of_this_process() {
        Some(path) => Ok(path),
        None => std::fs::read_link("/proc/self/exe"),
    }
}

fn origin_of_this_process() -> Option<PathBuf> {
    let value = std::env::var_os(ORIGIN)?;
    let bytes = value.as_bytes();
    let own = format!("{}:", std::process::id());
    let path = bytes.strip_prefix(own.as_bytes())?;
    path.starts_with(b"/")
        .then(|| OsStr::from_bytes(path).into())
}
