//! The command line as callers see it: help, version, errors, log lines and exit statuses of the built program.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it has to be"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

const TANDEM: &str = env!("CARGO_BIN_EXE_tandem");

/// A directory of its own for a test, removed at the end; `state` in it is the state directory.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cli-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The program, called in this directory and by the name `name`.
    fn called(&self, name: &str) -> Command {
        let path = self.path(name);
        if !path.exists() {
            symlink(TANDEM, &path).unwrap();
        }
        let mut command = Command::new(path);
        command.current_dir(&self.0);
        command
    }

    fn tandem(&self, arguments: &[&str]) -> Outcome {
        let state = self.path("state");
        let mut command = self.called("tandem");
        command.arg("--root").arg(state).args(arguments);
        Outcome::of(command.output().unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Outcome {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn tandem(arguments: &[&str]) -> Outcome {
    Place::new().tandem(arguments)
}

const COMMANDS: [&str; 17] = [
    "checkpoint",
    "create",
    "delete",
    "events",
    "exec",
    "features",
    "kill",
    "list",
    "pause",
    "ps",
    "restore",
    "resume",
    "run",
    "spec",
    "start",
    "state",
    "update",
];

#[test]
fn help_shows_every_command_and_succeeds() {
    let place = Place::new();
    for arguments in [&["--help"][..], &["-h"], &["help"], &["h"], &[]] {
        let outcome = place.tandem(arguments);
        assert_eq!(outcome.code, 0, "{arguments:?}");
        assert!(outcome.stderr.is_empty());
        let mut lines = outcome.stdout.lines();
        assert_eq!(lines.next(), Some("NAME:"));
        assert_eq!(
            lines.next(),
            Some("   tandem - Open Container Initiative runtime")
        );
        for command in COMMANDS {
            assert!(outcome.stdout.contains(&format!("\n   {command} ")));
        }
    }
}

#[test]
fn every_command_has_a_help_page() {
    let place = Place::new();
    for command in COMMANDS {
        for arguments in [[command, "-h"], ["help", command]] {
            let outcome = place.tandem(&arguments);
            assert_eq!(outcome.code, 0, "{arguments:?}");
            assert!(
                outcome
                    .stdout
                    .starts_with(&format!("NAME:\n   tandem {command} - "))
            );
            assert!(
                outcome
                    .stdout
                    .contains(&format!("\nUSAGE:\n   tandem {command}"))
            );
            assert!(outcome.stderr.is_empty());
        }
    }
}

#[test]
fn the_version_names_the_program_as_it_was_called() {
    let place = Place::new();
    for name in ["tandem", "runc"] {
        let outcome = Outcome::of(place.called(name).arg("--version").output().unwrap());
        assert_eq!(outcome.code, 0);
        let lines: Vec<_> = outcome.stdout.lines().collect();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(lines[0], format!("{name} version {version}"));
        assert!(lines[1].starts_with("commit: "));
        assert!(lines[2].starts_with("spec: 1."));
    }
}

#[test]
fn what_is_not_understood_is_one_line_that_names_it_and_the_way_out() {
    let place = Place::new();
    for (arguments, named, way_out) in [
        (&["dance"][..], "'dance'", "tandem --help"),
        (&["dance", "-h"], "'dance'", "tandem --help"),
        (&["help", "dance"], "'dance'", "tandem --help"),
        (&["--dance", "state", "x"], "-dance", "tandem --help"),
        (&["state", "--dance", "x"], "-dance", "tandem state --help"),
        (&["state", "x", "--dance"], "-dance", "tandem state --help"),
        (&["state"], "exactly 1", "tandem state --help"),
        (&["state", "x", "y"], "exactly 1", "tandem state --help"),
        (&["kill"], "a minimum of 1", "tandem kill --help"),
        (
            &["kill", "x", "9", "9"],
            "a maximum of 2",
            "tandem kill --help",
        ),
        (
            &["create", "--bundle"],
            "flag needs an argument: -bundle",
            "tandem create --help",
        ),
        (
            &["create", "--preserve-fds", "many", "x"],
            "\"many\" for flag -preserve-fds",
            "tandem create --help",
        ),
        (
            &["exec", "-g", "staff", "x", "sh"],
            "\"staff\" for flag -additional-gids",
            "tandem exec --help",
        ),
        (&["list", "-f", "xml"], "table, json", "tandem list --help"),
        (
            &["--log-format", "xml", "list"],
            "invalid log-format: xml",
            "tandem --help",
        ),
        (
            &["--rootless", "maybe", "list"],
            "\"maybe\" for flag -rootless",
            "tandem --help",
        ),
    ] {
        let outcome = place.tandem(arguments);
        assert_eq!(outcome.code, 1, "{arguments:?}");
        assert_eq!(outcome.stdout, "", "{arguments:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        assert!(outcome.stderr.contains("level=error"));
        let message = outcome.stderr.replace("\\\"", "\"");
        assert!(message.contains(named), "{arguments:?}: {message}");
        assert!(message.contains(way_out), "{arguments:?}: {message}");
    }
}

#[test]
fn values_that_no_command_can_use_are_refused() {
    let place = Place::new();
    for (arguments, named) in [
        (&["--root", "/", "list"][..], "--root"),
        (&["--root", "/tmp/../..", "list"], "--root"),
        (
            &["--cgroup-manager", "disabled", "list"],
            "--cgroup-manager disabled",
        ),
        (&["kill", "x", "NOPE"], "NOPE"),
        (&["kill", "x", "-9"], "-9"),
        (&["kill", "x", "65"], "65"),
        (&["state", "../x"], "../x"),
        (&["state", ""], "container ID"),
    ] {
        let outcome = place.tandem(arguments);
        assert_eq!(outcome.code, 1, "{arguments:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        assert!(outcome.stderr.contains(named), "{}", outcome.stderr);
    }
}

#[test]
fn exec_fails_with_a_status_of_its_own() {
    let outcome = tandem(&["exec", "nobody", "true"]);
    assert_eq!(outcome.code, 255);
    assert!(
        outcome.stderr.contains("exec failed: "),
        "{}",
        outcome.stderr
    );
    assert_eq!(tandem(&["exec", "nobody"]).code, 255);
    // A flag that is wrong is the caller's mistake, as in runc.
    assert_eq!(tandem(&["exec", "--dance", "nobody", "true"]).code, 1);
}

#[test]
fn create_and_run_say_by_whose_name_they_failed() {
    let place = Place::new();
    let state = place.path("state");
    for (name, command) in [("tandem", "create"), ("runc", "run")] {
        let mut call = place.called(name);
        call.arg("--root").arg(&state).args([command, "a/b"]);
        let outcome = Outcome::of(call.output().unwrap());
        assert_eq!(outcome.code, 1);
        let text = format!("{name} {command} failed: ");
        assert!(outcome.stderr.contains(&text), "{}", outcome.stderr);
    }
}

#[test]
fn a_json_log_holds_one_object_for_a_failure() {
    let place = Place::new();
    let log = place.path("log.json");
    let arguments = [
        "--log",
        log.to_str().unwrap(),
        "--log-format",
        "json",
        "state",
        "no/id",
    ];
    let outcome = place.tandem(&arguments);
    assert_eq!(outcome.code, 1);
    let text = fs::read_to_string(&log).unwrap();
    let entry: Value = serde_json::from_str(&text).expect("exactly one object");
    assert_eq!(entry["level"], "error");
    assert!(entry["time"].as_str().unwrap().ends_with('Z'));
    // Standard error has the bare text.
    assert_eq!(entry["msg"].as_str().unwrap(), outcome.stderr.trim_end());
}

#[test]
fn log_lines_are_appended() {
    let place = Place::new();
    let log = place.path("log");
    fs::write(&log, "before\n").unwrap();
    for arguments in [
        &["state", "no/id"][..],
        &["state", "--dance", "x"],
        &["dance"],
    ] {
        let mut all = vec!["--log", log.to_str().unwrap()];
        all.extend(arguments);
        assert_eq!(place.tandem(&all).code, 1);
    }
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert_eq!(lines[0], "before");
    for line in &lines[1..] {
        assert!(line.starts_with("time=\""), "{line}");
        assert!(line.contains(" level=error msg="), "{line}");
    }
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error() {
    let outcome = tandem(&["--log", "/nonexistent/log", "list"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("/nonexistent/log"));
    assert!(outcome.stderr.contains("no such file or directory"));
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let place = Place::new();
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = place.called("tandem");
    let outcome = Outcome::of(command.arg("features").stdout(full).output().unwrap());
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stderr.contains("no space left on device"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_list_of_no_containers_is_the_title_or_null() {
    let place = Place::new();
    let title = "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n";
    for (arguments, expected) in [
        (&["list"][..], title),
        (&["list", "--format", "json"], "null\n"),
        (&["list", "-q"], ""),
    ] {
        let outcome = place.tandem(arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, expected));
    }
}

#[test]
fn commands_that_are_missing_say_so_and_podmans_probes_see_it() {
    let place = Place::new();
    for arguments in [
        &["checkpoint", "--image-path", "/x", "--leave-running", "a"][..],
        &["restore", "-no-subreaper", "--bundle", "/x", "a"],
    ] {
        let outcome = place.tandem(arguments);
        assert_eq!(outcome.code, 1, "{arguments:?}");
        let text = format!("{} is not supported yet", arguments[0]);
        assert!(outcome.stderr.contains(&text), "{}", outcome.stderr);
    }
    // podman: status 0 means that the runtime can checkpoint ...
    assert_eq!(place.tandem(&["checkpoint", "--help"]).code, 1);
    // ... and this text that it can restore into a pod.
    let outcome = place.tandem(&["restore", "--lsm-mount-context"]);
    assert!(!(outcome.stdout + &outcome.stderr).contains("flag needs an argument"));
}

/// What runc 1.3.6 writes on a host with cgroup v1; on v2 it adds a cgroup namespace.
fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let text = fs::read_to_string(path.join(name)).unwrap();
    let mount = "\t\t\t{\n\t\t\t\t\"type\": \"mount\"\n\t\t\t}";
    let unified = fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap();
    match unified {
        true => text.replace(
            mount,
            &format!("{mount},\n{}", mount.replace("mount", "cgroup")),
        ),
        false => text,
    }
}

#[test]
fn a_spec_is_runcs_byte_for_byte_apart_from_the_name() {
    let place = Place::new();
    for (name, hostname) in [("runc", "runc"), ("tandem", "tandem")] {
        let bundle = place.path(&format!("bundle-{name}"));
        fs::create_dir(&bundle).unwrap();
        let mut call = place.called(name);
        let outcome = Outcome::of(call.current_dir(&bundle).arg("spec").output().unwrap());
        assert_eq!(
            (outcome.code, outcome.stdout.as_str()),
            (0, ""),
            "{}",
            outcome.stderr
        );
        let expected = golden("runc-1.3.6-spec.json").replace(
            "\"hostname\": \"runc\"",
            &format!("\"hostname\": \"{hostname}\""),
        );
        let written = fs::read_to_string(bundle.join("config.json")).unwrap();
        assert_eq!(written, expected);
    }
}

#[test]
fn a_rootless_spec_differs_from_runcs_in_the_ids_of_the_caller_only() {
    let place = Place::new();
    let mut call = place.called("runc");
    let bundle = place.path("bundle");
    fs::create_dir(&bundle).unwrap();
    let outcome = call
        .args(["spec", "--rootless", "-b"])
        .arg(&bundle)
        .output();
    assert_eq!(Outcome::of(outcome.unwrap()).code, 0);
    let mut written: Value =
        serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap();
    let expected: Value = serde_json::from_str(&golden("runc-1.3.6-spec-rootless.json")).unwrap();
    for ids in ["uidMappings", "gidMappings"] {
        written["linux"][ids][0]["hostID"] = 0.into();
    }
    assert_eq!(written, expected);
}

#[test]
fn spec_does_not_overwrite_nor_follow_a_link() {
    let place = Place::new();
    let config = place.path("config.json");
    fs::write(&config, "mine").unwrap();
    let outcome = place.tandem(&["spec"]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome
            .stderr
            .contains("File config.json exists. Remove it first")
    );
    assert_eq!(fs::read_to_string(&config).unwrap(), "mine");

    fs::remove_file(&config).unwrap();
    symlink(place.path("elsewhere"), &config).unwrap();
    assert_eq!(place.tandem(&["spec"]).code, 1);
    assert!(!place.path("elsewhere").exists());
    let outcome = place.tandem(&["spec", "--bundle", "/nonexistent"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("no such file or directory"));
}

#[test]
fn features_have_the_keys_of_the_specification() {
    let outcome = tandem(&["features"]);
    assert_eq!(outcome.code, 0);
    assert!(
        outcome
            .stdout
            .starts_with("{\n    \"ociVersionMin\": \"1.0.0\",\n")
    );
    let features: Value = serde_json::from_str(&outcome.stdout).unwrap();
    for path in [
        "/ociVersionMax",
        "/hooks/5",
        "/mountOptions/0",
        "/linux/namespaces/7",
        "/linux/capabilities/40",
        "/linux/cgroup/v1",
        "/linux/cgroup/v2",
        "/linux/cgroup/systemd",
        "/linux/cgroup/systemdUser",
        "/linux/cgroup/rdma",
        "/linux/seccomp/actions/0",
        "/linux/seccomp/operators/0",
        "/linux/seccomp/archs/0",
        "/linux/seccomp/knownFlags/0",
        "/linux/seccomp/supportedFlags/0",
        "/linux/apparmor/enabled",
        "/linux/selinux/enabled",
        "/linux/intelRdt/enabled",
        "/linux/mountExtensions/idmap/enabled",
        "/potentiallyUnsafeConfigAnnotations/0",
    ] {
        assert!(features.pointer(path).is_some(), "{path}");
    }
    let annotations = features["annotations"].as_object().unwrap();
    assert_eq!(
        annotations["org.opencontainers.runc.checkpoint.enabled"],
        "false"
    );
}
