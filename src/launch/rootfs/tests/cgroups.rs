//! Mounts of type cgroup.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::container::{Container, can_write, mounted};
use crate::launch::rootfs::CgroupView;

fn with_cgroup(options: serde_json::Value) -> Container {
    Container::new().mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options
    }))
}

const USUAL: [&str; 4] = ["nosuid", "noexec", "nodev", "relatime"];

#[test]
#[ignore = "needs root: mounts"]
fn version_2_is_a_mount_of_its_own() {
    let container = with_cgroup(json!(["nosuid", "noexec", "nodev", "relatime", "ro"]))
        .namespace("cgroup")
        .cgroup(CgroupView::Unified { path: None });
    let outcome = container.run(|_| {
        let inside = Path::new("/sys/fs/cgroup/cgroup.procs").exists();
        format!("{} {inside}", mounted("/sys/fs/cgroup"))
    });
    assert_eq!(
        outcome.as_deref(),
        Ok("ro,nosuid,nodev,noexec,relatime cgroup2 true")
    );
}

#[test]
#[ignore = "needs root: mounts"]
fn version_2_without_a_cgroup_namespace_is_bound_read_only_in_a_user_namespace() {
    // CVE-2023-25809.
    let container = with_cgroup(json!(USUAL))
        .user_namespace()
        .cgroup(CgroupView::Unified { path: None });
    let outcome = container.run(|_| {
        let flags = mounted("/sys/fs/cgroup");
        format!(
            "{} {}",
            flags.starts_with("ro,"),
            can_write("/sys/fs/cgroup/new")
        )
    });
    assert_eq!(outcome.as_deref(), Ok("true false"));
}

#[test]
#[ignore = "needs root: mounts, cgroup v1"]
fn version_1_has_a_directory_for_each_hierarchy() {
    let host = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let expected = host
        .lines()
        .filter(|line| line.contains(" - cgroup "))
        .count();
    for own in [false, true] {
        let mut container = with_cgroup(json!(["nosuid", "noexec", "nodev", "ro"]));
        if own {
            container = container.namespace("cgroup");
        }
        let outcome = container.run(|_| {
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
            let found = mounts.lines().filter(|line| {
                line.contains(" /sys/fs/cgroup/")
                    && line.contains(" - cgroup ")
                    && line.contains(" ro,")
            });
            format!("{} {}", found.count(), can_write("/sys/fs/cgroup/new"))
        });
        assert_eq!(outcome, Ok(format!("{expected} false")), "{own}");
    }
}
