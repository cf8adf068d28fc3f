//! The root file system: mounts, devices, masked and read-only paths.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::support::{Hierarchy, TestBundle};

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_default_devices_and_links_are_there_and_work() {
    let outcome = TestBundle::minimal()
        .script(
            "for d in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$d; done
             for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done
             echo x > /dev/null; dd if=/dev/zero bs=1 count=3 2> /dev/null | wc -c; ls /dev/shm 2> /dev/null",
        )
        .run();
    let text = outcome.stdout;
    let expected = "/dev/null 1:3 666\n/dev/zero 1:5 666\n/dev/full 1:7 666\n/dev/random 1:8 666\n\
        /dev/urandom 1:9 666\n/dev/tty 5:0 666\n\
        /proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n3\n";
    assert_eq!(text, expected);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn other_devices_cannot_be_used_unless_allowed() {
    for hierarchy in Hierarchy::all() {
        let mut bundle = TestBundle::on(hierarchy)
            .adding("/process/capabilities/bounding", json!("CAP_MKNOD"))
            .adding("/process/capabilities/effective", json!("CAP_MKNOD"))
            .adding("/process/capabilities/permitted", json!("CAP_MKNOD"))
            .script("mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg; dd if=/tmp/kmsg of=/dev/null bs=1 count=1; rm -f /tmp/kmsg");
        if hierarchy == Hierarchy::V1 && !bundle.controller("devices") {
            continue;
        }
        let outcome = bundle.run();
        assert!(
            outcome.stderr.contains("Operation not permitted"),
            "{hierarchy:?} {outcome:?}"
        );
        bundle.set(
            "/linux/resources/devices",
            json!([
                {"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"},
            ]),
        );
        bundle = bundle.script("dd if=/dev/null of=/tmp/x 2> /dev/null && echo read; mknod /tmp/n c 1 3 2> /dev/null && echo made; rm -f /tmp/n");
        assert!(bundle.run().stdout.contains("read"), "{hierarchy:?}");
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn devices_of_the_config_are_made_as_it_says() {
    let outcome = TestBundle::minimal()
        .with(
            "/linux/devices",
            json!([
                {"path": "/dev/own", "type": "c", "major": 1, "minor": 7, "fileMode": 0o640, "uid": 1, "gid": 2},
                {"path": "/dev/deep/er", "type": "b", "major": 7, "minor": 0},
                {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
            ]),
        )
        .script("stat -c '%F %t:%T %a %u:%g' /dev/own; stat -c '%F %t:%T' /dev/deep/er; stat -c '%F %a' /dev/pipe")
        .run();
    assert_eq!(
        outcome.ok(),
        "character special file 1:7 640 1:2\nblock special file 7:0\nfifo 600"
    );
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn mounts_come_in_their_order_with_their_options() {
    let bundle = TestBundle::minimal();
    fs::create_dir(bundle.path("source")).unwrap();
    fs::write(bundle.path("source/file"), "from the host").unwrap();
    let source = bundle.path("source").display().to_string();
    let bundle = bundle
        .adding("/mounts", json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k", "nodev", "mode=700"]}))
        .adding("/mounts", json!({"destination": "/data/bound", "type": "bind", "source": source, "options": ["rbind", "ro", "noexec"]}))
        .adding("/mounts", json!({"destination": "/data/file", "type": "bind", "source": format!("{source}/file"), "options": ["bind"]}))
        .script("cat /data/bound/file /data/file; echo; touch /data/bound/x; grep ' /data' /proc/self/mountinfo | cut -d' ' -f5,6");
    let outcome = bundle.run();
    assert!(
        outcome.stdout.starts_with("from the hostfrom the host\n"),
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains("Read-only file system"));
    let lines: Vec<_> = outcome.stdout.lines().skip(1).collect();
    assert!(
        lines[0].starts_with("/data rw,") && lines[0].contains("nodev"),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("/data/bound ro,") && lines[1].contains("noexec"),
        "{lines:?}"
    );
    assert!(lines[2].starts_with("/data/file rw"), "{lines:?}");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_read_only_root_is_read_only() {
    let bundle = TestBundle::minimal()
        .with("/root/readonly", json!(true))
        .script("touch /new; touch /dev/new && echo dev; echo done");
    let outcome = bundle.run();
    assert_eq!(outcome.ok(), "dev\ndone");
    assert!(
        outcome.stderr.contains("Read-only file system"),
        "{}",
        outcome.stderr
    );
    assert!(!bundle.rootfs().join("new").exists());
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn masked_and_read_only_paths_are_so() {
    let bundle = TestBundle::minimal()
        .with("/linux/maskedPaths", json!(["/etc/secret", "/etc/secrets", "/proc/kcore", "/nowhere"]))
        .with("/linux/readonlyPaths", json!(["/proc/sys", "/tmp/fixed", "/nowhere"]))
        .image(|rootfs| {
            fs::write(rootfs.join("etc/secret"), "secret").unwrap();
            fs::create_dir_all(rootfs.join("etc/secrets/more")).unwrap();
            fs::create_dir(rootfs.join("tmp/fixed")).unwrap();
        })
        .script(
            "cat /etc/secret; ls /etc/secrets; dd if=/proc/kcore bs=1 count=1 2> /dev/null | wc -c
             touch /etc/secrets/x; touch /tmp/fixed/x; echo 1 > /proc/sys/net/ipv4/ip_forward; echo end",
        );
    let outcome = bundle.run();
    assert_eq!(outcome.ok(), "0\nend");
    assert_eq!(
        outcome.stderr.matches("Read-only file system").count(),
        3,
        "{}",
        outcome.stderr
    );
    assert_eq!(
        fs::read_dir(bundle.rootfs().join("tmp/fixed"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn nothing_of_the_host_is_visible() {
    let bundle = TestBundle::minimal().script("ls -A / | sort | tr '\\n' ' '; ls /..; cut -d' ' -f5 /proc/self/mountinfo | sort | tr '\\n' ' '");
    let outcome = bundle.run();
    assert!(
        outcome.ok().starts_with("bin dev etc proc sys tmp "),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.ok().ends_with("/ /dev /dev/pts /proc"),
        "{}",
        outcome.stdout
    );
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_root_without_pivot_is_a_root_too() {
    let bundle = TestBundle::minimal().script("ls -A / | sort | tr '\\n' ' '");
    let outcome = bundle.tandem(&["run", "--no-pivot", "one"]);
    assert_eq!(outcome.ok(), "bin dev etc proc sys tmp");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn cgroup_mounts_show_the_containers_own() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy)
            .adding("/mounts", json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}))
            .adding("/mounts", json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}))
            .script("ls -d /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/pids/cgroup.procs 2> /dev/null; cat /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/pids/cgroup.procs 2> /dev/null | grep -x 1; mkdir /sys/fs/cgroup/x /sys/fs/cgroup/pids/x");
        let outcome = bundle.run();
        let file = match hierarchy {
            Hierarchy::V2 => "/sys/fs/cgroup/cgroup.procs",
            Hierarchy::V1 => "/sys/fs/cgroup/pids/cgroup.procs",
        };
        assert_eq!(outcome.stdout, format!("{file}\n1\n"), "{outcome:?}");
        assert!(
            outcome.stderr.contains("Read-only file system"),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn propagation_of_the_root_is_that_of_the_config() {
    for (asked, seen) in [
        ("private", ""),
        ("slave", "master:"),
        ("shared", "shared:"),
        ("unbindable", "unbindable"),
    ] {
        let outcome = TestBundle::minimal()
            .with("/linux/rootfsPropagation", json!(asked))
            .args(["awk", "$5 == \"/\" {print $7}", "/proc/self/mountinfo"])
            .run();
        if asked == "slave" {
            // There is a master only if the host's mount is shared, and in the test it is not.
            assert!(!outcome.ok().contains("shared:"));
        } else {
            assert!(outcome.ok().contains(seen), "{asked}: {}", outcome.stdout);
        }
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn mount_points_are_made_inside_of_the_root_where_links_lead() {
    let bundle = TestBundle::minimal()
        .image(|rootfs| {
            fs::create_dir(rootfs.join("target")).unwrap();
            symlink("/target", rootfs.join("link")).unwrap();
        })
        .adding(
            "/mounts",
            json!({"destination": "/link/deep", "type": "tmpfs", "source": "tmpfs"}),
        )
        .args(["grep", "-c", " /target/deep ", "/proc/self/mountinfo"]);
    assert_eq!(bundle.run().ok(), "1");
}
