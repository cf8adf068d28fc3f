//! The commands, one file each: their options, their help and the request that they make of `lifecycle`.
//!
//! Only the command that was named is defined for clap; defining all of them would be paid at every call.

use std::ffi::{OsStr, OsString};

use clap::{ArgMatches, Args, Command};

use super::Outcome;
use super::args::Order;
use super::usage::{Expected, UsageError};
use crate::lifecycle::Runtime;

mod create;
mod delete;
mod duration;
mod events;
mod exec;
mod features;
mod freeze;
mod kill;
mod list;
mod ps;
mod run;
mod signal;
mod size;
mod spec;
mod start;
mod state;
mod unsupported;
mod update;

/// A command; its fields are its options and operands.
trait Subcommand: Args {
    const NAME: &'static str;
    const ABOUT: &'static str;
    /// The operands, as help shows them.
    const OPERANDS: &'static str;
    /// How many operands there must be, at least and at most.
    const COUNT: (usize, usize);
    const ORDER: Order = Order::Mixed;
    /// What help says below the usage.
    const DETAILS: &'static str;

    /// Does it; the number is the exit status.
    fn run(self, runtime: &Runtime) -> Outcome;
}

/// A [`Subcommand`] as data.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) operands: &'static str,
    pub(super) details: &'static str,
    pub(super) order: Order,
    /// The exit status of `NAME --help`, which engines use as a probe.
    pub(super) long_help_status: u8,
    count: (usize, usize),
    define: fn(Command) -> Command,
    pub(super) run: fn(&Runtime, ArgMatches) -> Outcome,
}

/// In the order of help.
pub(super) static ENTRIES: [Entry; 17] = [
    unsupported::CHECKPOINT,
    Entry::of::<create::Create>(),
    Entry::of::<delete::Delete>(),
    Entry::of::<events::Events>(),
    Entry::of::<exec::Exec>(),
    Entry::of::<features::Features>(),
    Entry::of::<kill::Kill>(),
    Entry::of::<list::List>(),
    Entry::of::<freeze::Pause>(),
    Entry::of::<ps::Ps>(),
    unsupported::RESTORE,
    Entry::of::<freeze::Resume>(),
    Entry::of::<run::Run>(),
    Entry::of::<spec::Spec>(),
    Entry::of::<start::Start>(),
    Entry::of::<state::State>(),
    Entry::of::<update::Update>(),
];

impl Entry {
    const fn of<C: Subcommand>() -> Self {
        Self {
            name: C::NAME,
            about: C::ABOUT,
            operands: C::OPERANDS,
            details: C::DETAILS,
            order: C::ORDER,
            long_help_status: 0,
            count: C::COUNT,
            define: C::augment_args,
            run: |runtime, mut values| C::from_arg_matches_mut(&mut values)?.run(runtime),
        }
    }

    /// Whether the command does more than refuse.
    #[cfg(test)]
    pub(super) fn is_supported(&self) -> bool {
        self.order != Order::Nowhere
    }

    pub(super) fn find(name: &OsStr) -> Option<&'static Self> {
        ENTRIES.iter().find(|entry| entry.name == name)
    }

    /// The command's options for clap.
    pub(super) fn definitions(&self) -> Command {
        (self.define)(plain_definitions(self.name))
    }

    /// Checks the number of operands.
    pub(super) fn check_operands(&self, operands: &[OsString]) -> Result<(), UsageError> {
        let (least, most) = self.count;
        let count = operands.len();
        let expected = match () {
            () if (least..=most).contains(&count) => return Ok(()),
            () if least == most => Expected::Exactly(least),
            () if count < least => Expected::AtLeast(least),
            () => Expected::AtMost(most),
        };
        Err(UsageError::Operands {
            command: self.name,
            expected,
        })
    }
}

/// An empty definition that takes nothing but what is added to it; the last of an option given twice counts.
pub(super) fn plain_definitions(name: &'static str) -> Command {
    Command::new(name)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
}
