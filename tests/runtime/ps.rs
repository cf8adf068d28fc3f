//! `tandem ps`

use serde_json::Value;

use crate::support::{Hierarchy, TestBundle};

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn ps_gives_the_pids_of_the_host() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy).script("sleep 1000 & echo up > /up; wait");
        let mut up = bundle.bell("up");
        bundle.run_detached().ok();
        up.wait();
        let outcome = bundle.tandem(&["ps", "--format", "json", "one"]);
        let pids: Vec<i32> = serde_json::from_str(outcome.ok()).unwrap();
        assert_eq!(pids.len(), 2);
        assert!(pids.contains(&bundle.pid()));
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_table_is_that_of_ps_of_the_host() {
    let bundle = TestBundle::running();
    for arguments in [
        &["ps", "one"][..],
        &["ps", "one", "-ef"],
        &["ps", "one", "aux"],
    ] {
        let outcome = bundle.tandem(arguments);
        let lines: Vec<_> = outcome.ok().lines().collect();
        assert_eq!(lines.len(), 2, "{arguments:?}");
        assert!(lines[0].contains("PID"));
        assert!(lines[1].contains(&bundle.pid().to_string()));
        assert!(lines[1].contains("sleep"));
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_stopped_container_has_no_processes() {
    let bundle = TestBundle::minimal();
    bundle.tandem(&["run", "--keep", "one"]).ok();
    let outcome = bundle.tandem(&["ps", "-f", "json", "one"]);
    let pids: Value = serde_json::from_str(outcome.ok()).unwrap();
    assert!(pids.as_array().is_none_or(Vec::is_empty), "{pids}");
    bundle
        .tandem(&["ps", "two"])
        .refused(1, &["does not exist"]);
}
