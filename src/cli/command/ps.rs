//! `ps`

use std::io;
use std::process::{Command, ExitStatus};

use clap::Args;

use super::Subcommand;
use crate::cli::args::Order;
use crate::cli::{self, Outcome};
use crate::lifecycle::{self, ContainerId, Runtime};

#[derive(Debug, Args)]
pub(super) struct Ps {
    /// select one of: table or json
    #[arg(long, short, default_value = "table", value_parser = ["table", "json"])]
    format: String,
    id: String,
    ps_options: Vec<String>,
}

/// Why the host's `ps` could not tell about the processes.
#[derive(Debug, thiserror::Error)]
enum PsError {
    #[error("cannot run \"ps\" (install it, or use --format json)")]
    Run(#[source] io::Error),
    #[error("\"ps\" ended with {status}: {}", output.trim_end())]
    Failed { status: ExitStatus, output: String },
    #[error("couldn't find PID field in ps output (choose ps options that print it)")]
    NoPidColumn,
    #[error("unable to parse pid in line {0:?} of ps output")]
    BadPid(String),
}

impl Subcommand for Ps {
    const NAME: &'static str = "ps";
    const ABOUT: &'static str = "show the processes of a container";
    const OPERANDS: &'static str = "<container-id> [ps options]";
    const COUNT: (usize, usize) = (1, usize::MAX);
    const ORDER: Order = Order::OptionsFirst;
    const DETAILS: &'static str = "\
Runs the host's ps with its options (default: -ef) and shows the lines of the
container's processes. With --format json, the process ids alone.";

    fn run(self, runtime: &Runtime) -> Outcome {
        let pids = lifecycle::pids(runtime, &ContainerId::parse(&self.id)?)?;
        let text = match self.format.as_str() {
            "json" => json(&pids)?,
            _ => only(&host_ps(&self.ps_options)?, &pids)?,
        };
        cli::print(text.as_bytes())
    }
}

/// One line; no process at all is `null`, as Go writes an empty list.
fn json(pids: &[i32]) -> serde_json::Result<String> {
    let text = match pids {
        [] => "null".into(),
        some => serde_json::to_string(some)?,
    };
    Ok(text + "\n")
}

fn host_ps(options: &[String]) -> Result<String, PsError> {
    let mut ps = Command::new("ps");
    match options {
        [] => ps.arg("-ef"),
        given => ps.args(given),
    };
    let result = ps.output().map_err(PsError::Run)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match result.status.success() {
        true => Ok(text(&result.stdout)),
        false => Err(PsError::Failed {
            status: result.status,
            output: text(&result.stdout) + &text(&result.stderr),
        }),
    }
}

/// The title line, and of the other lines those that have one of `pids` below the title's PID.
fn only(output: &str, pids: &[i32]) -> Result<String, PsError> {
    let mut lines = output.lines();
    let title = lines.next().unwrap_or_default();
    let column = title
        .split_whitespace()
        .position(|name| name == "PID")
        .ok_or(PsError::NoPidColumn)?;
    let mut kept = format!("{title}\n");
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let pid: i32 = line
            .split_whitespace()
            .nth(column)
            .and_then(|field| field.parse().ok())
            .ok_or_else(|| PsError::BadPid(line.to_owned()))?;
        if pids.contains(&pid) {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "UID          PID    PPID CMD\nroot           1       0 init\nroot          42       1 sh 1\n";

    #[test]
    fn only_lines_of_the_containers_processes_are_kept() {
        let kept = only(OUTPUT, &[42, 43]).unwrap();
        assert_eq!(
            kept,
            "UID          PID    PPID CMD\nroot          42       1 sh 1\n"
        );
        assert_eq!(only(OUTPUT, &[]).unwrap(), "UID          PID    PPID CMD\n");
    }

    #[test]
    fn output_without_a_pid_column_is_refused() {
        assert!(matches!(only("CMD\nsh\n", &[1]), Err(PsError::NoPidColumn)));
        assert!(matches!(only("", &[1]), Err(PsError::NoPidColumn)));
        assert!(matches!(only("PID\nx\n", &[1]), Err(PsError::BadPid(_))));
    }

    #[test]
    fn json_is_a_list_of_numbers() {
        assert_eq!(json(&[1, 20]).unwrap(), "[1,20]\n");
        assert_eq!(json(&[]).unwrap(), "null\n");
    }
}
