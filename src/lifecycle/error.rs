//! Why an operation on a container failed.

use std::io;
use std::path::PathBuf;

use crate::bundle::{BundleError, Invalid};
use crate::cgroup::CgroupError;
use crate::launch::LaunchError;
use crate::launch::console::ConsoleError;
use crate::launch::hooks::HookError;
use crate::launch::namespaces::NamespaceError;
use crate::launch::notify::NotifyError;
use crate::launch::relay::RelayError;
use crate::launch::rootfs::RootfsError;
use crate::launch::seal::SealError;
use crate::seccomp::SeccompError;
use crate::state::StateError;

use super::Status;

/// One variant for each thing that can be in the way.
///
/// Engines match on runc's words: "container not running", "does not exist", "no such process".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error("unable to apply cgroup configuration")]
    Cgroup(#[from] CgroupError),
    #[error("container with id {id} is not running")]
    NoEvents { id: String },
    #[error("cannot read the statistics of container {id:?}")]
    Stats { id: String, source: CgroupError },
    #[error("cannot wait for events of container {id:?}")]
    Watch { id: String, source: io::Error },
    #[error("cannot change the limits")]
    Limits(#[source] CgroupError),
    #[error("unable to init seccomp")]
    Seccomp(#[from] SeccompError),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    #[error(transparent)]
    Proc(#[from] crate::launch::rootfs::ProcError),
    #[error(transparent)]
    Console(#[from] ConsoleError),
    #[error(transparent)]
    Relay(#[from] RelayError),
    #[error(transparent)]
    Notify(#[from] NotifyError),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error("cannot choose how to run container {id:?}")]
    Choice {
        id: String,
        source: wasm_handler::choice::ChoiceError,
    },
    #[error("cannot allocate tty if {name} will detach without setting console socket")]
    TerminalWithoutSocket { name: String },
    #[error("cannot use console socket if {name} will not detach or allocate tty")]
    SocketWithoutTerminal { name: String },
    #[error("unable to stat preserved-fd {fd} (is it open?)")]
    NotOpen { fd: u32 },
    #[error("cannot write pid file {path:?}")]
    PidFile { path: PathBuf, source: io::Error },
    #[error("cannot send the pidfd to {path:?}")]
    PidfdSocket { path: PathBuf, source: io::Error },
    #[error("cannot read process file {path:?}")]
    ProcessFile { path: PathBuf, source: io::Error },
    #[error("cannot parse process file {path:?}")]
    ProcessSyntax {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("the config that container {id:?} was made from is damaged")]
    Config {
        id: String,
        source: serde_json::Error,
    },
    #[error("invalid process")]
    Process(#[from] Invalid),
    #[error("cannot start {} (container {id:?} must be created)", .status.as_start_found_it())]
    NotCreated { id: String, status: Status },
    #[error("cannot exec in a stopped container: {id:?}")]
    ExecStopped { id: String },
    #[error("cannot exec in a paused container (use --ignore-paused to override): {id:?}")]
    ExecPaused { id: String },
    #[error("container not running")]
    NotRunning,
    #[error("cannot pause container {id:?}: container not running or created (it is {status})")]
    CannotPause { id: String, status: Status },
    #[error("cannot resume container {id:?}: container not paused (it is {status})")]
    CannotResume { id: String, status: Status },
    #[error(
        "cannot delete container {id:?} that is not stopped: {status} (kill it first, or use --force)"
    )]
    NotStopped { id: String, status: Status },
    #[error("container {id:?} did not end within 10 s of SIGKILL")]
    Unkillable { id: String },
    #[error("unable to signal init of container {id:?}")]
    Signal { id: String, source: io::Error },
    #[error("cannot observe process {pid}")]
    Observe { pid: i32, source: io::Error },
    #[error("invalid user {text:?}: give UID[:GID] as numbers")]
    User { text: String },
    #[error("invalid capability {name:?}")]
    Capability { name: String },
    #[error("cannot set the CPU affinity of the new process")]
    Affinity(#[source] libcontainer::process::cpu_affinity::CPUAffinityError),
    #[error("cannot become a subreaper")]
    Subreaper(#[source] io::Error),
    #[error(
        "cannot keep inherited descriptors from what is executed (Linux 5.11 or later is needed)"
    )]
    Inherited(#[source] io::Error),
    #[error("cannot protect this process from the container")]
    Dumpable(#[source] io::Error),
}
