//! The events of `tracing` as log lines.

use std::fmt::{Debug, Write};
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use super::line::Line;
use super::{Level, Sink};

/// Logs events of at least `level` for the rest of the process.
pub(super) fn install(sink: Arc<Sink>, level: Level) {
    // It can be refused only if it was done before (in a test of this library); that one stays.
    drop(tracing::subscriber::set_global_default(Log { sink, level }));
}

struct Log {
    sink: Arc<Sink>,
    level: Level,
}

impl Log {
    /// The level to log an event as, if at all.
    ///
    /// Libraries log an error and return it, too. The caller reports what it gets, and a second line for the same failure
    /// would break callers who read the log as one JSON object: the events of libraries are for debugging only.
    fn level_of(&self, event: &Metadata<'_>) -> Option<Level> {
        let level = match event.target().split("::").next() {
            Some(env!("CARGO_CRATE_NAME") | "wasm_handler") => match *event.level() {
                tracing::Level::ERROR => Level::Error,
                tracing::Level::WARN => Level::Warning,
                tracing::Level::INFO => Level::Info,
                tracing::Level::DEBUG | tracing::Level::TRACE => Level::Debug,
            },
            _ => Level::Debug,
        };
        (event.is_event() && level >= self.level && *event.level() != tracing::Level::TRACE)
            .then_some(level)
    }
}

impl Subscriber for Log {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.enabled(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.level_of(metadata).is_some()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.level {
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warning => LevelFilter::WARN,
            Level::Error => LevelFilter::ERROR,
        })
    }

    fn event(&self, event: &Event<'_>) {
        if let Some(level) = self.level_of(event.metadata()) {
            let mut line = Line::new(level, "");
            event.record(&mut Fields(&mut line));
            self.sink.log(&line);
        }
    }

    // Spans are not logged, so they need no identity of their own.
    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

struct Fields<'a>(&'a mut Line);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.0.message.push_str(value),
            name => self.0.fields.push((name, value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to a string fails only if the value's own `fmt` does; what it wrote so far is logged.
        let _unfinished = write!(text, "{value:?}");
        self.record_str(field, &text);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_str(field, &super::one_line(value));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::*;
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::OwnedFd;

    /// What is logged at `level` while `work` runs.
    fn logged(level: Level, work: impl FnOnce()) -> String {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let sink = Sink {
            program: "tandem".into(),
            log: Some(File::from(OwnedFd::from(writer))),
            format: Format::Json,
        };
        let log = Log {
            sink: Arc::new(sink),
            level,
        };
        tracing::subscriber::with_default(log, work);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn an_error_that_a_library_logs_is_for_debugging_only() {
        let library = || tracing::error!(target: "libcontainer::rootfs", "cannot mount");
        assert_eq!(logged(Level::Info, library), "");
        let library = || tracing::error!(target: "libcontainer::rootfs", "cannot mount");
        assert!(logged(Level::Debug, library).contains(r#""level":"debug","msg":"cannot mount""#));
    }

    #[test]
    fn our_warnings_are_logged_and_debug_lines_only_when_asked_for() {
        let ours = || {
            tracing::warn!(target: "tandem::state", "odd");
            tracing::debug!(target: "tandem::state", "detail");
        };
        let text = logged(Level::Info, ours);
        assert!(text.contains(r#""level":"warning","msg":"odd""#), "{text}");
        assert!(!text.contains("detail"), "{text}");
        let ours = || tracing::debug!(target: "tandem::state", pid = 7, "detail");
        let text = logged(Level::Debug, ours);
        assert!(
            text.contains(r#""level":"debug","msg":"detail","pid":"7""#),
            "{text}"
        );
    }
}
