//! Runs one guest to its end, inside the container.

mod component;
mod ending;
mod limit;
mod module;
mod wasi;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use tokio::runtime::{Builder, Runtime};

use crate::engine::config;
use crate::handoff::Handoff;
use crate::sys::code::{self, Code, CodeError};

pub use ending::Ending;

/// Why a guest never ran.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot set the engine up: {reason}")]
    Engine { reason: String },
    #[error("cannot set up what the guest waits with")]
    Events { source: io::Error },
    #[error(transparent)]
    Code(#[from] CodeError),
    #[error("option {name:?} is unknown to this engine")]
    Option { name: String },
    #[error("environment entry {entry:?} has no \"=\"")]
    Environment { entry: String },
    #[error("cannot open the directory {path:?} for the guest: {reason}")]
    Preopen { path: PathBuf, reason: String },
    #[error("the module imports {name:?} from {module:?}, which nobody provides")]
    Import { module: String, name: String },
    #[error("it exports no function \"_start\": it is a library, not a program")]
    NoStart,
    #[error("its function \"_start\" takes or returns something: {reason}")]
    StartType { reason: String },
    #[error("it is no component for the command line, which exports \"wasi:cli/run\": {reason}")]
    NoRun { reason: String },
    #[error("{reason}")]
    Link { reason: String },
}

/// Runs the guest that `handoff` describes from its compiled code.
pub fn run(handoff: &Handoff, artifact: OwnedFd) -> Result<Ending, RunError> {
    if let Some(name) = handoff.options.keys().next() {
        return Err(RunError::Option { name: name.clone() });
    }
    let engine = config::engine().map_err(|error| RunError::Engine {
        reason: format!("{error:#}"),
    })?;
    let code = code::load(&engine, artifact)?;
    let events = events().map_err(|source| RunError::Events { source })?;
    let ending = match code {
        Code::Module(module) => events.block_on(module::run(&module, handoff)),
        Code::Component(component) => events.block_on(component::run(&component, handoff)),
    };
    // A thread may still sit in a read of standard input; nobody waits for it.
    events.shutdown_background();
    ending
}

/// One thread: a guest is one, and the library's own choice would start one for each processor.
fn events() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
}
