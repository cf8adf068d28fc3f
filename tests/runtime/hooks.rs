//! The hooks of all six kinds: when, where and with what they run.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::{TestBundle, until};

const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// A hook that adds its name and its standard input, on one line, to the file named in its environment.
fn noting(name: &str, file: &str) -> Value {
    json!({
        "path": "/bin/sh",
        "args": ["sh", "-c", "printf '%s %s\\n' \"$NAME\" \"$(cat)\" >> \"$FILE\""],
        "env": [format!("NAME={name}"), format!("FILE={file}"), "PATH=/bin:/usr/bin"],
    })
}

/// Two hooks of each kind; those of the host write to the host's name of the log, `startContainer` to the container's.
fn with_all_hooks(mut bundle: TestBundle) -> TestBundle {
    let log = bundle.rootfs().join("log");
    fs::write(&log, "").unwrap();
    fs::set_permissions(&log, fs::Permissions::from_mode(0o666)).unwrap();
    for kind in KINDS {
        let file = match kind {
            "startContainer" => "/log",
            _ => log.to_str().unwrap(),
        };
        let hooks = json!([
            noting(&format!("{kind}1"), file),
            noting(&format!("{kind}2"), file)
        ]);
        bundle.set(&format!("/hooks/{kind}"), hooks);
    }
    bundle
}

fn notes(bundle: &TestBundle) -> Vec<(String, Value)> {
    let text = fs::read_to_string(bundle.rootfs().join("log")).unwrap();
    let note = |line: &str| {
        let (name, state) = line.split_once(' ').unwrap();
        let state = if state.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(state).unwrap()
        };
        (name.to_owned(), state)
    };
    text.lines().map(note).collect()
}

fn names(notes: &[(String, Value)]) -> Vec<&str> {
    notes.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn hooks_run_in_their_order_with_the_state_on_standard_input() {
    let bundle = with_all_hooks(TestBundle::minimal())
        .with("/annotations", json!({"key": "value"}))
        .script("echo program - >> /log; read word < /go");
    drop(bundle.bell("go"));
    // The program's line has no state behind its name.
    let bundle = bundle.script("echo 'program null' >> /log; read word < /go");
    bundle.create().ok();
    let pid = bundle.pid();
    let before = ["prestart1", "prestart2", "createRuntime1", "createRuntime2"];
    let before = [&before[..], &["createContainer1", "createContainer2"]].concat();
    assert_eq!(names(&notes(&bundle)), before);
    bundle.start().ok();
    let all = until("poststart and the program have written", || {
        let notes = notes(&bundle);
        (notes.len() == 11).then_some(notes)
    });
    let started: Vec<_> = names(&all[6..]);
    assert_eq!(&started[..2], ["startContainer1", "startContainer2"]);
    // From here on the program and the hooks after it run side by side.
    let poststart: Vec<_> = started
        .iter()
        .filter(|name| name.starts_with("poststart"))
        .collect();
    assert_eq!(poststart, [&"poststart1", &"poststart2"]);
    bundle.tandem(&["delete", "--force", "one"]).ok();
    let all = notes(&bundle);
    assert_eq!(names(&all[11..]), ["poststop1", "poststop2"]);

    for (name, state) in all.iter().filter(|(name, _)| name != "program") {
        let (status, seen) = match name.trim_end_matches(['1', '2']) {
            "prestart" | "createRuntime" => ("creating", Some(pid)),
            "createContainer" => ("creating", None),
            "startContainer" => ("created", None),
            "poststart" => ("running", Some(pid)),
            _ => ("stopped", None),
        };
        assert_eq!(state["id"], "one", "{name}");
        assert_eq!(state["ociVersion"], "1.2.0", "{name}");
        assert_eq!(state["status"], status, "{name}");
        assert_eq!(state["annotations"]["key"], "value", "{name}");
        let place = bundle
            .path("")
            .to_str()
            .unwrap()
            .trim_end_matches('/')
            .to_owned();
        assert_eq!(state["bundle"], place, "{name}");
        if let Some(pid) = seen {
            assert_eq!(state["pid"], pid, "{name}");
        }
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn run_calls_all_hooks_too() {
    let bundle = with_all_hooks(TestBundle::minimal());
    bundle.run().ok();
    let mut called: Vec<_> = notes(&bundle).into_iter().map(|(name, _)| name).collect();
    called.sort();
    let mut expected: Vec<_> = KINDS
        .iter()
        .flat_map(|kind| [format!("{kind}1"), format!("{kind}2")])
        .collect();
    expected.sort();
    assert_eq!(called, expected);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn each_hook_runs_in_the_namespaces_that_the_specification_gives_it() {
    let mut bundle = TestBundle::minimal().args(["true"]);
    let log = bundle.rootfs().join("log");
    fs::write(&log, "").unwrap();
    for kind in KINDS {
        let file = match kind {
            "startContainer" => "/log",
            _ => log.to_str().unwrap(),
        };
        // `startContainer` and `createContainer` are in the container's namespaces, the former in its root, too.
        let script = format!(
            "echo {kind} $(hostname) $(test -e /bin/busybox -a -e /log && echo inside || echo outside) >> {file}",
        );
        bundle.set(
            &format!("/hooks/{kind}"),
            json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]),
        );
    }
    bundle.run().ok();
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let text = fs::read_to_string(log).unwrap();
    let line = |kind: &str| {
        text.lines()
            .find(|line| line.starts_with(kind))
            .unwrap()
            .to_owned()
    };
    for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
        assert_eq!(line(kind), format!("{kind} {host} outside"));
    }
    assert_eq!(line("createContainer"), "createContainer test outside");
    assert_eq!(line("startContainer"), "startContainer test inside");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_environment_of_a_hook_is_what_the_config_says() {
    let bundle = TestBundle::minimal();
    let file = bundle.path("env");
    let script = format!("/usr/bin/env > {}", file.display());
    let bundle = bundle.with(
        "/hooks/createRuntime",
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["ONLY=this"]}]),
    );
    bundle.run().ok();
    let text = fs::read_to_string(file).unwrap();
    // The shell adds what it always adds.
    let own = |line: &&str| {
        !["PWD=", "_=", "SHLVL=", "OLDPWD="]
            .iter()
            .any(|name| line.starts_with(name))
    };
    assert_eq!(text.lines().filter(own).collect::<Vec<_>>(), ["ONLY=this"]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_failing_start_container_hook_keeps_the_program_from_running() {
    let bundle = TestBundle::minimal()
        .with(
            "/hooks/startContainer",
            json!([{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"], "env": ["PATH=/bin"]}]),
        )
        .args(["touch", "/ran"]);
    assert_ne!(bundle.run().code, Some(0));
    assert!(!bundle.rootfs().join("ran").exists());
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_failing_poststart_hook_ends_the_container_that_it_was_for() {
    let bundle = TestBundle::minimal()
        .with(
            "/hooks/poststart",
            json!([{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}]),
        )
        .args(["sleep", "1000"]);
    bundle
        .run()
        .refused(1, &["poststart", "hook #0", "exit status 3"]);
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_failing_poststop_hook_does_not_keep_the_container() {
    let bundle = TestBundle::minimal().with(
        "/hooks/poststop",
        json!([
            {"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]},
            {"path": "/no/hook"},
        ]),
    );
    bundle.create().ok();
    let outcome = bundle.delete();
    assert_eq!(bundle.left(), [""; 0], "{outcome:?}");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_hook_that_does_not_read_its_input_does_no_harm() {
    let bundle = TestBundle::minimal()
        .with("/annotations", json!({"big": "x".repeat(200_000)}))
        .with(
            "/hooks/createRuntime",
            json!([{"path": "/bin/sh", "args": ["sh", "-c", "exec < /dev/null; exit 0"]}]),
        );
    bundle.run().ok();
}
