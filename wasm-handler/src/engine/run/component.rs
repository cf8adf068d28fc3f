//! Components with WASI 0.2 that export `wasi:cli/run`.

use wasmtime::Store;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, p2};

use super::ending::Ending;
use super::limit::MemoryLimit;
use super::{RunError, wasi};
use crate::handoff::Handoff;

struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    limit: MemoryLimit,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

pub(super) async fn run(component: &Component, handoff: &Handoff) -> Result<Ending, RunError> {
    let engine = component.engine();
    let state = State {
        wasi: wasi::context(handoff)?.build(),
        table: ResourceTable::new(),
        limit: MemoryLimit::new(handoff.memory_limit),
    };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limit);
    let failed = |error: wasmtime::Error| RunError::Link {
        reason: format!("{error:#}"),
    };
    let mut linker = Linker::new(engine);
    p2::add_to_linker_async(&mut linker).map_err(failed)?;
    let linked = linker.instantiate_pre(component).map_err(failed)?;
    let command = CommandPre::new(linked).map_err(no_run)?;
    let command = match command.instantiate_async(&mut store).await {
        Ok(command) => command,
        Err(error) => return Ending::of(&error),
    };
    match command.wasi_cli_run().call_run(&mut store).await {
        Ok(Ok(())) => Ok(Ending::Exit(0)),
        Ok(Err(())) => Ok(Ending::Exit(1)),
        Err(error) => Ending::of(&error),
    }
}

fn no_run(error: wasmtime::Error) -> RunError {
    RunError::NoRun {
        reason: format!("{error:#}"),
    }
}
