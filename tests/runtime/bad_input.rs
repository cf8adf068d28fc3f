//! What cannot work: one line that says why, and nothing left behind.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;

use crate::support::{Hierarchy, Outcome, TestBundle, install};

/// Both ways to make a container fail alike, on both versions of cgroups, and leave nothing.
#[track_caller]
fn refused(prepare: impl Fn(TestBundle) -> TestBundle, words: &[&str]) {
    for hierarchy in Hierarchy::all() {
        let bundle = prepare(TestBundle::on(hierarchy));
        let check = |outcome: &Outcome, call: &str| {
            outcome.refused(1, words);
            assert_eq!(outcome.stdout, "", "{call}");
            assert_eq!(bundle.left(), [""; 0], "{call} on {hierarchy:?}");
        };
        check(&bundle.create(), "create");
        check(&bundle.run(), "run");
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn no_config() {
    let bundle = TestBundle::minimal();
    let mut command = bundle.command(&["run", "one"]);
    fs::remove_file(bundle.path("config.json")).unwrap();
    bundle
        .finish({
            command.stdin(std::process::Stdio::null());
            command
        })
        .refused(1, &["config.json", "not found", "spec"]);
    let outcome = bundle.tandem(&["run", "--bundle", "/nonexistent", "one"]);
    outcome.refused(1, &["/nonexistent", "no such file or directory"]);
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn broken_json() {
    let bundle = TestBundle::minimal();
    for (text, words) in [
        (
            "{\"ociVersion\": \"1.0.0\",\n \"process\": {",
            "cannot parse",
        ),
        ("", "cannot parse"),
        ("[]", "ociVersion"),
        ("{\"ociVersion\": 1}", "cannot parse"),
        ("\u{0}\u{1}\u{2}", "cannot parse"),
    ] {
        let command = bundle.command(&["run", "one"]);
        fs::write(bundle.path("config.json"), text).unwrap();
        bundle.finish(command).refused(1, &["config.json", words]);
        assert_eq!(bundle.left(), [""; 0]);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn missing_or_wrong_properties() {
    for (pointer, value, words) in [
        ("/ociVersion", json!("2.0.0"), "ociVersion"),
        ("/process", json!(null), "process"),
        ("/root", json!(null), "root"),
        ("/process/args", json!([]), "args must not be empty"),
        ("/process/cwd", json!(""), "Cwd"),
        ("/process/cwd", json!("tmp"), "Cwd must be an absolute path"),
        ("/process/args/0", json!("a\u{0}b"), "process.args"),
        ("/process/env/0", json!("A=\u{0}"), "process.env"),
        (
            "/linux/intelRdt",
            json!({"closID": "x"}),
            "linux.intelRdt is not supported",
        ),
        (
            "/linux/netDevices",
            json!({"eth0": {"name": "eth1"}}),
            "linux.netDevices is not supported",
        ),
        (
            "/linux/sysctl",
            json!({"vm.swappiness": "1"}),
            "vm.swappiness",
        ),
        (
            "/linux/sysctl",
            json!({"kernel.hostname": "x"}),
            "kernel.hostname",
        ),
        (
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 0, "size": 1}]),
            "USER namespace",
        ),
        (
            "/process/rlimits",
            json!([
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
                {"type": "RLIMIT_CORE", "soft": 1, "hard": 1},
            ]),
            "RLIMIT_CORE",
        ),
        (
            "/process/apparmorProfile",
            json!("no-such-profile"),
            "apparmor",
        ),
        ("/process/selinuxLabel", json!("a:b:c:d"), "selinux"),
        ("/linux/mountLabel", json!("a:b:c:d"), "context=a:b:c:d"),
        ("/linux/cgroupsPath", json!("/a/../../b"), "cgroup"),
    ] {
        let bundle = TestBundle::minimal().with(pointer, value);
        let outcome = bundle.run();
        let lower = Outcome {
            stderr: outcome.stderr.to_lowercase(),
            ..outcome
        };
        lower.refused(1, &[&words.to_lowercase()]);
        assert_eq!(bundle.left(), [""; 0], "{pointer}");
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_missing_rootfs() {
    refused(
        |bundle| bundle.with("/root/path", json!("nowhere")),
        &["invalid rootfs", "nowhere", "no such file or directory"],
    );
    refused(
        |bundle| bundle.with("/root/path", json!("config.json")),
        &["invalid rootfs", "not a directory"],
    );
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_missing_executable() {
    refused(
        |bundle| bundle.args(["nothing"]),
        &["exec: \"nothing\": executable file not found in $PATH"],
    );
    refused(
        |bundle| bundle.args(["/bin/nothing"]),
        &["exec: \"/bin/nothing\"", "no such file or directory"],
    );
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_file_that_cannot_be_executed() {
    refused(
        |bundle| bundle.args(["/etc"]),
        &["\"/etc\"", "is a directory"],
    );
    refused(
        |bundle| {
            bundle
                .args(["/plain"])
                .image(|rootfs| fs::write(rootfs.join("plain"), "text").unwrap())
        },
        &["\"/plain\"", "permission denied"],
    );
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_file_of_no_known_format() {
    for (text, words) in [
        (&b"text"[..], "exec format error"),
        (b"#!/no/interpreter\n", "no such file or directory"),
    ] {
        let bundle = TestBundle::minimal().args(["/plain"]);
        install(text, &bundle.rootfs().join("plain"));
        // The kernel refuses it when everything else is done: the container's own end, as in runc.
        bundle.run().refused(255, &["/plain", words]);
        assert_eq!(bundle.left(), [""; 0]);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_mount_that_fails_in_the_middle() {
    let good =
        |destination: &str| json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"});
    let around = |bad: serde_json::Value| {
        move |bundle: TestBundle| {
            bundle
                .adding("/mounts", good("/before"))
                .adding("/mounts", bad.clone())
                .adding("/mounts", good("/after"))
        }
    };
    refused(
        around(json!({"destination": "/bad", "type": "nosuchfs", "source": "x"})),
        &["/bad", "nosuchfs"],
    );
    refused(
        around(json!({
            "destination": "/bad", "type": "bind", "source": "/nonexistent", "options": ["rbind"],
        })),
        &["/nonexistent", "no such file or directory"],
    );
    refused(
        around(json!({
            "destination": "/bad", "type": "tmpfs", "source": "x", "options": ["size=nonsense"],
        })),
        &["/bad", "size"],
    );
    // The target would have to be a directory below a file.
    refused(
        around(json!({"destination": "/bin/busybox/x", "type": "tmpfs", "source": "x"})),
        &["/bin/busybox/x"],
    );
}

fn hook(script: &str, timeout: Option<u32>) -> serde_json::Value {
    let mut hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
    if let Some(timeout) = timeout {
        hook["timeout"] = timeout.into();
    }
    json!([hook])
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_hook_that_fails() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        refused(
            |bundle| {
                bundle.with(
                    &format!("/hooks/{kind}"),
                    hook("echo out of cheese >&2; exit 3", None),
                )
            },
            &[kind, "hook #0", "/bin/sh", "out of cheese"],
        );
    }
    refused(
        |bundle| bundle.with("/hooks/createRuntime", json!([{"path": "/no/hook"}])),
        &["createRuntime", "/no/hook", "no such file or directory"],
    );
    refused(
        |bundle| bundle.with("/hooks/createRuntime", json!([{"path": "no/hook"}])),
        &["no/hook", "not absolute"],
    );
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_hook_that_hangs() {
    for kind in ["createRuntime", "createContainer"] {
        let bundle = TestBundle::minimal()
            .with(&format!("/hooks/{kind}"), hook("sleep 1000; true", Some(1)));
        bundle.run().refused(1, &[kind, "timeout of 1 s"]);
        assert_eq!(bundle.left(), [""; 0]);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn an_id_that_exists() {
    let bundle = TestBundle::running();
    let (pid, cgroups) = (bundle.pid(), bundle.cgroups());
    for outcome in [bundle.create(), bundle.run()] {
        outcome.refused(1, &["container with given ID already exists", "\"one\""]);
        // The one that exists has not noticed.
        assert_eq!((bundle.pid(), bundle.status().as_str()), (pid, "running"));
        assert_eq!(bundle.cgroups(), cgroups);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn an_id_that_is_a_path() {
    let mut bundle = TestBundle::minimal();
    for id in ["a/b", "..", ".", "../one", "/", "", "a b", "a\n", "ä"] {
        id.clone_into(&mut bundle.id);
        for command in ["run", "create", "state", "delete", "start", "pause"] {
            let outcome = bundle.detached(&[command, id]);
            outcome.refused(1, &["container ID"]);
        }
        bundle
            .tandem(&["delete", "--force", id])
            .refused(1, &["container ID"]);
        bundle.exec(&["true"]).refused(255, &["container ID"]);
        assert_eq!(bundle.left(), [""; 0], "{id:?}");
    }
    for name in ["config.json", "rootfs/bin/busybox"] {
        assert!(bundle.path(name).exists(), "{name} was deleted");
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_cgroup_that_is_in_use() {
    let mut bundle = TestBundle::running();
    let path = bundle.config["linux"]["cgroupsPath"].clone();
    let (pid, cgroups) = (bundle.pid(), bundle.cgroups());
    bundle.rename("two");
    bundle.set("/linux/cgroupsPath", path);
    let outcome = bundle.create();
    if outcome.code == Some(0) {
        // runc only warns; then the end of the one must not be the end of the other.
        bundle.tandem(&["delete", "--force", "two"]).ok();
    }
    bundle.rename("one");
    assert_eq!((bundle.pid(), bundle.status().as_str()), (pid, "running"));
    assert_eq!(bundle.cgroups(), cgroups);
}

/// A state root on a small file system of its own, which is full but for `free` KiB.
fn small_state_root(bundle: &TestBundle, free: usize) {
    let root = bundle.state_root();
    fs::create_dir(&root).unwrap();
    let options = Some("size=256k,mode=700");
    mount(
        Some("tmpfs"),
        &root,
        Some("tmpfs"),
        MsFlags::empty(),
        options,
    )
    .unwrap();
    fs::write(root.join("ballast"), vec![1; (256 - free) * 1024]).unwrap_or(());
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_full_disk_under_the_state_root() {
    for free in [0, 4, 8, 12] {
        let bundle = TestBundle::minimal().with("/annotations", json!({"big": "x".repeat(6000)}));
        small_state_root(&bundle, free);
        for outcome in [bundle.create(), bundle.run()] {
            if outcome.code == Some(0) {
                continue;
            }
            outcome.refused(1, &["no space left on device"]);
            let entries = fs::read_dir(bundle.state_root()).unwrap();
            let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names, ["ballast"], "{free} KiB free");
            assert_eq!(bundle.cgroups(), [""; 0]);
            assert_eq!(bundle.processes(), [0; 0]);
        }
        bundle.tandem(&["delete", "--force", "one"]).ok();
        umount2(&bundle.state_root(), MntFlags::MNT_DETACH).unwrap();
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_state_root_that_cannot_be_made() {
    let bundle = TestBundle::minimal();
    fs::write(bundle.state_root(), "a file").unwrap();
    bundle.run().refused(1, &["/state", "not a directory"]);
    fs::remove_file(bundle.state_root()).unwrap();
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_console_that_does_not_fit() {
    let bundle = TestBundle::minimal().with("/process/terminal", json!(true));
    bundle.create().refused(1, &["console socket"]);
    let outcome = bundle.detached(&["create", "--console-socket", "no/socket", "one"]);
    outcome.refused(1, &["no/socket", "no such file or directory"]);
    let bundle = bundle.with("/process/terminal", json!(false));
    let outcome = bundle.detached(&["create", "--console-socket", "no/socket", "one"]);
    outcome.refused(1, &["console socket"]);
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_user_or_group_that_is_not_mapped() {
    let bundle = TestBundle::minimal()
        .adding("/linux/namespaces", json!({"type": "user"}))
        .with(
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 0, "size": 10}]),
        )
        .with(
            "/linux/gidMappings",
            json!([{"containerID": 0, "hostID": 0, "size": 10}]),
        )
        .with("/process/user", json!({"uid": 1000, "gid": 0}));
    bundle.run().refused(1, &["1000", "mapped"]);
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_chain_of_links_without_end() {
    refused(
        |bundle| {
            bundle
                .adding(
                    "/mounts",
                    json!({"destination": "/loop/x", "type": "tmpfs", "source": "x"}),
                )
                .image(|rootfs| {
                    if !Path::new(&rootfs.join("loop")).is_symlink() {
                        symlink("loop", rootfs.join("loop")).unwrap();
                    }
                })
        },
        &["/loop/x"],
    );
}
