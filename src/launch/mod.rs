//! From a checked bundle to a process in its namespaces, one step from `execve`.

pub mod rootfs;
