//! `tandem pause` and `tandem resume`

use crate::support::{Hierarchy, TestBundle, exit_code};

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_paused_container_stands_still_until_it_is_resumed() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy)
            .script("trap 'echo heard > /said; exit 4' TERM; echo up > /said; while :; do sleep 1000 & wait $!; done");
        let mut said = bundle.bell("said");
        bundle.run_detached().ok();
        said.wait();
        let pid = bundle.pid();
        bundle.tandem(&["pause", "one"]).ok();
        assert_eq!(bundle.status(), "paused");
        bundle.tandem(&["kill", "one", "TERM"]).ok();
        assert_eq!(bundle.status(), "paused");
        bundle.tandem(&["resume", "one"]).ok();
        assert_eq!(said.wait(), "heard\n");
        assert_eq!(exit_code(pid), 4);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn only_what_fits_the_state_is_done() {
    let bundle = TestBundle::running();
    bundle
        .tandem(&["resume", "one"])
        .refused(1, &["\"one\"", "not paused"]);
    bundle.tandem(&["pause", "one"]).ok();
    bundle
        .tandem(&["pause", "one"])
        .refused(1, &["\"one\"", "not running or created"]);
    bundle
        .exec(&["true"])
        .refused(255, &["paused", "--ignore-paused"]);
    bundle.tandem(&["resume", "one"]).ok();
    assert_eq!(bundle.status(), "running");
    for command in ["pause", "resume"] {
        bundle
            .tandem(&[command, "two"])
            .refused(1, &["does not exist"]);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_stopped_container_is_neither_paused_nor_resumed() {
    let bundle = TestBundle::minimal();
    bundle.tandem(&["run", "--keep", "one"]).ok();
    for command in ["pause", "resume"] {
        bundle.tandem(&[command, "one"]).refused(1, &["stopped"]);
    }
}
