//! `create`

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, value_parser};

use super::Subcommand;
use crate::cli::Outcome;
use crate::lifecycle::{self, ContainerId, CreateRequest, Runtime};

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    new: NewContainer,
    id: String,
}

/// The kernel's own bound of a process's descriptors (`fs.nr_open`), without the three of stdio.
pub(super) const MOST_DESCRIPTORS: i64 = 1_048_576 - 3;

/// The options that `create` and `run` share.
#[derive(Debug, Args)]
pub(super) struct NewContainer {
    /// directory that holds config.json (default: the current directory)
    #[arg(long, short)]
    bundle: Option<PathBuf>,
    /// AF_UNIX socket to send the terminal's master end to
    #[arg(long)]
    console_socket: Option<PathBuf>,
    /// AF_UNIX socket to send a pidfd of the container's first process to
    #[arg(long)]
    pidfd_socket: Option<PathBuf>,
    /// file to write the process id of the container's first process to
    #[arg(long)]
    pid_file: Option<PathBuf>,
    /// change the root by moving mounts instead of pivot_root, for a root file system on an initial ramdisk
    #[arg(long)]
    no_pivot: bool,
    /// keep the caller's session keyring instead of joining a new one
    #[arg(long)]
    no_new_keyring: bool,
    /// number of descriptors after standard error (and those of $LISTEN_FDS) that the container's process keeps
    #[arg(long, default_value = "0", value_parser = value_parser!(u32).range(..=MOST_DESCRIPTORS))]
    preserve_fds: u32,
}

/// A path that cannot be made absolute.
#[derive(Debug, thiserror::Error)]
#[error("cannot find the current directory, which {path:?} is relative to")]
pub(super) struct RelativePath {
    path: PathBuf,
    source: io::Error,
}

/// The state of a container outlives the caller's current directory.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, RelativePath> {
    std::path::absolute(path).map_err(|source| RelativePath {
        path: path.to_owned(),
        source,
    })
}

impl NewContainer {
    pub(super) fn request(self, id: &str) -> anyhow::Result<CreateRequest> {
        let bundle = self.bundle.as_deref().unwrap_or(Path::new("."));
        Ok(CreateRequest {
            id: ContainerId::parse(id)?,
            bundle: absolute(bundle)?,
            console_socket: self.console_socket,
            pidfd_socket: self.pidfd_socket,
            pid_file: self.pid_file.as_deref().map(absolute).transpose()?,
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            preserve_fds: self.preserve_fds,
        })
    }
}

impl Subcommand for Create {
    const NAME: &'static str = "create";
    const ABOUT: &'static str = "create a container";
    const OPERANDS: &'static str = "<container-id>";
    const COUNT: (usize, usize) = (1, 1);
    const DETAILS: &'static str = "\
Makes a container of the bundle: the process that config.json asks for is set up
and waits for \"start\". The id is yours to choose; it must be unique below --root.";

    fn run(self, runtime: &Runtime) -> Outcome {
        let create = || {
            let request = self.new.request(&self.id)?;
            anyhow::Ok(lifecycle::create(runtime, &request)?)
        };
        // Docker and podman show this text; runc's name is part of it, so ours is.
        create().with_context(|| format!("{} create failed", runtime.name))?;
        Ok(0)
    }
}
