//! The operations on a container, one file each: what `cli` calls.

use std::path::PathBuf;

use serde::Serialize;

pub use container::{Container, Status};
pub use create::{create, run};
pub use delete::delete;
pub use error::Error;
pub use events::{Event, follow, stats};
pub use exec::exec;
pub use freeze::{pause, resume};
pub use id::{ContainerId, InvalidId};
pub use kill::kill;
pub use query::{list, pids, state};
pub use start::start;
pub use update::update;

mod container;
mod create;
mod delete;
mod error;
mod events;
mod exec;
mod freeze;
mod id;
mod kill;
mod query;
mod start;
mod update;

/// What every operation gives.
pub type Result<T> = std::result::Result<T, Error>;

/// What every command knows: where state lives and how the caller wants cgroups managed.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// The name that this program was called by (`tandem`, or that of a symlink such as `runc`).
    pub name: String,
    /// The state directory (`--root`).
    pub root: PathBuf,
    /// `--systemd-cgroup`: make cgroups through systemd instead of the cgroup file system.
    pub systemd_cgroup: bool,
    /// `--debug`
    pub debug: bool,
}

/// `create`, and the part of `run` that is the same.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    pub id: ContainerId,
    pub bundle: PathBuf,
    pub console_socket: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    /// Descriptors after stdio that the container's process keeps (3 to 3 + n - 1).
    pub preserve_fds: u32,
}

/// `run`
#[derive(Debug, Clone)]
pub struct RunRequest {
    pub create: CreateRequest,
    pub detach: bool,
    pub keep: bool,
    pub no_subreaper: bool,
}

/// `exec`
#[derive(Debug, Clone)]
pub struct ExecRequest {
    pub id: ContainerId,
    /// A process.json of the caller; the other fields change what it says, as in runc.
    pub process: Option<PathBuf>,
    pub args: Vec<String>,
    pub cwd: Option<String>,
    pub env: Vec<String>,
    pub tty: bool,
    /// `UID[:GID]`, as the user wrote it.
    pub user: Option<String>,
    pub additional_gids: Vec<u32>,
    pub process_label: Option<String>,
    pub apparmor: Option<String>,
    /// As in the container's config where it is not given.
    pub no_new_privs: Option<bool>,
    pub caps: Vec<String>,
    /// `[controller,…:]path` of a sub-cgroup to be born in.
    pub cgroups: Vec<String>,
    pub detach: bool,
    pub console_socket: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub preserve_fds: u32,
    pub ignore_paused: bool,
}

/// What `state` and `list` show of a container; serialized in the key order of runc.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateReport {
    pub oci_version: String,
    pub id: String,
    /// 0 when the container is stopped.
    pub pid: i32,
    pub status: String,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    /// RFC 3339 with nanoseconds, in UTC.
    pub created: String,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub annotations: std::collections::BTreeMap<String, String>,
    /// `state` leaves it empty, `list` fills in the user's name, as runc does.
    pub owner: String,
}
