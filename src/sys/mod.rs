//! The kernel, one safe function a call, for what nix lacks. The only module where `unsafe` is allowed.
#![allow(
    unsafe_code,
    reason = "raw system calls live here, each fenced by one safe function"
)]

pub mod bpf;
pub mod cgroupfs;
pub mod mount;
pub mod process;
pub mod seccomp;
