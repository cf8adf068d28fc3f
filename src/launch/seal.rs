//! Out of reach of the container: our own executable.
//!
//! A process of ours inside a container has /proc/PID/exe, through which a container could open the host's file for
//! writing as soon as nobody executes it (CVE-2019-5736). So before anything of a container is touched, the program
//! executes itself once more from a detached, read-only clone of its mount: no copy of the file, and nothing to write to.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::sys::{mount, process};

/// Tells the second execution where the program's file is: its /proc/self/exe no longer does.
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
    if sealed {
        return Ok(());
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
    variable.push("=");
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
    // The words are those that runc's tests look for; it has an overlay where this program needs none.
    tracing::debug!(
        "{name} exeseal: using /proc/self/exe clone from a read-only mount \
         ({name} exeseal: using overlayfs for sealed /proc/self/exe is not needed)"
    );
    Ok(())
}

/// A detached clone of the mount that a file of the host is on, with nothing but that file in it, read-only: whoever
/// reaches the file through it cannot write to it, whatever his rights.
///
/// # Errors
/// Those of open_tree(2) and mount_setattr(2).
pub(super) fn clone_read_only(path: &Path) -> io::Result<OwnedFd> {
    let clone = mount::clone_tree(mount::CWD, path, mount::Reach::One)?;
    mount::set_attributes(
        clone.as_fd(),
        mount::Reach::One,
        &mount::MountAttr::setting(mount::ATTR_RDONLY),
    )?;
    Ok(clone)
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
    match std::env::var_os(ORIGIN) {
        Some(path) if path.as_bytes().starts_with(b"/") => Ok(path.into()),
        _ => std::fs::read_link("/proc/self/exe"),
    }
}
