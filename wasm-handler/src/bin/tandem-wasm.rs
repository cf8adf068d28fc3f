//! Runs a Wasm guest as a container's process: the handler of the embedded engine, Wasmtime without a compiler.
//!
//! `tandem` executes it inside the container with the guest's argv and a handoff (docs/handoff.md). Its exit status is
//! the guest's; 134 after a trap, 126 if the guest cannot be started, 125 if the handoff is broken.

use std::error::Error;
use std::io::{self, Write};
use std::iter;
use std::os::fd::RawFd;
use std::process::ExitCode;

use wasm_handler::engine::run::{self, Ending, RunError};
use wasm_handler::handoff::{self, Handoff, HandoffError};
use wasm_handler::sys::{descriptors, signals};

const TRAPPED: u8 = 134;
const NOT_STARTED: u8 = 126;
const NO_HANDOFF: u8 = 125;

/// The runtime's fault, not the guest's.
#[derive(Debug, thiserror::Error)]
enum ReceiveError {
    #[error(
        "this program is run by tandem in a container, it has no handoff in {}",
        handoff::ENVIRONMENT
    )]
    Absent,
    #[error("descriptor {fd}, the {what} of the handoff, is not open")]
    Descriptor {
        what: &'static str,
        fd: RawFd,
        source: io::Error,
    },
    #[error(transparent)]
    Document(#[from] HandoffError),
    #[error("the handoff has no compiled code, and this program has no compiler")]
    NoArtifact,
    #[error("cannot close what the runtime left open")]
    Close { source: io::Error },
    #[error("cannot handle signals")]
    Signals { source: io::Error },
}

fn main() -> ExitCode {
    let (handoff, artifact) = match receive() {
        Ok(received) => received,
        Err(error) => return report(None, &one_line(&error), NO_HANDOFF),
    };
    match run::run(&handoff, artifact) {
        Ok(Ending::Exit(status)) => ExitCode::from(status),
        Ok(Ending::Trap { report: text }) => report(Some(&handoff), &text, TRAPPED),
        Err(error) => not_started(&handoff, &error),
    }
}

/// Takes over what the runtime left, and nothing else.
fn receive() -> Result<(Handoff, std::os::fd::OwnedFd), ReceiveError> {
    signals::end_on_signals().map_err(|source| ReceiveError::Signals { source })?;
    let number = std::env::var(handoff::ENVIRONMENT).ok();
    let number = number
        .and_then(|text| text.parse().ok())
        .ok_or(ReceiveError::Absent)?;
    let handoff = handoff::receive(take(number, "document")?)?;
    let artifact = handoff.artifact.ok_or(ReceiveError::NoArtifact)?;
    descriptors::close_all_but(&[artifact]).map_err(|source| ReceiveError::Close { source })?;
    Ok((handoff, take(artifact, "compiled code")?))
}

fn take(fd: RawFd, what: &'static str) -> Result<std::os::fd::OwnedFd, ReceiveError> {
    descriptors::inherited(fd).map_err(|source| ReceiveError::Descriptor { what, fd, source })
}

fn not_started(handoff: &Handoff, error: &RunError) -> ExitCode {
    let text = format!("cannot run the guest: {}", one_line(error));
    report(Some(handoff), &text, NOT_STARTED)
}

fn report(handoff: Option<&Handoff>, text: &str, status: u8) -> ExitCode {
    let mut stderr = io::stderr().lock();
    // Nothing is left to report to if this fails.
    match handoff {
        Some(Handoff { name, .. }) => writeln!(stderr, "tandem-wasm: {name:?}: {text}"),
        None => writeln!(stderr, "tandem-wasm: {text}"),
    }
    .ok();
    ExitCode::from(status)
}

fn one_line(error: &(dyn Error + 'static)) -> String {
    let causes = iter::successors(Some(error), |&error| error.source());
    let texts: Vec<_> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}
