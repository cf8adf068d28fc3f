//! What every container gets.

use std::fs;

use serde_json::json;

use super::container::{Container, can_write, mounted};
use crate::launch::rootfs::CgroupView;

#[test]
#[ignore = "needs root: mounts"]
fn the_default_mounts_are_there_with_their_flags() {
    let seen = Container::new().run(|_| {
        [
            "/proc",
            "/dev",
            "/dev/pts",
            "/dev/shm",
            "/dev/mqueue",
            "/sys",
        ]
        .map(mounted)
        .join("\n")
    });
    let expected = "\
rw,relatime proc
rw,nosuid tmpfs
rw,nosuid,noexec,relatime devpts
rw,nosuid,nodev,noexec,relatime tmpfs
rw,nosuid,nodev,noexec,relatime mqueue
ro,nosuid,nodev,noexec,relatime sysfs";
    assert_eq!(seen.as_deref(), Ok(expected));
}

#[test]
#[ignore = "needs root: mounts"]
fn nothing_of_the_host_is_left_after_the_pivot() {
    let seen = Container::new().run(|_| {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut names: Vec<_> = fs::read_dir("/")
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        format!("{} {}", mounts.lines().count(), names.join(","))
    });
    assert_eq!(seen.as_deref(), Ok("7 bin,dev,etc,proc,sys,tmp"));
}

#[test]
#[ignore = "needs root: mounts"]
fn dev_has_the_default_nodes_and_links() {
    let seen = Container::new().run(|_| {
        use std::os::unix::fs::MetadataExt;
        let nodes = ["null", "zero", "full", "random", "urandom", "tty"].map(|name| {
            let meta = fs::symlink_metadata(format!("/dev/{name}")).unwrap();
            let (major, minor) = (
                nix::sys::stat::major(meta.rdev()),
                nix::sys::stat::minor(meta.rdev()),
            );
            format!("{name} {:o} {major}:{minor}", meta.mode())
        });
        let links = ["fd", "stdin", "stdout", "stderr", "ptmx"].map(|name| {
            let target = fs::read_link(format!("/dev/{name}")).unwrap();
            format!("{name} {}", target.display())
        });
        format!("{}\n{}", nodes.join("\n"), links.join("\n"))
    });
    let expected = "\
null 20666 1:3
zero 20666 1:5
full 20666 1:7
random 20666 1:8
urandom 20666 1:9
tty 20666 5:0
fd /proc/self/fd
stdin /proc/self/fd/0
stdout /proc/self/fd/1
stderr /proc/self/fd/2
ptmx pts/ptmx";
    assert_eq!(seen.as_deref(), Ok(expected));
}

#[test]
#[ignore = "needs root: mounts"]
fn masked_paths_are_empty_and_read_only_paths_refuse_writes() {
    let container = Container::new()
        .linux(
            "maskedPaths",
            json!([
                "/proc/kcore",
                "/proc/acpi",
                "/sys/firmware",
                "/gone",
                "/etc/image"
            ]),
        )
        .linux("readonlyPaths", json!(["/proc/sys", "/etc", "/gone"]));
    let seen = container.run(|_| {
        format!(
            "{} {:?} {} {} {}",
            fs::read_to_string("/etc/image").unwrap(),
            fs::read_dir("/sys/firmware").unwrap().count(),
            can_write("/proc/sys/kernel/domainname"),
            can_write("/etc/new"),
            can_write("/tmp/new"),
        )
    });
    assert_eq!(seen.as_deref(), Ok(" 0 false false true"));
}

#[test]
#[ignore = "needs root: mounts"]
fn a_read_only_root_leaves_its_mounts_writable() {
    let container = Container::new().set("root", json!({"path": "rootfs", "readonly": true}));
    let seen = container.run(|_| format!("{} {}", can_write("/new"), can_write("/dev/shm/new")));
    assert_eq!(seen.as_deref(), Ok("false true"));
}

#[test]
#[ignore = "needs root: mounts"]
fn the_config_of_runc_spec_works_as_a_whole() {
    let container = Container::new()
        .mount(
            json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}),
        )
        .namespace("cgroup")
        .cgroup(CgroupView::Unified { path: None })
        .set("root", json!({"path": "rootfs", "readonly": true}))
        .linux(
            "maskedPaths",
            json!([
                "/proc/acpi",
                "/proc/asound",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/sys/firmware",
                "/proc/scsi"
            ]),
        )
        .linux(
            "readonlyPaths",
            json!([
                "/proc/bus",
                "/proc/fs",
                "/proc/irq",
                "/proc/sys",
                "/proc/sysrq-trigger"
            ]),
        );
    let seen = container.run(|_| {
        // Not every kernel has them all.
        let files = ["/proc/kcore", "/proc/keys", "/proc/timer_list"].map(fs::read);
        let masked = files.iter().flatten().all(Vec::is_empty);
        format!("{masked} {}", can_write("/proc/sys/kernel/domainname"))
    });
    assert_eq!(seen.as_deref(), Ok("true false"));
}
