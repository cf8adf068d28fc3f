//! How a guest ended, from what the engine says about it.

use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::RunError;

#[derive(Debug)]
pub enum Ending {
    /// It returned, or chose this status.
    Exit(u8),
    /// It did what Wasm forbids; the text has the reason and the guest's stack, over several lines.
    Trap { report: String },
}

impl Ending {
    /// Tells the end of a guest that ran from the failure to let it run.
    pub(super) fn of(error: &wasmtime::Error) -> Result<Ending, RunError> {
        if let Some(I32Exit(status)) = error.downcast_ref() {
            return Ok(Ending::Exit(exit_status(*status)));
        }
        let stack = error.downcast_ref::<WasmBacktrace>();
        if stack.is_none() && error.downcast_ref::<Trap>().is_none() {
            return Err(RunError::Link {
                reason: format!("{error:#}"),
            });
        }
        let mut report = error.root_cause().to_string();
        if let Some(stack) = stack {
            report.push('\n');
            report.push_str(stack.to_string().trim_end());
        }
        Ok(Ending::Trap { report })
    }
}

/// As exit(3) does: "the least significant byte of status is returned to the parent".
pub(super) fn exit_status(status: i32) -> u8 {
    status.to_le_bytes()[0]
}
