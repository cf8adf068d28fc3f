//! `start`

use clap::Args;

use super::Subcommand;
use crate::cli::Outcome;
use crate::lifecycle::{self, ContainerId, Runtime};

#[derive(Debug, Args)]
pub(super) struct Start {
    id: String,
}

impl Subcommand for Start {
    const NAME: &'static str = "start";
    const ABOUT: &'static str = "start the process of a created container";
    const OPERANDS: &'static str = "<container-id>";
    const COUNT: (usize, usize) = (1, 1);
    const DETAILS: &'static str = "\
Lets the process of a container that \"create\" has made run.";

    fn run(self, runtime: &Runtime) -> Outcome {
        lifecycle::start(runtime, &ContainerId::parse(&self.id)?)?;
        Ok(0)
    }
}
