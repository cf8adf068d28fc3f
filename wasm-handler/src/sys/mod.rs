//! The kernel, and the calls of Wasmtime that need an argument for their safety. The only folder with `unsafe`.
#![allow(
    unsafe_code,
    reason = "raw calls live here, each fenced by one safe function"
)]

pub mod filter;

#[cfg(feature = "wasmtime")]
pub mod code;
#[cfg(feature = "compiler")]
pub mod confine;
#[cfg(feature = "wasmtime")]
pub mod descriptors;
#[cfg(feature = "wasmtime")]
pub mod signals;
