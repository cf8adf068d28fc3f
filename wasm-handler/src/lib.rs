//! The Wasm side of Tandem: what every engine shares, and one folder for each engine.
//!
//! Without a cargo feature this library holds no engine. `tandem` depends on it so, for the part that it
//! decides itself: whether a container is a Wasm container ([`choice`], [`sniff`]), what the handler is
//! told ([`handoff`]) and where compiled code is kept ([`cache`]). `docs/wasm.md` and `docs/handoff.md`
//! describe both sides.

pub mod cache;
pub mod choice;
pub mod handoff;
pub mod sniff;

#[cfg(any(feature = "wasmtime", feature = "compiler"))]
pub mod engine;
#[cfg(any(feature = "wasmtime", feature = "compiler"))]
pub mod sys;
