//! Processes: clone3(2), pidfds, prctl(2), execveat(2).
