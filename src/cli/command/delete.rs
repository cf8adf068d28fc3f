//! `delete`

use clap::Args;

use super::Subcommand;
use crate::cli::Outcome;
use crate::lifecycle::{self, ContainerId, Runtime};

#[derive(Debug, Args)]
pub(super) struct Delete {
    /// kill the container first if it still runs, and do not mind if there is none
    #[arg(long, short)]
    force: bool,
    id: String,
}

impl Subcommand for Delete {
    const NAME: &'static str = "delete";
    const ABOUT: &'static str = "delete what a stopped container still holds";
    const OPERANDS: &'static str = "<container-id>";
    const COUNT: (usize, usize) = (1, 1);
    const DETAILS: &'static str = "\
Removes the container's state and its cgroups. The bundle stays as it is.";

    fn run(self, runtime: &Runtime) -> Outcome {
        lifecycle::delete(runtime, &ContainerId::parse(&self.id)?, self.force)?;
        Ok(0)
    }
}
