//! bpf(2): loading and attaching the device program of a cgroup.
