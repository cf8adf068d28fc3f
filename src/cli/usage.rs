//! What can be wrong with a command line.

use std::ffi::OsString;

/// A command line that cannot be understood. The texts begin as those of runc do, since callers look for them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum UsageError {
    #[error("flag provided but not defined: -{}", .0.display())]
    UnknownFlag(OsString),
    #[error("flag needs an argument: -{}", .0.display())]
    MissingValue(OsString),
    #[error("bad flag syntax: {}", .0.display())]
    BadFlag(OsString),
    #[error("invalid boolean value {:?} for -{}", .value.display(), .flag.display())]
    BadSwitch { flag: OsString, value: OsString },
    #[error("invalid value {value:?} for flag -{flag}: {reason}")]
    BadValue {
        flag: String,
        value: String,
        reason: String,
    },
    #[error("an argument is not valid UTF-8")]
    NotUtf8,
    #[error("{command:?} {expected}")]
    Operands {
        command: &'static str,
        expected: Expected,
    },
    #[error("No help topic for '{}', there is no such command", .0.display())]
    UnknownCommand(OsString),
    #[error("invalid log-format: {} (use \"text\" or \"json\")", .0.display())]
    LogFormat(OsString),
}

/// A [`UsageError`] and the way out.
#[derive(Debug, thiserror::Error)]
#[error("{error} (see {help:?})")]
pub(super) struct Misuse {
    error: UsageError,
    help: String,
}

/// How many operands a command takes, in runc's words.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    #[error("requires exactly {0} argument(s)")]
    Exactly(usize),
    #[error("requires a minimum of {0} argument(s)")]
    AtLeast(usize),
    #[error("requires a maximum of {0} argument(s)")]
    AtMost(usize),
}

impl UsageError {
    /// Adds where to look up what would have been right.
    pub(super) fn with_way_out(self, program: &str, command: Option<&str>) -> Misuse {
        let help = match (&self, command) {
            (Self::UnknownCommand(_), _) | (_, None) => format!("{program} --help"),
            (_, Some(command)) => format!("{program} {command} --help"),
        };
        Misuse { error: self, help }
    }

    /// What clap finds in a line that `args::plain` has rewritten: a value of the wrong type.
    pub(super) fn from_clap(error: &clap::Error) -> Self {
        use clap::error::{ContextKind, ContextValue, ErrorKind};
        if error.kind() == ErrorKind::InvalidUtf8 {
            return Self::NotUtf8;
        }
        let text = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => text.clone(),
            _ => String::new(),
        };
        let flag = text(ContextKind::InvalidArg);
        let name = flag
            .trim_start_matches('-')
            .split([' ', '='])
            .next()
            .unwrap_or_default();
        let reason = match (
            std::error::Error::source(error),
            error.get(ContextKind::ValidValue),
        ) {
            (Some(source), _) => source.to_string(),
            (None, Some(ContextValue::Strings(valid))) => {
                format!("use one of {}", valid.join(", "))
            }
            (None, _) => error.kind().to_string(),
        };
        Self::BadValue {
            flag: name.to_owned(),
            value: text(ContextKind::InvalidValue),
            reason,
        }
    }
}
