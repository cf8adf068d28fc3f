//! `tandem create`

use std::fs;

use serde_json::json;

use crate::support::{Hierarchy, TestBundle};

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_created_container_waits_for_its_start() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy).args(["touch", "/started"]);
        bundle.create().ok();
        assert_eq!(bundle.status(), "created");
        assert!(!bundle.rootfs().join("started").exists());
        assert!(bundle.pid() > 0);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_pid_file_holds_the_number_and_nothing_else() {
    let bundle = TestBundle::minimal();
    bundle
        .detached(&["create", "--pid-file", "pid", "one"])
        .ok();
    let text = fs::read_to_string(bundle.path("pid")).unwrap();
    assert_eq!(text, bundle.pid().to_string());
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_pid_file_that_cannot_be_written_undoes_the_container() {
    let bundle = TestBundle::minimal();
    let outcome = bundle.detached(&["create", "--pid-file", "no/such/pid", "one"]);
    outcome.refused(1, &["pid file", "no/such/pid", "no such file or directory"]);
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_bundle_can_be_named() {
    let bundle = TestBundle::minimal().args(["echo", "here"]);
    let path = bundle.path("").display().to_string();
    let mut command = bundle.command(&["run", "--bundle", &path, "one"]);
    command.current_dir("/");
    assert_eq!(bundle.finish(command).ok(), "here");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn later_changes_of_the_bundle_do_not_reach_a_created_container() {
    let bundle = TestBundle::minimal().args(["true"]);
    bundle.create().ok();
    let bundle = bundle.args(["touch", "/changed"]);
    bundle.start().ok();
    assert!(!bundle.rootfs().join("changed").exists());
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn unknown_properties_are_let_pass_and_unknown_capabilities_warned_of() {
    let outcome = TestBundle::minimal()
        .with("/future", json!({"a": 1}))
        .with("/linux/future", json!(true))
        .adding("/process/capabilities/bounding", json!("CAP_FUTURE"))
        .args(["echo", "fine"])
        .run();
    assert_eq!(outcome.ok(), "fine");
    assert!(outcome.stderr.contains("CAP_FUTURE"), "{}", outcome.stderr);
}
