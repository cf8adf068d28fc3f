//! `tandem update` and `tandem events`

use std::process::Stdio;

use serde_json::Value;

use crate::support::{Hierarchy, TestBundle};

fn stats(bundle: &TestBundle) -> Value {
    let outcome = bundle.tandem(&["events", "--stats", "one"]);
    serde_json::from_str(outcome.ok()).unwrap()
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_changed_limit_holds_and_the_others_stay() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy).args(["sleep", "1000"]);
        if !bundle.controller("pids") || !bundle.controller("memory") {
            continue;
        }
        bundle.run_detached().ok();
        bundle
            .tandem(&["update", "--pids-limit", "7", "--memory", "64M", "one"])
            .ok();
        bundle.tandem(&["update", "--memory", "32M", "one"]).ok();
        let data = &stats(&bundle)["data"];
        assert_eq!(data["pids"]["limit"], 7);
        assert_eq!(data["memory"]["usage"]["limit"], 32 << 20);
        bundle.tandem(&["update", "one", "--pids-limit", "-1"]).ok();
        assert_eq!(stats(&bundle)["data"]["pids"]["limit"], Value::Null);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn statistics_are_one_line_of_json() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy).args(["sleep", "1000"]);
        bundle.run_detached().ok();
        let stats = stats(&bundle);
        assert_eq!(
            (&stats["type"], &stats["id"]),
            (&"stats".into(), &"one".into())
        );
        assert_eq!(stats["data"]["pids"]["current"], 1);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn events_end_with_the_container() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy).args(["sleep", "1000"]);
        bundle.run_detached().ok();
        let events = bundle
            .command(&["events", "--interval", "20ms", "one"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        bundle.tandem(&["delete", "--force", "one"]).ok();
        bundle.wait(events);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_stopped_container_has_neither_limits_nor_events() {
    let bundle = TestBundle::minimal();
    bundle.tandem(&["run", "--keep", "one"]).ok();
    bundle
        .tandem(&["update", "--pids-limit", "7", "one"])
        .refused(1, &["container not running"]);
    bundle
        .tandem(&["events", "--stats", "one"])
        .refused(1, &["is not running"]);
}
