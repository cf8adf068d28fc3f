//! The command lines that engines really use are understood.

use std::ffi::OsString;

use super::*;

/// Every form of command line that was recorded from Docker 28.5 and 26.1, podman 5.8 and 5.4 with conmon, and
/// containerd 2.1 and 1.7 with ctr and CRI; paths and ids are shortened.
const RECORDED: &str = include_str!("fixtures/engine-command-lines.txt");

/// Parses a line as `main` does and stops where the command would be run.
fn understand(line: &str) -> Result<Option<&'static str>, String> {
    let words = line.split_whitespace().skip(1).map(OsString::from);
    let text = |error: UsageError| error.to_string();
    let line = Line::parse(words).map_err(text)?;
    let Some(name) = line.command else {
        return Ok(None);
    };
    let entry = Entry::find(&name).ok_or("no such command")?;
    let definitions = entry.definitions();
    let plain = args::plain(&definitions, line.arguments, entry.order).map_err(text)?;
    if plain.help.is_none() {
        entry.check_operands(&plain.operands).map_err(text)?;
        definitions
            .try_get_matches_from(plain.into_arguments())
            .map_err(|error| UsageError::from_clap(&error).to_string())?;
    }
    Ok(Some(entry.name))
}

#[test]
fn every_recorded_command_line_is_understood() {
    let mut commands = std::collections::BTreeSet::new();
    for line in RECORDED.lines().filter(|line| !line.starts_with('#')) {
        match understand(line) {
            Ok(name) => commands.insert(name.unwrap_or("--version")),
            Err(error) => panic!("{line}: {error}"),
        };
    }
    let expected = [
        "--version",
        "checkpoint",
        "create",
        "delete",
        "exec",
        "features",
        "kill",
        "pause",
        "ps",
        "restore",
        "resume",
        "start",
        "state",
        "update",
    ];
    assert!(commands.iter().copied().eq(expected), "{commands:?}");
}

#[test]
fn the_definitions_of_all_commands_are_consistent() {
    Global::definitions().debug_assert();
    for entry in &command::ENTRIES {
        entry.definitions().debug_assert();
        help::page("tandem", Some(entry));
    }
}

#[test]
fn the_program_is_named_by_the_last_part_of_its_path() {
    let name = |path: &str| program_name(Some(path.into()));
    assert_eq!(name("/usr/sbin/runc"), "runc");
    assert_eq!(name("tandem"), "tandem");
    assert_eq!(program_name(None), "tandem");
    assert_eq!(name(""), "tandem");
}

/// The options of `definitions` that the manual page `name` leaves out.
fn undocumented(name: &str, definitions: &clap::Command) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/man/{name}.8"));
    let text = std::fs::read_to_string(page).unwrap();
    let letters = definitions.get_arguments().filter_map(|option| {
        let letter = option.get_short()?;
        Some((format!("Fl {letter}"), option.get_long()?))
    });
    let words = definitions.get_arguments().filter_map(|option| {
        let long = option.get_long()?;
        Some((format!("Fl -{long}"), long))
    });
    letters
        .chain(words)
        .filter(|(form, long)| {
            let head = format!(".It Fl -{long}");
            !text
                .lines()
                .any(|line| line.starts_with(&head) && line.contains(form))
        })
        .map(|(form, _)| form)
        .collect()
}

#[test]
fn manual_pages_have_every_option() {
    let none: [&str; 0] = [];
    assert_eq!(undocumented("tandem", &Global::definitions()), none);
    for entry in command::ENTRIES.iter().filter(|entry| entry.is_supported()) {
        let name = format!("tandem-{}", entry.name);
        assert_eq!(undocumented(&name, &entry.definitions()), none, "{name}");
    }
}

#[test]
#[ignore = "a measurement, to be run with --release"]
fn a_create_line_is_parsed_in_less_than_100_microseconds() {
    let mut lines = RECORDED.lines();
    let line = lines.find(|line| line.contains(" create ")).unwrap();
    let once = || {
        let start = std::time::Instant::now();
        understand(line).unwrap();
        start.elapsed()
    };
    // The first is what a process pays: its code is not in the caches yet.
    let first = once();
    let least = (0..1000).map(|_| once()).min().unwrap();
    println!("{first:?} at first, {least:?} at best: {line}");
    assert!(least < std::time::Duration::from_micros(100));
}
