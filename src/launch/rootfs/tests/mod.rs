//! The whole of it, as root: each test sets up a root file system in namespaces of its own and looks at the result.

mod cgroups;
mod container;
mod hostile;
mod options;
mod userns;
mod usual;
