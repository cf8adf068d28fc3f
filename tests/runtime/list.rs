//! `tandem list`

use serde_json::Value;

use crate::support::TestBundle;

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_list_has_a_line_or_an_object_a_container() {
    let mut bundle = TestBundle::running();
    bundle.rename("two");
    bundle.create().ok();
    let table = bundle.tandem(&["list"]);
    let rows: Vec<Vec<&str>> = table
        .ok()
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    );
    assert_eq!(
        (rows[1][0], rows[1][2], rows[1][5]),
        ("one", "running", "root")
    );
    assert_eq!((rows[2][0], rows[2][2]), ("two", "created"));
    assert_eq!(bundle.tandem(&["list", "--quiet"]).ok(), "one\ntwo");
    let outcome = bundle.tandem(&["list", "-f", "json"]);
    let list: Value = serde_json::from_str(outcome.ok()).unwrap();
    assert_eq!(list[0]["id"], "one");
    assert_eq!(list[0]["owner"], "root");
    assert_eq!(list[1]["pid"].as_i64(), Some(bundle.pid().into()));
    assert_eq!(list.as_array().unwrap().len(), 2);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn containers_of_another_state_root_are_not_listed() {
    let mut bundle = TestBundle::running();
    bundle.options = vec!["--root".into(), bundle.path("other").display().to_string()];
    assert_eq!(bundle.tandem(&["list", "-q"]).ok(), "");
    bundle
        .tandem(&["state", "one"])
        .refused(1, &["does not exist"]);
    bundle.options.clear();
    assert_eq!(bundle.tandem(&["list", "-q"]).ok(), "one");
}
