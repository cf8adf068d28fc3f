//! Which file the container's process becomes: found as execvp(3) would, inside the container.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use wasm_handler::choice::Choice;
use wasm_handler::sniff::{self, SniffError};

use crate::sys::process as sys;

/// Why there is nothing to execute. The words are those of Go's os/exec: dockerd and podman derive exit codes 126 and
/// 127 from them.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("exec: {name:?}: executable file not found in $PATH")]
    NotInPath { name: String },
    #[error("exec: {name:?}: stat {name}: no such file or directory")]
    NotFound { name: String },
    #[error("exec: {name:?}: is a directory")]
    Directory { name: String },
    #[error("exec: {name:?}: permission denied")]
    Permission { name: String },
    #[error("exec: {name:?}")]
    Other { name: String, source: io::Error },
    #[error("exec: {name:?}: cannot be a Wasm module")]
    Wasm { name: String, source: SniffError },
}

/// The directories to look in for a name without a slash.
fn search_path(env: &[String]) -> Option<&str> {
    env.iter()
        .rev()
        .find_map(|variable| variable.strip_prefix("PATH="))
}

/// Every path that `name` can stand for, in order.
fn candidates(name: &str, env: &[String], cwd: &Path) -> Vec<PathBuf> {
    if name.contains('/') {
        return vec![cwd.join(name)];
    }
    let directories = search_path(env).unwrap_or_default().split(':');
    // An empty element is the working directory for a shell; Go, and so runc, refuses such a find.
    directories
        .filter(|dir| !dir.is_empty())
        .map(|dir| cwd.join(dir).join(name))
        .collect()
}

/// Opens the entrypoint if it is a Wasm module. Called as root of the container, after the pivot.
///
/// # Errors
/// [`ProgramError::Wasm`] for a file that the config calls a module and that is none, or a module that no engine
/// of ours can run.
pub fn find_module(
    choice: Choice,
    name: &str,
    env: &[String],
    cwd: &Path,
) -> Result<Option<OwnedFd>, ProgramError> {
    if choice == Choice::Native {
        return Ok(None);
    }
    for path in candidates(name, env, cwd) {
        // Looked at first: only to open some devices has an effect.
        if !fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
            continue;
        }
        // O_NONBLOCK: the image decides what lies there, and a FIFO must not hold us up.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
        let Ok(file) = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(&path)
        else {
            continue;
        };
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            continue;
        }
        return match sniff::decide(choice, &file, &path) {
            Ok(sniff::Verdict::Native) => Ok(None),
            Ok(_) => Ok(Some(file.into())),
            Err(source) => Err(ProgramError::Wasm {
                name: name.into(),
                source,
            }),
        };
    }
    match choice {
        // For a Linux program the search for something to execute says what is missing.
        Choice::Guess | Choice::Native => Ok(None),
        Choice::Wasm { .. } if name.contains('/') => {
            Err(ProgramError::NotFound { name: name.into() })
        }
        Choice::Wasm { .. } => Err(ProgramError::NotInPath { name: name.into() }),
    }
}

/// Finds the file to execute, as the container's user, in his working directory.
///
/// # Errors
/// See [`ProgramError`].
pub fn find_executable(name: &str, env: &[String], cwd: &Path) -> Result<CString, ProgramError> {
    let mut denied = false;
    for path in candidates(name, env, cwd) {
        match check_executable(&path) {
            Ok(found) => return Ok(found),
            Err(error) if name.contains('/') => return Err(explain(name, error)),
            Err(error) => denied |= error.kind() == io::ErrorKind::PermissionDenied,
        }
    }
    if denied && !name.contains('/') {
        return Err(ProgramError::Permission { name: name.into() });
    }
    Err(ProgramError::NotInPath { name: name.into() })
}

fn check_executable(path: &Path) -> io::Result<CString> {
    let text = CString::new(path.as_os_str().as_encoded_bytes())?;
    if fs::metadata(path)?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    match sys::may_execute(&text) {
        // faccessat2: Linux 5.8, and a seccomp profile older than that denies it. execve has the last word then.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Ok(text),
        Err(error) => Err(error),
        Ok(()) => Ok(text),
    }
}

fn explain(name: &str, error: io::Error) -> ProgramError {
    let name = name.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => ProgramError::NotFound { name },
        io::ErrorKind::IsADirectory => ProgramError::Directory { name },
        io::ErrorKind::PermissionDenied => ProgramError::Permission { name },
        _ => ProgramError::Other {
            name,
            source: error,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(path: &str) -> Vec<String> {
        vec!["PATH=/wrong".into(), format!("PATH={path}")]
    }

    #[test]
    fn the_last_path_of_the_environment_counts() {
        let found = find_executable("sh", &env("/nowhere:/bin"), Path::new("/")).unwrap();
        assert_eq!(found.as_bytes(), b"/bin/sh");
    }

    #[test]
    fn what_is_wrong_is_said_in_gos_words() {
        let message = |name: &str| {
            find_executable(name, &env("/bin"), Path::new("/"))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            message("nope"),
            r#"exec: "nope": executable file not found in $PATH"#
        );
        assert_eq!(
            message("/nope"),
            r#"exec: "/nope": stat /nope: no such file or directory"#
        );
        assert_eq!(message("/etc"), r#"exec: "/etc": is a directory"#);
        assert_eq!(
            message("/etc/passwd"),
            r#"exec: "/etc/passwd": permission denied"#
        );
    }

    #[test]
    fn a_relative_name_with_a_slash_is_below_the_working_directory() {
        let found = find_executable("./sh", &[], Path::new("/bin")).unwrap();
        assert_eq!(found.as_bytes(), b"/bin/./sh");
    }

    #[test]
    fn without_path_nothing_is_found() {
        assert!(matches!(
            find_executable("sh", &[], Path::new("/")),
            Err(ProgramError::NotInPath { .. })
        ));
    }
}
