//! The built `tandem` with real containers: one module a subcommand, and some for what no subcommand owns.
//!
//! One program, because each test program is linked anew at every change. All of it needs root and is therefore
//! ignored by a plain `cargo test`; `make test` runs it. Nothing of the machine is touched: see `support::world`.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it has to be"
)]

mod support;

mod bad_input;
mod create;
mod delete;
mod exec;
mod hooks;
mod kill;
mod list;
mod namespaces;
mod notify;
mod pause;
mod process;
mod ps;
mod rootfs;
mod run;
mod seccomp;
mod security;
mod start;
mod state;
mod terminal;
mod update;
mod wasm;
