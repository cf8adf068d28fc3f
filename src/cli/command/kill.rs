//! `kill`

use clap::Args;

use super::{Subcommand, signal};
use crate::cli::Outcome;
use crate::lifecycle::{self, ContainerId, Runtime};

#[derive(Debug, Args)]
pub(super) struct Kill {
    /// send the signal to all processes of the container; a stopped container is no error then
    #[arg(long, short)]
    all: bool,
    id: String,
    #[arg(default_value = "SIGTERM")]
    signal: String,
}

impl Subcommand for Kill {
    const NAME: &'static str = "kill";
    const ABOUT: &'static str = "send a signal to a container";
    const OPERANDS: &'static str = "<container-id> [signal]";
    const COUNT: (usize, usize) = (1, 2);
    const DETAILS: &'static str = "\
Sends the signal (default: SIGTERM) to the container's first process. A signal is
a number, 0 too, or a name with or without SIG in any case; RTMIN+3 is one, too.";

    fn run(self, runtime: &Runtime) -> Outcome {
        let id = ContainerId::parse(&self.id)?;
        lifecycle::kill(runtime, &id, signal::parse(&self.signal)?, self.all)?;
        Ok(0)
    }
}
