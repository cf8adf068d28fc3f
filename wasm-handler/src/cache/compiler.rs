//! Runs the compiler: a module in, code out, one line of reason if there is none.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::key::{self, Key};

/// The compiler's exit status for "the module is at fault", EX_DATAERR of sysexits(3).
pub const REFUSED: i32 = 65;

/// What is read of the compiler's answers at most; a name in a module can be of any length.
const MAX_TEXT: u64 = 2000;

#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error(
        "the compiler {path:?} cannot be run, it is installed beside tandem or named in its configuration"
    )]
    Missing { path: PathBuf, source: io::Error },
    #[error("{reason}")]
    Refused { reason: String },
    #[error("the compiler {path:?} needed more memory or time than it may have, {signal} ended it")]
    Killed { path: PathBuf, signal: String },
    #[error("the compiler {path:?} failed with status {status}: {reason}")]
    Failed {
        path: PathBuf,
        status: i32,
        reason: String,
    },
    #[error("the compiler {path:?} gave a key that is no name: {key:?}")]
    BadKey { path: PathBuf, key: String },
    #[error("cannot take the output of the compiler {path:?}")]
    Output { path: PathBuf, source: io::Error },
}

/// A compiler program, and what it looked like when it was first asked for.
#[derive(Debug)]
pub(super) struct Compiler<'a> {
    path: &'a Path,
    identity: io::Result<String>,
}

impl<'a> Compiler<'a> {
    pub(super) fn at(path: &'a Path) -> Compiler<'a> {
        Compiler {
            path,
            identity: key::identity_of(path),
        }
    }

    pub(super) fn identity(&self) -> Result<String, CompileError> {
        match &self.identity {
            Ok(identity) => Ok(identity.clone()),
            // io::Error cannot be cloned; its kind says "not found" or "permission denied".
            Err(error) => Err(self.missing(error.kind().into())),
        }
    }

    /// False once the program on disk is no longer the one that gave the key.
    pub(super) fn is_unchanged(&self) -> bool {
        matches!((&self.identity, key::identity_of(self.path)), (Ok(then), Ok(now)) if *then == now)
    }

    /// Asks what code of this compiler is valid for.
    pub(super) fn key(&self) -> Result<Key, CompileError> {
        let mut command = self.command();
        command
            .arg("--key")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = self.spawn(&mut command)?;
        let mut text = String::new();
        if let Some(stdout) = child.stdout.take() {
            let read = stdout.take(MAX_TEXT).read_to_string(&mut text);
            read.map_err(|source| self.output(source))?;
        }
        self.finish(child)?;
        Key::parse(text.trim_end()).ok_or_else(|| CompileError::BadKey {
            path: self.path.into(),
            key: text,
        })
    }

    /// Compiles `module`, which must not change meanwhile, into a sealed memfd.
    pub(super) fn compile(&self, module: File) -> Result<OwnedFd, CompileError> {
        let output = |source| self.output(source);
        let memfd = memfd_create(
            "tandem-artifact",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        );
        let mut code = File::from(memfd.map_err(|errno| output(errno.into()))?);
        let mut command = self.command();
        let target = code.try_clone().map_err(output)?;
        command
            .stdin(Stdio::from(module))
            .stdout(Stdio::from(target));
        let child = self.spawn(&mut command)?;
        // The command keeps its descriptors open; a writable one would outlive the sealing.
        drop(command);
        self.finish(child)?;
        // A module can aim at the compiler. Whatever became of that process, its output is final from here on.
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        fcntl_add_seals(&code, seals).map_err(|errno| output(errno.into()))?;
        code.rewind().map_err(output)?;
        Ok(code.into())
    }

    /// Nothing of our environment or working directory concerns the compiler.
    fn command(&self) -> Command {
        let mut command = Command::new(self.path);
        command.env_clear().current_dir("/").stderr(Stdio::piped());
        command
    }

    fn spawn(&self, command: &mut Command) -> Result<Child, CompileError> {
        command.spawn().map_err(|source| self.missing(source))
    }

    fn finish(&self, mut child: Child) -> Result<(), CompileError> {
        let mut text = Vec::new();
        if let Some(mut stderr) = child.stderr.take() {
            let read = stderr.by_ref().take(MAX_TEXT).read_to_end(&mut text);
            // Read to its end, so that a talkative compiler is not stuck in a full pipe.
            let rest = read.and_then(|_| io::copy(&mut stderr, &mut io::sink()));
            rest.map_err(|source| self.output(source))?;
        }
        let status = child.wait().map_err(|source| self.output(source))?;
        self.judge(status, one_line(&String::from_utf8_lossy(&text)))
    }

    fn judge(&self, status: ExitStatus, reason: String) -> Result<(), CompileError> {
        let path = self.path.into();
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(()),
            (Some(REFUSED), _) => Err(CompileError::Refused { reason }),
            (Some(status), _) => Err(CompileError::Failed {
                path,
                status,
                reason,
            }),
            (None, signal) => Err(CompileError::Killed {
                path,
                signal: format!("signal {}", signal.unwrap_or_default()),
            }),
        }
    }

    fn missing(&self, source: io::Error) -> CompileError {
        CompileError::Missing {
            path: self.path.into(),
            source,
        }
    }

    fn output(&self, source: io::Error) -> CompileError {
        CompileError::Output {
            path: self.path.into(),
            source,
        }
    }
}

/// The reason quotes names out of the module: they must not reach a terminal or a log as more than text of one line.
fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    words.join(" ").chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_without_control_characters() {
        assert_eq!(
            one_line("bad name \x1b[31m\n  at 0x5\n"),
            "bad name \u{fffd}[31m at 0x5"
        );
    }

    #[test]
    fn a_missing_compiler_is_named() {
        let error = Compiler::at(Path::new("/nonexistent/tandem-wasmc"))
            .key()
            .unwrap_err();
        assert!(
            error.to_string().contains("/nonexistent/tandem-wasmc"),
            "{error}"
        );
    }
}
