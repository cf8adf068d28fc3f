//! `tandem state`

use serde_json::{Value, json};

use crate::support::{TestBundle, exit_code};

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_state_has_what_engines_read() {
    let bundle = TestBundle::minimal()
        .args(["sleep", "1000"])
        .with("/annotations", json!({"b": "2", "a": "1"}));
    bundle.create().ok();
    let state = bundle.state();
    assert_eq!(state["ociVersion"], "1.2.0");
    assert_eq!(state["id"], "one");
    assert_eq!(state["status"], "created");
    assert_eq!(
        state["bundle"],
        bundle.path("").to_str().unwrap().trim_end_matches('/')
    );
    assert_eq!(state["rootfs"], bundle.rootfs().to_str().unwrap());
    assert_eq!(state["annotations"], json!({"a": "1", "b": "2"}));
    assert_eq!(state["owner"], "");
    let created = state["created"].as_str().unwrap();
    assert!(created.ends_with('Z') && created.contains('T'), "{created}");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_container_goes_through_all_states() {
    let bundle = TestBundle::minimal().args(["sleep", "1000"]);
    let status_and_pid = || {
        let state: Value = bundle.state();
        (
            state["status"].as_str().unwrap().to_owned(),
            state["pid"].as_i64().unwrap(),
        )
    };
    bundle.create().ok();
    let pid = i64::from(bundle.pid());
    assert_eq!(status_and_pid(), ("created".into(), pid));
    bundle.start().ok();
    assert_eq!(status_and_pid(), ("running".into(), pid));
    bundle.tandem(&["pause", "one"]).ok();
    assert_eq!(status_and_pid(), ("paused".into(), pid));
    bundle.tandem(&["resume", "one"]).ok();
    assert_eq!(status_and_pid(), ("running".into(), pid));
    bundle.tandem(&["kill", "one", "KILL"]).ok();
    exit_code(pid.try_into().unwrap());
    assert_eq!(status_and_pid(), ("stopped".into(), 0));
    bundle.delete().ok();
    bundle
        .tandem(&["state", "one"])
        .refused(1, &["container does not exist", "\"one\""]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_dead_process_that_nobody_reaps_is_a_stopped_container() {
    let bundle = TestBundle::minimal().args(["sleep", "1000"]);
    bundle.run_detached().ok();
    let pid = bundle.pid();
    bundle.tandem(&["kill", "one", "KILL"]).ok();
    // The zombie is our child; it stays until the last line.
    crate::support::until("it is dead", || {
        (bundle.status() == "stopped").then_some(())
    });
    bundle.delete().ok();
    exit_code(pid);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_damaged_record_is_named_and_can_be_deleted_by_force() {
    let bundle = TestBundle::minimal().args(["sleep", "1000"]);
    bundle.run_detached().ok();
    let record = bundle.state_root().join("one/state.json");
    std::fs::write(&record, "{ half").unwrap();
    let outcome = bundle.tandem(&["state", "one"]);
    outcome.refused(1, &["\"one\"", "damaged"]);
    bundle.tandem(&["list", "-q"]).ok();
    bundle.tandem(&["delete", "--force", "one"]).ok();
    assert!(!bundle.state_root().join("one").exists());
    // Nothing told `delete` where the process is; it is the test's to end.
    for pid in bundle.processes() {
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        exit_code(pid);
    }
    for cgroup in bundle.cgroups() {
        std::fs::remove_dir(cgroup).unwrap();
    }
}
