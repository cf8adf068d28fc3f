//! What Tandem remembers of a container between two commands.
//!
//! A container is a directory below the state root, named like it:
//!
//! | name | what |
//! |---|---|
//! | `state.json` | [`Record`]; there from the moment the container is created, replaced by rename |
//! | `cgroup.json` | the cgroup, until there is a record and after |
//! | `config.json` | the config that the container was made from, byte for byte |
//! | `exec.fifo` | a FIFO on which the container's process waits; there until `start` |

mod process;
mod record;
mod store;

pub use process::{InitProcess, Liveness};
pub use record::Record;
pub use store::{Entry, Reservation, StateError, Store};
