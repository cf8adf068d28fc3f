//! `run`

use anyhow::Context;
use clap::Args;

use super::Subcommand;
use super::create::NewContainer;
use crate::cli::Outcome;
use crate::lifecycle::{self, RunRequest, Runtime};

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    new: NewContainer,
    /// do not wait for the container's process to end
    #[arg(long, short)]
    detach: bool,
    /// keep the container after its process has ended
    #[arg(long)]
    keep: bool,
    /// do not become the reaper of processes that the container leaves behind
    #[arg(long)]
    no_subreaper: bool,
    id: String,
}

impl Subcommand for Run {
    const NAME: &'static str = "run";
    const ABOUT: &'static str = "create and run a container";
    const OPERANDS: &'static str = "<container-id>";
    const COUNT: (usize, usize) = (1, 1);
    const DETAILS: &'static str = "\
Creates a container of the bundle, starts it, waits for its end and deletes it.
The exit status is that of the container's process, or 128 and the signal's number.";

    fn run(self, runtime: &Runtime) -> Outcome {
        let run = || {
            let request = RunRequest {
                create: self.new.request(&self.id)?,
                detach: self.detach,
                keep: self.keep,
                no_subreaper: self.no_subreaper,
            };
            anyhow::Ok(lifecycle::run(runtime, &request)?)
        };
        Ok(run().with_context(|| format!("{} run failed", runtime.name))?)
    }
}
