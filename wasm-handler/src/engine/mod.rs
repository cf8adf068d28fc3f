//! Wasmtime, in two halves that are never linked into one shipped program: [`compile`] makes native code on the host,
//! [`run`] runs it in the container. What both must agree on is [`config`]. Wasmtime's types stay below this folder and
//! `sys::code`.

pub mod config;

#[cfg(feature = "compiler")]
pub mod compile;
#[cfg(feature = "wasmtime")]
pub mod run;
