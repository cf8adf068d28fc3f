//! Tandem, an OCI runtime that runs Linux and WebAssembly containers side by side.
//!
//! The modules depend on each other in one direction: `cli` → `lifecycle` → `launch`, `state`, `cgroup`,
//! `seccomp`, `bundle` → `sys`. `docs/architecture.md` tells why the parts are cut this way.

pub mod bundle;
pub mod cgroup;
pub mod cli;
pub mod launch;
pub mod lifecycle;
pub mod report;
pub mod seccomp;
pub mod state;
pub mod sys;
