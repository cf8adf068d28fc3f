//! `state`

use clap::Args;

use super::Subcommand;
use crate::cli::{self, Outcome};
use crate::lifecycle::{self, ContainerId, Runtime};

#[derive(Debug, Args)]
pub(super) struct State {
    id: String,
}

impl Subcommand for State {
    const NAME: &'static str = "state";
    const ABOUT: &'static str = "show the state of a container";
    const OPERANDS: &'static str = "<container-id>";
    const COUNT: (usize, usize) = (1, 1);
    const DETAILS: &'static str = "\
Prints the state of a container as JSON: id, process id, status (creating,
created, running, paused or stopped), bundle and annotations.";

    fn run(self, runtime: &Runtime) -> Outcome {
        let report = lifecycle::state(runtime, &ContainerId::parse(&self.id)?)?;
        // No newline at the end, as in runc.
        cli::print(&serde_json::to_vec_pretty(&report)?)
    }
}
