//! The container's cgroup: made and limited before its first process, frozen, killed and removed.
