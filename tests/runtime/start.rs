//! `tandem start`

use std::fs;

use crate::support::{Hierarchy, TestBundle, exit_code, install, until};

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn start_runs_the_program_with_the_descriptors_of_create() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy).script("echo started; exit 9");
        bundle.create().ok();
        let pid = bundle.pid();
        assert_eq!(bundle.output(), "");
        assert_eq!(bundle.start().ok(), "");
        assert_eq!(exit_code(pid), 9);
        assert_eq!(bundle.output(), "started\n");
        assert_eq!(bundle.status(), "stopped");
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_container_is_started_once() {
    let bundle = TestBundle::minimal().args(["sleep", "1000"]);
    bundle.create().ok();
    bundle.start().ok();
    assert_eq!(bundle.status(), "running");
    bundle
        .start()
        .refused(1, &["\"one\"", "running", "created"]);
    assert_eq!(bundle.status(), "running");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_stopped_container_does_not_start_again() {
    let bundle = TestBundle::minimal();
    bundle.create().ok();
    let pid = bundle.pid();
    bundle.tandem(&["kill", "one", "KILL"]).ok();
    assert_eq!(exit_code(pid), 137);
    bundle.start().refused(1, &["\"one\"", "stopped"]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn an_unknown_container_does_not_start() {
    let bundle = TestBundle::minimal();
    bundle
        .start()
        .refused(1, &["container does not exist", "\"one\""]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_signal_does_not_start_a_created_container_nor_spoil_it() {
    let bundle = TestBundle::minimal().script("echo started");
    bundle.create().ok();
    bundle.tandem(&["kill", "one", "WINCH"]).ok();
    bundle.tandem(&["kill", "one", "0"]).ok();
    assert_eq!(bundle.status(), "created");
    let pid = bundle.pid();
    bundle.start().ok();
    assert_eq!(exit_code(pid), 0);
    assert_eq!(bundle.output(), "started\n");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_program_that_went_missing_after_create_is_told_of() {
    let bundle = TestBundle::minimal().args(["/bin/own", "x"]);
    let busybox = fs::read(bundle.rootfs().join("bin/busybox")).unwrap();
    install(&busybox, &bundle.rootfs().join("bin/own"));
    bundle.create().ok();
    fs::remove_file(bundle.rootfs().join("bin/own")).unwrap();
    let pid = bundle.pid();
    let outcome = bundle.start();
    // `start` has given the word and is done, or has heard of the failure: as in runc either is right.
    assert!(matches!(outcome.code, Some(0 | 1)), "{outcome:?}");
    assert_ne!(exit_code(pid), 0);
    until("it is stopped", || {
        (bundle.status() == "stopped").then_some(())
    });
}
