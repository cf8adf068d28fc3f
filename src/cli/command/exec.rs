//! `exec`

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, value_parser};

use super::Subcommand;
use super::create::{MOST_DESCRIPTORS, absolute};
use crate::cli::args::Order;
use crate::cli::{Failure, Outcome};
use crate::lifecycle::{self, ContainerId, ExecRequest, Runtime};

#[derive(Debug, Args)]
pub(super) struct Exec {
    /// AF_UNIX socket to send the terminal's master end to
    #[arg(long)]
    console_socket: Option<PathBuf>,
    /// AF_UNIX socket to send a pidfd of the new process to
    #[arg(long)]
    pidfd_socket: Option<PathBuf>,
    /// working directory in the container
    #[arg(long)]
    cwd: Option<String>,
    /// add NAME=VALUE to the environment (can be given again)
    #[arg(long, short)]
    env: Vec<String>,
    /// give the process a terminal
    #[arg(long, short)]
    tty: bool,
    #[arg(help = "user (format: <uid>[:<gid>])", long, short)]
    user: Option<String>,
    /// add a group id (can be given again)
    #[arg(long, short = 'g')]
    additional_gids: Vec<u32>,
    /// file with the process as JSON, in the form of config.json's "process"
    #[arg(long, short)]
    process: Option<PathBuf>,
    /// do not wait for the process to end
    #[arg(long, short)]
    detach: bool,
    /// file to write the process id to
    #[arg(long)]
    pid_file: Option<PathBuf>,
    /// SELinux label of the process
    #[arg(long)]
    process_label: Option<String>,
    /// AppArmor profile of the process
    #[arg(long)]
    apparmor: Option<String>,
    /// let the process and its children gain no privileges by executing programs; =false lets them
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    no_new_privs: Option<bool>,
    /// add a capability (can be given again)
    #[arg(long, short)]
    cap: Vec<String>,
    /// number of descriptors after standard error (and those of $LISTEN_FDS) that the process keeps
    #[arg(long, default_value = "0", value_parser = value_parser!(u32).range(..=MOST_DESCRIPTORS))]
    preserve_fds: u32,
    #[arg(
        help = "run in an existing sub-cgroup (format: [<controller>,…:]<cgroup>; can be given again)",
        long
    )]
    cgroup: Vec<String>,
    /// exec in a paused container, too
    #[arg(long)]
    ignore_paused: bool,
    id: String,
    args: Vec<String>,
}

/// There is nothing to execute.
#[derive(Debug, thiserror::Error)]
#[error("exec args cannot be empty (name a command, or a file with --process)")]
struct NoCommand;

impl Exec {
    fn request(self) -> anyhow::Result<ExecRequest> {
        if self.args.is_empty() && self.process.is_none() {
            return Err(NoCommand.into());
        }
        Ok(ExecRequest {
            id: ContainerId::parse(&self.id)?,
            process: self.process,
            args: self.args,
            cwd: self.cwd,
            env: self.env,
            tty: self.tty,
            user: self.user,
            additional_gids: self.additional_gids,
            process_label: self.process_label,
            apparmor: self.apparmor,
            no_new_privs: self.no_new_privs,
            caps: self.cap,
            cgroups: self.cgroup,
            detach: self.detach,
            console_socket: self.console_socket,
            pidfd_socket: self.pidfd_socket,
            pid_file: self.pid_file.as_deref().map(absolute).transpose()?,
            preserve_fds: self.preserve_fds,
            ignore_paused: self.ignore_paused,
        })
    }
}

impl Subcommand for Exec {
    const NAME: &'static str = "exec";
    const ABOUT: &'static str = "execute another process in a container";
    const OPERANDS: &'static str =
        "<container-id> <command> [arguments...]  || -p process.json <container-id>";
    const COUNT: (usize, usize) = (1, usize::MAX);
    const ORDER: Order = Order::OptionsFirst;
    const DETAILS: &'static str = "\
Runs a command in a container that was created and has not stopped. The exit
status is that of the command, or 255 if it could not be run.";

    fn run(self, runtime: &Runtime) -> Outcome {
        let exec = || anyhow::Ok(lifecycle::exec(runtime, &self.request()?)?);
        exec().context("exec failed").map_err(|error| Failure {
            // A status of its own: 1 could as well be that of the command.
            status: 255,
            error,
        })
    }
}
