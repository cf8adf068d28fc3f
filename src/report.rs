//! The one place where errors and log lines leave the program.
//!
//! Callers read them: containerd and podman take the error text from the JSON log, Docker chooses its exit status by that
//! text, conmon and people read standard error. So the forms are those of runc: log lines as its logging library
//! writes them, one line each, appended by one write.

use std::error::Error;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

pub use chain::one_line;
use line::Line;

mod chain;
mod events;
mod line;

/// Now, as RFC 3339 in UTC with nanoseconds: when a container was created.
#[must_use]
pub fn timestamp_nanos() -> String {
    let now = SystemTime::now();
    let nanos = now
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    let seconds = line::timestamp(now);
    format!("{}.{nanos:09}Z", seconds.trim_end_matches('Z'))
}

/// How important a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

impl Level {
    /// The name in log lines.
    fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// The form of log lines (`--log-format`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Json,
}

impl Format {
    /// Reads the value of `--log-format`.
    #[must_use]
    pub fn parse(text: &OsStr) -> Option<Self> {
        match text.as_encoded_bytes() {
            b"text" => Some(Self::Text),
            b"json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// The log file cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error("cannot open log file {path:?}")]
pub struct LogError {
    path: PathBuf,
    source: io::Error,
}

/// The number of the log's descriptor, while there is a log: a process that closes descriptors by number has to spare it.
static LOG: OnceLock<RawFd> = OnceLock::new();

/// The descriptor of the log file, if there is one.
#[must_use]
pub fn log_descriptor() -> Option<RawFd> {
    LOG.get().copied()
}

/// Where errors go; the events of `tracing` go the same way.
#[derive(Debug)]
pub struct Reporter {
    sink: Arc<Sink>,
}

#[derive(Debug)]
struct Sink {
    /// What this program was called as; people on a terminal see it before each line.
    program: String,
    /// Opened at once: later the process may be in other namespaces, where the path means another file.
    log: Option<File>,
    format: Format,
}

impl Reporter {
    /// Reports to standard error, for what goes wrong before the options are known.
    #[must_use]
    pub fn new(program: &str) -> Self {
        let sink = Sink {
            program: program.to_owned(),
            log: None,
            format: Format::Text,
        };
        Self {
            sink: Arc::new(sink),
        }
    }

    /// Reports to `log`, if there is one, and to standard error; events of at least `level` are logged from here on.
    ///
    /// # Errors
    /// The log file is opened for appending (other commands write to it at the same time), or made with mode 0644.
    pub fn open(
        program: &str,
        log: Option<&Path>,
        format: Format,
        level: Level,
    ) -> Result<Self, LogError> {
        let open = |path: &Path| {
            let mut options = OpenOptions::new();
            let options = options.append(true).create(true).mode(0o644);
            options.open(path).map_err(|source| LogError {
                path: path.to_owned(),
                source,
            })
        };
        let log = log.map(open).transpose()?;
        if let Some(file) = &log {
            // Set before only by another reporter (in a test of this library), which is then the one to spare.
            LOG.get_or_init(|| file.as_raw_fd());
        }
        let sink = Arc::new(Sink {
            program: program.to_owned(),
            log,
            format,
        });
        events::install(Arc::clone(&sink), level);
        Ok(Self { sink })
    }

    /// Prints the error of a command that failed, once.
    pub fn error(&self, error: &(dyn Error + 'static)) {
        let message = one_line(error);
        self.sink.log(&Line::new(Level::Error, &message));
        if self.sink.log.is_some() {
            // With a log file, standard error gets the bare text as well.
            to_stderr(&line::plain(&message));
        }
    }
}

impl Sink {
    /// Writes a line to the log, or to standard error where there is none.
    fn log(&self, line: &Line) {
        let now = SystemTime::now();
        let text = match self.format {
            Format::Json => line::json(line, now),
            Format::Text if self.log.is_none() && io::stderr().is_terminal() => {
                format!("{}: {}", self.program, line::plain(&line.message))
            }
            Format::Text => line::text(line, now),
        };
        match &self.log {
            Some(file) => write_line(&mut &*file, &text),
            None => to_stderr(&text),
        }
    }
}

fn to_stderr(text: &str) {
    write_line(&mut io::stderr(), text);
}

/// One write for the whole line: with O_APPEND the lines of several processes do not mix.
fn write_line(out: &mut impl Write, text: &str) {
    // There is no further place to report that the place for reports is full or closed.
    drop(out.write_all(format!("{text}\n").as_bytes()));
}
