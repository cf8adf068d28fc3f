//! Help pages in the layout of runc: NAME, USAGE, DESCRIPTION, OPTIONS.

use clap::{Arg, ArgAction, Command};

use super::args;
use super::command::{ENTRIES, Entry};
use super::global::Global;

/// The page of a command, or of the program.
pub(super) fn page(program: &str, entry: Option<&Entry>) -> String {
    match entry {
        Some(entry) => of_command(program, entry),
        None => of_program(program),
    }
}

fn of_command(program: &str, entry: &Entry) -> String {
    let name = entry.name;
    let options = options(&entry.definitions());
    let mut page = format!("NAME:\n   {program} {name} - {}\n", entry.about);
    let hint = match options.is_empty() {
        true => "",
        false => " [command options]",
    };
    let usage = format!("{program} {name}{hint} {}", entry.operands);
    page += &format!("\nUSAGE:\n   {}\n", usage.trim_end());
    if !entry.details.is_empty() {
        page += &format!("\nDESCRIPTION:\n{}\n", indented(entry.details));
    }
    if !options.is_empty() {
        page += &format!("\nOPTIONS:\n{}", columns(&options));
    }
    page
}

fn of_program(program: &str) -> String {
    let commands: Vec<_> = ENTRIES
        .iter()
        .map(|entry| (entry.name.to_owned(), entry.about.to_owned()))
        .chain([(
            "help, h".to_owned(),
            "show this page or that of a command".to_owned(),
        )])
        .collect();
    let mut options = options(&Global::definitions());
    options.push(("--help, -h".into(), "show this page".into()));
    format!(
        "NAME:
   {program} - Open Container Initiative runtime

   {program} runs Linux containers and WebAssembly containers from OCI bundles:
   directories with a config.json and a root file system. Docker, podman and
   containerd call it; by hand it is

       {program} run [ -b bundle ] <container-id>

USAGE:
   {program} [global options] command [command options] [arguments...]

VERSION:
   {}

COMMANDS:
{}
GLOBAL OPTIONS:
{}",
        env!("CARGO_PKG_VERSION"),
        columns(&commands),
        columns(&options)
    )
}

/// How each option is written, and its help.
fn options(definitions: &Command) -> Vec<(String, String)> {
    definitions
        .get_arguments()
        .filter(|argument| !argument.is_hide_set())
        .filter_map(|argument| Some((written(argument)?, help(argument))))
        .collect()
}

fn written(argument: &Arg) -> Option<String> {
    let value = match argument.get_action() {
        ArgAction::SetTrue => "",
        _ if args::takes_no_value(argument) => "",
        _ => " value",
    };
    let long = argument.get_long()?;
    Some(match argument.get_short() {
        Some(letter) => format!("--{long}{value}, -{letter}{value}"),
        None => format!("--{long}{value}"),
    })
}

fn help(argument: &Arg) -> String {
    let text = argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    match argument.get_default_values() {
        [default] if matches!(argument.get_action(), ArgAction::SetTrue) || default == "0" => text,
        [default] => format!("{text} (default: {:?})", default.display()),
        _ => text,
    }
}

fn columns(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    rows.iter()
        .map(|(left, right)| format!("   {left:width$}  {right}\n"))
        .collect()
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("   {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
