//! `tandem kill`

use crate::support::{Hierarchy, TestBundle, exit_code, until};

/// A container that says which signals it got.
fn listening() -> (TestBundle, crate::support::Bell) {
    let bundle = TestBundle::minimal().script(
        "for s in HUP INT USR1 USR2 TERM 34 37 64; do trap \"echo $s > /said\" $s; done
         echo ready > /said
         while :; do sleep 1000 & wait $!; done",
    );
    let mut said = bundle.bell("said");
    bundle.run_detached().ok();
    assert_eq!(said.wait(), "ready\n");
    (bundle, said)
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn signals_are_known_by_name_and_number() {
    let (bundle, mut said) = listening();
    for (given, name) in [
        ("HUP", "HUP"),
        ("SIGHUP", "HUP"),
        ("sigusr1", "USR1"),
        ("usr2", "USR2"),
        ("2", "INT"),
        ("10", "USR1"),
        ("34", "34"),
        ("RTMIN+3", "37"),
        ("SIGRTMIN+3", "37"),
        ("RTMAX", "64"),
        ("64", "64"),
    ] {
        bundle.tandem(&["kill", "one", given]).ok();
        assert_eq!(said.wait().trim_end(), name, "{given}");
    }
    bundle.tandem(&["kill", "one"]).ok();
    assert_eq!(said.wait(), "TERM\n", "the default");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn signal_zero_only_asks() {
    let bundle = TestBundle::running();
    bundle.tandem(&["kill", "one", "0"]).ok();
    assert_eq!(bundle.status(), "running");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_signal_that_does_not_exist_is_refused() {
    let bundle = TestBundle::running();
    for signal in ["NOPE", "65", "RTMAX+1", "1x", ""] {
        let outcome = bundle.tandem(&["kill", "one", signal]);
        outcome.refused(1, &[signal]);
    }
    assert_eq!(bundle.status(), "running");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_stopped_container_is_not_running_unless_all_are_meant() {
    let bundle = TestBundle::minimal();
    bundle.tandem(&["run", "--keep", "one"]).ok();
    for signal in ["0", "TERM", "KILL"] {
        bundle
            .tandem(&["kill", "one", signal])
            .refused(1, &["container not running"]);
    }
    bundle.tandem(&["kill", "--all", "one", "KILL"]).ok();
    bundle
        .tandem(&["kill", "two", "KILL"])
        .refused(1, &["container does not exist"]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn all_reaches_every_process_of_the_cgroup() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy)
            .sharing("pid")
            .script("sleep 1000 & sleep 1000 & echo up > /up; wait");
        let mut up = bundle.bell("up");
        bundle.run_detached().ok();
        up.wait();
        let pid = bundle.pid();
        assert_eq!(bundle.processes().len(), 3);
        bundle.tandem(&["kill", "--all", "one", "KILL"]).ok();
        assert_eq!(exit_code(pid), 137);
        until("all are dead", || {
            bundle.processes().is_empty().then_some(())
        });
        bundle.delete().ok();
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn all_takes_other_signals_too() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy).sharing("pid").script(
            "for i in 1 2; do sh -c 'trap \"exit 0\" USR1; echo up > /up; while :; do sleep 1000 & wait; done' & done
             trap 'exit 6' USR1; while :; do sleep 1000 & wait $!; done",
        );
        let mut up = bundle.bell("up");
        bundle.run_detached().ok();
        let mut heard = up.wait();
        while heard.lines().count() < 2 {
            heard += &up.wait();
        }
        let pid = bundle.pid();
        bundle.tandem(&["kill", "-a", "one", "USR1"]).ok();
        assert!(matches!(exit_code(pid), 6 | 138), "{hierarchy:?}");
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_shared_pid_namespace_is_killed_as_a_whole() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy)
            .sharing("pid")
            .script("sleep 1000 & echo up > /up; wait");
        let mut up = bundle.bell("up");
        bundle.run_detached().ok();
        up.wait();
        let pid = bundle.pid();
        bundle.tandem(&["kill", "one", "KILL"]).ok();
        assert_eq!(exit_code(pid), 137);
        until("all are dead", || {
            bundle.processes().is_empty().then_some(())
        });
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_paused_container_dies_of_sigkill() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy).args(["sleep", "1000"]);
        bundle.run_detached().ok();
        let pid = bundle.pid();
        bundle.tandem(&["pause", "one"]).ok();
        bundle.tandem(&["kill", "one", "KILL"]).ok();
        assert_eq!(exit_code(pid), 137);
        assert_eq!(bundle.status(), "stopped");
    }
}
