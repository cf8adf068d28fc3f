//! What a test needs to make a container and to see that nothing of it stays.

mod bundle;
mod leftovers;
mod listener;
mod outcome;
mod probe;
mod signal;
mod terminal;
mod wait;
mod world;

pub use bundle::{TestBundle, install, set_mode};
pub use listener::Listener;
pub use outcome::Outcome;
pub use probe::add_probe;
pub use signal::Bell;
pub use terminal::read_terminal;
pub use wait::{exit_code, until};
pub use world::Hierarchy;

/// The program under test.
pub const TANDEM: &str = env!("CARGO_BIN_EXE_tandem");
