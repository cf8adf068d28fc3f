//! `pause` and `resume`

use clap::Args;

use super::Subcommand;
use crate::cli::Outcome;
use crate::lifecycle::{self, ContainerId, Runtime};

#[derive(Debug, Args)]
pub(super) struct Pause {
    id: String,
}

impl Subcommand for Pause {
    const NAME: &'static str = "pause";
    const ABOUT: &'static str = "freeze all processes of a container";
    const OPERANDS: &'static str = "<container-id>";
    const COUNT: (usize, usize) = (1, 1);
    const DETAILS: &'static str = "\
The processes stay in memory and get no CPU time until \"resume\".";

    fn run(self, runtime: &Runtime) -> Outcome {
        lifecycle::pause(runtime, &ContainerId::parse(&self.id)?)?;
        Ok(0)
    }
}

#[derive(Debug, Args)]
pub(super) struct Resume {
    id: String,
}

impl Subcommand for Resume {
    const NAME: &'static str = "resume";
    const ABOUT: &'static str = "thaw the processes of a paused container";
    const OPERANDS: &'static str = "<container-id>";
    const COUNT: (usize, usize) = (1, 1);
    const DETAILS: &'static str = "\
Lets the processes that \"pause\" has frozen go on.";

    fn run(self, runtime: &Runtime) -> Outcome {
        lifecycle::resume(runtime, &ContainerId::parse(&self.id)?)?;
        Ok(0)
    }
}
