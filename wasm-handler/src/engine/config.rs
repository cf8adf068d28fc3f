//! The one place that makes Wasmtime's settings: code compiled with others is refused when it is loaded.

use wasmtime::{Config, Engine, ModuleVersionStrategy};

/// The version of Wasmtime in Cargo.lock; a test holds it to that.
///
/// Wasmtime itself takes code of any release with its major version. Patch releases fix miscompilations, so
/// code of another one is not ours.
pub const VERSION: &str = "48.0.8";

/// An engine that can only compile (`compiler`), only run (`wasmtime`), or in tests both.
///
/// Wasm features are Wasmtime's defaults for its version, all of Wasm 3.0 but threads, garbage collection and what
/// needs it (exceptions), which are left out at build time.
pub fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.module_version(ModuleVersionStrategy::Custom(VERSION.into()))?;
    // Tables for a native debugger, which would be registered with the unwinder on each start. Backtraces of
    // the guest come from frame pointers.
    config.native_unwind_info(false);
    Engine::new(&config)
}

#[cfg(test)]
mod tests {
    use super::VERSION;

    #[test]
    fn the_version_is_the_one_in_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        let mut packages = lock.split("[[package]]");
        let package = packages
            .find(|p| p.contains("name = \"wasmtime\"\n"))
            .unwrap();
        assert!(
            package.contains(&format!("version = \"{VERSION}\"\n")),
            "{package}"
        );
    }
}
