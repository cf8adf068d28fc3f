//! What the container's process executes in the end: a program of the image, or the handler of a Wasm engine.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{Process, Spec};
use wasm_handler::choice::Choice;
use wasm_handler::handoff::{self, Handoff};

use super::init::InitError;
use super::program::{self, ProgramError};
use super::sync::{Order, ProcessEnd, Report, SyncError};
use crate::sys::process as sys;

/// Why a Wasm module cannot be handed to its engine.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Sync(#[from] SyncError),
    #[error("the runtime answered a Wasm module with something else than a handler")]
    NoHandler,
    #[error("cannot write the hand-off to the Wasm handler")]
    Handoff { source: io::Error },
}

/// The kind of the container's process, decided once.
#[derive(Debug)]
pub enum Workload {
    Native,
    Wasm {
        handler: OwnedFd,
        module: OwnedFd,
        artifact: Option<OwnedFd>,
    },
}

/// Looks at the entrypoint and, when it is a Wasm module, gets its handler from the runtime, which has the host's
/// files. Called as root of the container, after the pivot: the entrypoint is what the container's mounts say.
///
/// # Errors
/// See [`WorkloadError`].
pub fn classify(
    choice: Choice,
    process: &Process,
    env: &[String],
    channel: &ProcessEnd,
) -> Result<Workload, WorkloadError> {
    let Some(module) = program::find_module(choice, entrypoint(process), env, process.cwd())?
    else {
        return Ok(Workload::Native);
    };
    let copy = module
        .try_clone()
        .map_err(|source| WorkloadError::Handoff { source })?;
    match channel.ask(&Report::Wasm(copy))? {
        Order::Handler { program, artifact } => Ok(Workload::Wasm {
            handler: program,
            module,
            artifact,
        }),
        _ => Err(WorkloadError::NoHandler),
    }
}

/// What the config calls the program.
pub(super) fn entrypoint(process: &Process) -> &str {
    process
        .args()
        .as_ref()
        .and_then(|args| args.first())
        .expect("checked by bundle::validate")
}

/// Ready to be executed.
#[derive(Debug)]
pub enum Program {
    Native {
        path: CString,
        args: Vec<CString>,
        env: Vec<CString>,
    },
    Wasm {
        handler: OwnedFd,
        args: Vec<CString>,
        env: Vec<CString>,
        inherited: Vec<OwnedFd>,
    },
}

impl Workload {
    /// The descriptors that it is made of.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let fds = match self {
            Self::Native => [None, None, None],
            Self::Wasm {
                handler,
                module,
                artifact,
            } => [Some(handler), Some(module), artifact.as_ref()],
        };
        fds.into_iter().flatten().map(AsFd::as_fd)
    }

    /// Finds the executable or writes the hand-off. Called as the container's user.
    ///
    /// # Errors
    /// See [`ProgramError`] and [`WorkloadError`].
    pub fn prepare(
        self,
        spec: &Spec,
        process: &Process,
        env: &[String],
    ) -> Result<Program, WorkloadError> {
        let args = process.args().as_deref().unwrap_or_default();
        let c_args = c_strings(args);
        match self {
            Self::Native => {
                let path = program::find_executable(entrypoint(process), env, process.cwd())?;
                Ok(Program::Native {
                    path,
                    args: c_args,
                    env: c_strings(env),
                })
            }
            Self::Wasm {
                handler,
                module,
                artifact,
            } => {
                let mut document = Handoff::new(
                    entrypoint(process),
                    args,
                    env,
                    &process.cwd().to_string_lossy(),
                );
                document.memory_limit = memory_limit(spec).map(handoff::guest_memory);
                document.module = Some(module.as_raw_fd());
                document.artifact = artifact.as_ref().map(AsRawFd::as_raw_fd);
                let sealed =
                    handoff::seal(&document).map_err(|source| WorkloadError::Handoff { source })?;
                // The guest's own environment is in the document; the handler sees only where that is.
                let variable = format!("{}={}", handoff::ENVIRONMENT, sealed.as_raw_fd());
                let inherited = [Some(sealed), Some(module), artifact]
                    .into_iter()
                    .flatten()
                    .collect();
                Ok(Program::Wasm {
                    handler,
                    args: c_args,
                    env: c_strings(&[variable]),
                    inherited,
                })
            }
        }
    }
}

/// The container's own limit, which the guest is to meet as a failing `memory.grow` before the kernel ends it.
fn memory_limit(spec: &Spec) -> Option<u64> {
    let resources = spec.linux().as_ref()?.resources().as_ref()?;
    let limit = resources.memory().as_ref()?.limit()?;
    u64::try_from(limit).ok().filter(|limit| *limit > 0)
}

fn c_strings(texts: &[String]) -> Vec<CString> {
    texts
        .iter()
        .map(|text| CString::new(text.as_str()).expect("checked by bundle::validate"))
        .collect()
}

impl Program {
    /// The descriptors that have to survive the execve.
    pub fn inherited(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let fds: &[OwnedFd] = match self {
            Self::Native { .. } => &[],
            Self::Wasm { inherited, .. } => inherited,
        };
        fds.iter().map(AsFd::as_fd)
    }

    /// Executes it. Returns only when that failed.
    pub fn exec(self) -> InitError {
        let (name, source) = match self {
            Self::Native { path, args, env } => {
                let source = sys::exec(&path, &args, &env);
                (
                    Path::new(&*path.to_string_lossy()).display().to_string(),
                    source,
                )
            }
            Self::Wasm {
                handler, args, env, ..
            } => {
                // A signal that came before the handler listens would be lost on the first process of a pid
                // namespace. Blocked signals wait, also through the execve; the handler lets them through.
                if let Err(errno) = nix::sys::signal::SigSet::all().thread_block() {
                    tracing::debug!("cannot block signals: {errno}");
                }
                (
                    "the Wasm handler".to_owned(),
                    sys::exec_fd(handler.as_fd(), &args, &env),
                )
            }
        };
        InitError::Exec { name, source }
    }
}
