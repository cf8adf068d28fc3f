//! Seccomp: from the profile in config.json to a classic BPF program that is installed in the container's process.
