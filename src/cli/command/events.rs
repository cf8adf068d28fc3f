//! `events`

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;

use super::Subcommand;
use super::duration;
use crate::cgroup::Stats;
use crate::cli::{self, Outcome, OutputError};
use crate::lifecycle::{self, ContainerId, Event, Runtime};

#[derive(Debug, Args)]
pub(super) struct Events {
    /// time between two statistics, such as 1m30s or 100ms
    #[arg(long, default_value = "5s")]
    interval: String,
    /// show the statistics once and end
    #[arg(long)]
    stats: bool,
    id: String,
}

/// The time between two statistics cannot be used.
#[derive(Debug, thiserror::Error)]
enum BadInterval {
    #[error("invalid value for interval")]
    Form(#[from] duration::BadDuration),
    #[error("duration interval must be greater than 0")]
    Zero,
}

/// A line of output, in the key order of runc.
#[derive(Debug, Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Stats>,
}

fn line(id: &ContainerId, event: &Event) -> serde_json::Result<String> {
    let (kind, data) = match event {
        Event::Stats(stats) => ("stats", Some(&**stats)),
        Event::Oom => ("oom", None),
    };
    let line = Line {
        kind,
        id: id.as_str(),
        data,
    };
    Ok(serde_json::to_string(&line)? + "\n")
}

fn show(id: &ContainerId, event: &Event) -> anyhow::Result<()> {
    let text = line(id, event)?;
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(OutputError)?;
    Ok(())
}

impl Subcommand for Events {
    const NAME: &'static str = "events";
    const ABOUT: &'static str = "show what a container uses, and when its memory runs out";
    const OPERANDS: &'static str = "<container-id>";
    const COUNT: (usize, usize) = (1, 1);
    const DETAILS: &'static str = "\
Prints a line of JSON with the container's statistics every five seconds, and one
each time that it runs out of memory, until the container has ended.";

    fn run(self, runtime: &Runtime) -> Outcome {
        let id = ContainerId::parse(&self.id)?;
        let interval = duration::parse(&self.interval).map_err(BadInterval::Form)?;
        if interval.is_zero() {
            return Err(BadInterval::Zero.into());
        }
        if self.stats {
            let event = lifecycle::stats(runtime, &id)?;
            return cli::print(line(&id, &event)?.as_bytes());
        }
        let mut shown = Ok(());
        lifecycle::follow(runtime, &id, interval, |event| {
            shown = show(&id, event);
            shown.is_ok()
        })?;
        shown?;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_form_of_runc() {
        let id = ContainerId::parse("web").unwrap();
        let oom = line(&id, &Event::Oom).unwrap();
        assert_eq!(oom, "{\"type\":\"oom\",\"id\":\"web\"}\n");
        let stats = line(&id, &Event::Stats(Box::default())).unwrap();
        let begin = r#"{"type":"stats","id":"web","data":{"cpu":{"usage":{"#;
        assert!(stats.starts_with(begin), "{stats}");
    }
}
