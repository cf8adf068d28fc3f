//! Namespaces: new ones, shared ones, those joined by path, and user namespaces with their maps.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::json;

use crate::support::{Hierarchy, TestBundle};

const KINDS: [(&str, &str); 7] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

fn links(output: &str) -> Vec<&str> {
    output.lines().collect()
}

const SHOW: &str =
    "for n in pid net ipc uts mnt cgroup time user; do readlink /proc/self/ns/$n; done";

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn each_namespace_of_the_config_is_a_new_one_and_no_other() {
    let bundle = TestBundle::minimal()
        .adding("/linux/namespaces", json!({"type": "time"}))
        .script(SHOW);
    let outcome = bundle.run();
    for (link, (kind, file)) in links(outcome.ok()).iter().zip(KINDS) {
        let host = fs::read_link(format!("/proc/thread-self/ns/{file}")).unwrap();
        assert_ne!(*link, host.to_str().unwrap(), "{kind}");
    }
    let host = fs::read_link("/proc/thread-self/ns/user").unwrap();
    assert_eq!(links(outcome.ok())[7], host.to_str().unwrap(), "user");
    let mut bundle = bundle;
    for kind in ["pid", "network", "ipc", "cgroup"] {
        bundle = bundle.sharing(kind);
    }
    let outcome = bundle.run();
    for (index, file) in [(0, "pid"), (1, "net"), (2, "ipc"), (5, "cgroup")] {
        let host = fs::read_link(format!("/proc/thread-self/ns/{file}")).unwrap();
        assert_eq!(links(outcome.ok())[index], host.to_str().unwrap());
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn namespaces_are_joined_by_path() {
    let mut bundle = TestBundle::running();
    let pid = bundle.pid();
    let theirs = bundle.exec_script(SHOW);
    bundle.rename("two");
    for namespace in bundle.namespaces() {
        let (_, file) = KINDS
            .iter()
            .find(|(kind, _)| namespace["type"] == *kind)
            .unwrap();
        if !["mnt", "cgroup"].contains(file) {
            namespace["path"] = format!("/proc/{pid}/ns/{file}").into();
        }
    }
    // Who joins a UTS namespace leaves its name alone unless asked to change it.
    bundle.config.as_object_mut().unwrap().remove("hostname");
    let bundle = bundle.script(&format!("{SHOW}; hostname"));
    let outcome = bundle.run();
    for index in 0..4 {
        assert_eq!(links(outcome.ok())[index], links(theirs.ok())[index]);
    }
    assert_ne!(links(outcome.ok())[4], links(theirs.ok())[4], "mount");
    assert_eq!(links(outcome.ok())[8], "test");
    assert_eq!(bundle.tandem(&["state", "one"]).code, Some(0));
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_namespace_path_of_nothing_or_another_kind_is_refused() {
    for (path, words) in [
        ("/proc/self/ns/nothing", "no such file or directory"),
        ("/proc/1/ns/uts", "ipc namespace"),
        ("/dev/null", "ipc namespace"),
        ("relative", "not absolute"),
    ] {
        let mut bundle = TestBundle::minimal();
        let ipc = bundle
            .namespaces()
            .iter_mut()
            .find(|namespace| namespace["type"] == "ipc");
        ipc.unwrap()["path"] = path.into();
        bundle.run().refused(1, &[path, words]);
        assert_eq!(bundle.left(), [""; 0]);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_names_of_the_host_are_set() {
    let bundle = TestBundle::minimal()
        .with("/hostname", json!("a-host"))
        .with("/domainname", json!("a-domain"))
        .args([
            "cat",
            "/proc/sys/kernel/hostname",
            "/proc/sys/kernel/domainname",
        ]);
    assert_eq!(bundle.run().ok(), "a-host\na-domain");
    let bundle = bundle.sharing("uts");
    bundle.run().refused(1, &["hostname", "UTS namespace"]);
}

fn with_user_namespace(bundle: TestBundle) -> TestBundle {
    let map = json!([
        {"containerID": 0, "hostID": 100_000, "size": 1000},
        {"containerID": 5000, "hostID": 205_000, "size": 1},
    ]);
    bundle
        .adding("/linux/namespaces", json!({"type": "user"}))
        .with("/linux/uidMappings", map.clone())
        .with("/linux/gidMappings", map)
        .image(|rootfs| {
            std::os::unix::fs::chown(rootfs, Some(100_000), Some(100_000)).unwrap();
            std::os::unix::fs::chown(rootfs.join("tmp"), Some(100_000), Some(100_000)).unwrap();
        })
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_user_namespace_has_the_maps_of_the_config() {
    for hierarchy in Hierarchy::all() {
        let bundle = with_user_namespace(TestBundle::on(hierarchy)).script(
            "cat /proc/self/uid_map /proc/self/gid_map; id -u; touch /tmp/made; ls /dev/null",
        );
        let outcome = bundle.run();
        let lines: Vec<_> = outcome
            .ok()
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .collect();
        let map = [["0", "100000", "1000"], ["5000", "205000", "1"]];
        assert_eq!(lines[..2], map);
        assert_eq!(lines[2..4], map);
        assert_eq!(lines[4], ["0"]);
        let made = fs::metadata(bundle.rootfs().join("tmp/made")).unwrap();
        assert_eq!((made.uid(), made.gid()), (100_000, 100_000));
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn processes_of_a_user_namespace_are_its_users() {
    let bundle = with_user_namespace(TestBundle::minimal())
        .with(
            "/process/user",
            json!({"uid": 5000, "gid": 7, "additionalGids": [8]}),
        )
        .script("id -u; id -g; echo up > /up; sleep 1000");
    let mut up = bundle.bell("up");
    bundle.run_detached().ok();
    up.wait();
    assert_eq!(bundle.output(), "5000\n7\n");
    let owner = fs::metadata(format!("/proc/{}", bundle.pid()))
        .unwrap()
        .uid();
    assert_eq!(owner, 205_000);
    assert_eq!(
        bundle
            .exec_script("id -u; readlink /proc/self/ns/user")
            .ok()
            .lines()
            .next(),
        Some("5000")
    );
    let inside = fs::read_link(format!("/proc/{}/ns/user", bundle.pid())).unwrap();
    assert!(
        bundle
            .exec_script("readlink /proc/self/ns/user")
            .ok()
            .ends_with(inside.to_str().unwrap())
    );
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_time_namespace_has_its_offsets() {
    let bundle = TestBundle::minimal()
        .adding("/linux/namespaces", json!({"type": "time"}))
        .with(
            "/linux/timeOffsets",
            json!({"boottime": {"secs": 5_000_000, "nanosecs": 0}}),
        )
        .args(["cat", "/proc/uptime"]);
    let outcome = bundle.run();
    let uptime: f64 = outcome.ok().split(' ').next().unwrap().parse().unwrap();
    assert!(uptime > 5_000_000.0, "{uptime}");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn parameters_of_the_containers_namespaces_are_set() {
    let bundle = TestBundle::minimal()
        .with("/linux/sysctl", json!({"net.ipv4.ip_forward": "1", "kernel.shmmax": "4096", "net/ipv4/ip_default_ttl": "77"}))
        .args(["cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shmmax", "/proc/sys/net/ipv4/ip_default_ttl"]);
    assert_eq!(bundle.run().ok(), "1\n4096\n77");
    let bundle = bundle.with("/linux/sysctl", json!({"net.ipv4.no_such_thing": "1"}));
    bundle
        .run()
        .refused(1, &["net.ipv4.no_such_thing", "no such file or directory"]);
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_loopback_device_of_a_new_network_is_up() {
    let outcome = TestBundle::minimal().args(["cat", "/proc/net/dev"]).run();
    let devices: Vec<&str> = outcome.ok().lines().skip(2).collect();
    assert!(
        devices
            .iter()
            .any(|line| line.trim_start().starts_with("lo:"))
    );
    let flags = TestBundle::minimal()
        .adding(
            "/mounts",
            json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]}),
        )
        .args(["cat", "/sys/class/net/lo/flags"])
        .run();
    assert_eq!(flags.ok(), "0x9", "up and loopback");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_namespace_given_twice_is_refused() {
    let bundle = TestBundle::minimal().adding("/linux/namespaces", json!({"type": "ipc"}));
    bundle.run().refused(1, &["duplicated", "ipc"]);
    drop(bundle);
    let bundle = TestBundle::minimal().with("/linux/namespaces", json!([{"type": "nonsense"}]));
    bundle.run().refused(1, &["config.json", "nonsense"]);
}
