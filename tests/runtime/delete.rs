//! `tandem delete`

use crate::support::{Hierarchy, TestBundle, exit_code};

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_stopped_container_is_deleted_with_all_it_has_left() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy);
        bundle.create().ok();
        let pid = bundle.pid();
        bundle.start().ok();
        exit_code(pid);
        bundle.delete().ok();
        assert_eq!(bundle.left(), [""; 0]);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_created_container_is_deleted_with_its_process() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy);
        bundle.create().ok();
        bundle.delete().ok();
        assert_eq!(bundle.left(), [""; 0]);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_running_or_paused_container_is_deleted_by_force_only() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy).args(["sleep", "1000"]);
        for paused in [false, true] {
            bundle.run_detached().ok();
            if paused {
                bundle.tandem(&["pause", "one"]).ok();
            }
            bundle
                .delete()
                .refused(1, &["\"one\"", "not stopped", "--force"]);
            bundle.tandem(&["delete", "-f", "one"]).ok();
            assert_eq!(bundle.left(), [""; 0]);
        }
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn an_unknown_container_is_an_error_unless_forced() {
    let bundle = TestBundle::minimal();
    bundle.delete().refused(1, &["container does not exist"]);
    assert_eq!(bundle.tandem(&["delete", "--force", "one"]).ok(), "");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn cgroups_that_the_container_made_are_deleted_too() {
    let bundle = TestBundle::minimal()
        .sharing("cgroup")
        .script("read word < /go");
    drop(bundle.bell("go"));
    bundle.run_detached().ok();
    let cgroups = bundle.cgroups();
    for cgroup in &cgroups {
        std::fs::create_dir_all(format!("{cgroup}/inner/innermost")).unwrap();
    }
    bundle.tandem(&["delete", "-f", "one"]).ok();
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn what_a_killed_create_has_left_is_deleted_by_force() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy);
        bundle.create().ok();
        // The record is the last thing that a create writes.
        std::fs::remove_file(bundle.state_root().join("one/state.json")).unwrap();
        bundle.delete().refused(1, &["container does not exist"]);
        bundle.tandem(&["delete", "-f", "one"]).ok();
        assert_eq!(bundle.left(), [""; 0]);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_id_is_free_again() {
    let bundle = TestBundle::minimal().args(["echo", "again"]);
    for _ in 0..3 {
        assert_eq!(bundle.run().ok(), "again");
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn processes_left_in_a_shared_pid_namespace_go_with_the_container() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy)
            .sharing("pid")
            .script("sleep 1000 > /dev/null 2>&1 & exit 0");
        bundle
            .detached(&["run", "-d", "--pid-file", "pid", "one"])
            .ok();
        let pid = std::fs::read_to_string(bundle.path("pid")).unwrap();
        exit_code(pid.parse().unwrap());
        bundle.delete().ok();
        assert_eq!(bundle.left(), [""; 0]);
    }
}
