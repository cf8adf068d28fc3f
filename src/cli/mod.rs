//! The command line: parsing, help, output formats and exit codes, in the form of runc.
//!
//! `args` rewrites what was written, `global` and the files of `command` hold the definitions and turn them into the
//! requests of `lifecycle`, `report` prints what went wrong. Nothing here knows how a container is made.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::mem;
use std::path::Path;
use std::process::ExitCode;

use crate::launch::seal;
use crate::lifecycle::Runtime;
use crate::report::Reporter;

use args::{Help, Order};
use command::Entry;
use global::Global;
use usage::UsageError;

mod args;
mod command;
mod global;
mod help;
mod table;
mod usage;
mod version;

/// Runs the command that the arguments name, and reports its error if it has one.
pub fn main() -> ExitCode {
    seal_early();
    let mut arguments = std::env::args_os();
    let program = program_name(arguments.next());
    let (reporter, outcome) = run(&program, arguments);
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(Failure { status, error }) => {
            reporter.error(error.as_ref());
            ExitCode::from(status)
        }
    }
}

/// Executes the sealed clone of this program before the arguments are parsed, so that they are parsed once.
///
/// Any argument that is the name of a command which enters a container counts: a container of that name costs one more
/// execve. Those commands make sure of the seal themselves, and report it when it fails.
fn seal_early() {
    const ENTER: [&str; 3] = ["create", "run", "exec"];
    let enters = std::env::args_os().any(|argument| ENTER.iter().any(|name| argument == *name));
    if enters && let Err(error) = seal::seal() {
        tracing::debug!("{}", crate::report::one_line(&error));
    }
}

/// A command that failed: the exit status says by which step, the error why.
#[derive(Debug)]
struct Failure {
    status: u8,
    error: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            status: 1,
            error: error.into(),
        }
    }
}

type Outcome = Result<u8, Failure>;

/// The name that this program was called by: tools that call a runtime `runc` want to read that name back.
fn program_name(argument: Option<OsString>) -> String {
    argument
        .as_deref()
        .and_then(|path| Path::new(path).file_name())
        .map_or_else(
            || env!("CARGO_PKG_NAME").to_owned(),
            |name| name.to_string_lossy().into_owned(),
        )
}

/// Reads the global options, opens the log and does what the rest asks for; from there on errors go to the log, too.
fn run(program: &str, arguments: impl Iterator<Item = OsString>) -> (Reporter, Outcome) {
    let on_stderr = |failure: Failure| (Reporter::new(program), Err(failure));
    let line = match Line::parse(arguments) {
        Ok(line) => line,
        Err(error) => return on_stderr(error.with_way_out(program, None).into()),
    };
    match line.global.reporter(program) {
        Ok(reporter) => (reporter, line.follow(program)),
        Err(error) => on_stderr(error.into()),
    }
}

/// The global options, the command and its arguments.
struct Line {
    global: Global,
    help: bool,
    command: Option<OsString>,
    arguments: Vec<OsString>,
}

impl Line {
    fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, UsageError> {
        let definitions = Global::definitions();
        let mut plain = args::plain(&definitions, arguments, Order::OptionsFirst)?;
        let mut operands = mem::take(&mut plain.operands).into_iter();
        Ok(Self {
            help: plain.help.is_some(),
            global: Global::from_options(definitions, plain)?,
            command: operands.next(),
            arguments: operands.collect(),
        })
    }

    fn follow(self, program: &str) -> Outcome {
        let find = |name: &OsStr| {
            Entry::find(name).ok_or_else(|| {
                UsageError::UnknownCommand(name.to_owned()).with_way_out(program, None)
            })
        };
        let show = |entry| print(help::page(program, entry).as_bytes());
        if self.global.version {
            return print(version::text(program).as_bytes());
        }
        // Without a command runc shows its help and succeeds.
        let Some(name) = self.command.filter(|_| !self.help) else {
            return show(None);
        };
        if matches!(name.as_encoded_bytes(), b"help" | b"h") {
            let topic = self.arguments.first().map(|topic| find(topic));
            return show(topic.transpose()?);
        }
        let entry = find(&name)?;
        dispatch(
            program,
            &self.global.runtime(program)?,
            entry,
            self.arguments,
        )
    }
}

fn dispatch(
    program: &str,
    runtime: &Runtime,
    entry: &'static Entry,
    arguments: Vec<OsString>,
) -> Outcome {
    let misuse = |error: UsageError| error.with_way_out(program, Some(entry.name));
    let definitions = entry.definitions();
    let plain = args::plain(&definitions, arguments, entry.order).map_err(misuse)?;
    if let Some(form) = plain.help {
        print(help::page(program, Some(entry)).as_bytes())?;
        return Ok(match form {
            Help::Letter => 0,
            Help::Word => entry.long_help_status,
        });
    }
    entry.check_operands(&plain.operands).map_err(misuse)?;
    let values = definitions
        .try_get_matches_from(plain.into_arguments())
        .map_err(|error| misuse(UsageError::from_clap(&error)))?;
    tracing::debug!(root = %runtime.root.display(), version = env!("CARGO_PKG_VERSION"), "{}", entry.name);
    (entry.run)(runtime, values)
}

/// Standard output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
struct OutputError(#[source] io::Error);

/// Writes all of a command's output at once.
fn print(text: &[u8]) -> Outcome {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text)
        .and_then(|()| stdout.flush())
        .map_err(OutputError)?;
    Ok(0)
}

#[cfg(test)]
mod tests;
