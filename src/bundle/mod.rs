//! The bundle: config.json read once, checked once, and the workload classified once.
