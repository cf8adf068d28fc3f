//! Commands of runc that are known and refused, whatever their options are.

use std::ffi::OsString;

use clap::{Arg, ArgMatches, value_parser};

use super::{Entry, Outcome};
use crate::cli::args::Order;
use crate::lifecycle::Runtime;

/// A command that this version does not have.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not supported yet")]
struct NotSupported(&'static str);

pub(super) const CHECKPOINT: Entry = Entry {
    // podman takes status 0 of `checkpoint --help` for "can checkpoint" and lets users try; `-h` is for people.
    long_help_status: 1,
    ..refused("checkpoint", |_, _| Err(NotSupported("checkpoint").into()))
};

pub(super) const RESTORE: Entry = refused("restore", |_, _| Err(NotSupported("restore").into()));

const fn refused(name: &'static str, run: fn(&Runtime, ArgMatches) -> Outcome) -> Entry {
    Entry {
        name,
        about: "(not supported yet)",
        operands: "<container-id>",
        details: "This version refuses the command with an error.",
        order: Order::Nowhere,
        long_help_status: 0,
        count: (0, usize::MAX),
        define: |definitions| {
            definitions.arg(
                Arg::new("operands")
                    .num_args(0..)
                    .value_parser(value_parser!(OsString)),
            )
        },
        run,
    }
}
