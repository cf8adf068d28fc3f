//! Core modules with WASI preview 1: a function `_start`, and imports from `wasi_snapshot_preview1`.

use wasmtime::{Linker, Module, Store};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p1::{self, WasiP1Ctx};

use super::ending::Ending;
use super::limit::MemoryLimit;
use super::{RunError, wasi};
use crate::handoff::Handoff;

const PREVIEW1: &str = "wasi_snapshot_preview1";

struct State {
    wasi: WasiP1Ctx,
    limit: MemoryLimit,
}

pub(super) async fn run(module: &Module, handoff: &Handoff) -> Result<Ending, RunError> {
    let engine = module.engine();
    let state = State {
        wasi: wasi::context(handoff)?.build_p1(),
        limit: MemoryLimit::new(handoff.memory_limit),
    };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limit);
    let linker = linker(module).map_err(|error| RunError::Link {
        reason: format!("{error:#}"),
    })?;
    require_imports(module, &linker, &mut store)?;
    if module.get_export("_start").is_none() {
        return Err(RunError::NoStart);
    }
    let instance = match linker.instantiate_async(&mut store, module).await {
        Ok(instance) => instance,
        Err(error) => return Ending::of(&error),
    };
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start");
    let start = start.map_err(|error| RunError::StartType {
        reason: format!("{error:#}"),
    })?;
    match start.call_async(&mut store, ()).await {
        Ok(()) => Ok(Ending::Exit(0)),
        Err(error) => Ending::of(&error),
    }
}

fn linker(module: &Module) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(module.engine());
    p1::add_to_linker_async(&mut linker, |state: &mut State| &mut state.wasi)?;
    // The library makes a trap of every status from 126 up; as a container's, 0 to 255 are all good.
    linker.allow_shadowing(true);
    linker.func_wrap(
        PREVIEW1,
        "proc_exit",
        |status: i32| -> wasmtime::Result<()> { Err(I32Exit(status).into()) },
    )?;
    Ok(linker)
}

/// Names the first import that is missing, before the engine's longer words for it.
fn require_imports(
    module: &Module,
    linker: &Linker<State>,
    store: &mut Store<State>,
) -> Result<(), RunError> {
    let missing = module
        .imports()
        .find(|import| linker.get_by_import(&mut *store, import).is_none());
    match missing {
        None => Ok(()),
        Some(import) => Err(RunError::Import {
            module: import.module().into(),
            name: import.name().into(),
        }),
    }
}
