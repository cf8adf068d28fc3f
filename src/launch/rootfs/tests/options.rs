//! What the options of a mount come to.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use super::container::{Container, can_write, mounted};

const NONE: Option<&str> = None;

/// A container with a directory `source` of the host bound on /at, with these options.
fn bound(options: Value) -> Container {
    let container = Container::new().mount(json!({
        "destination": "/at", "type": "bind", "source": "source", "options": options
    }));
    fs::create_dir(container.host("source")).unwrap();
    container
}

/// A mount on the source, and one below it, before anything else is done.
fn mount_on_source(dir: &Path) {
    let tmpfs = Some("tmpfs");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOATIME;
    mount(tmpfs, &dir.join("source"), tmpfs, flags, NONE).unwrap();
    fs::create_dir(dir.join("source/below")).unwrap();
    mount(
        tmpfs,
        &dir.join("source/below"),
        tmpfs,
        MsFlags::empty(),
        NONE,
    )
    .unwrap();
}

fn seen(container: &Container, path: &'static str) -> String {
    container.run(|_| mounted(path)).unwrap()
}

#[test]
#[ignore = "needs root: mounts"]
fn a_bind_without_flags_is_as_its_source() {
    let container = bound(json!(["rbind"])).before(mount_on_source);
    assert_eq!(seen(&container, "/at"), "rw,nosuid,noatime tmpfs");
    assert_eq!(seen(&container, "/at/below"), "rw,relatime tmpfs");
    let container = bound(json!(["bind"])).before(mount_on_source);
    assert_eq!(seen(&container, "/at/below"), "");
}

#[test]
#[ignore = "needs root: mounts"]
fn a_flag_clears_the_others_of_the_source() {
    let container = bound(json!(["rbind", "ro", "nodev"])).before(mount_on_source);
    assert_eq!(seen(&container, "/at"), "ro,nodev,noatime tmpfs");
    assert_eq!(seen(&container, "/at/below"), "rw,relatime tmpfs");
}

#[test]
#[ignore = "needs root: mounts"]
fn recursive_flags_reach_the_mounts_below() {
    let container = bound(json!(["rbind", "rro", "rnoexec", "rnoatime"])).before(mount_on_source);
    assert_eq!(seen(&container, "/at"), "ro,nosuid,noexec,noatime tmpfs");
    assert_eq!(seen(&container, "/at/below"), "ro,noexec,noatime tmpfs");
}

#[test]
#[ignore = "needs root: mounts"]
fn every_flag_of_a_mount_arrives() {
    let flags = [
        ("nosuid", "rw,nosuid,relatime"),
        ("nodev", "rw,nodev,relatime"),
        ("noexec", "rw,noexec,relatime"),
        ("noatime", "rw,noatime"),
        ("nodiratime", "rw,nodiratime,relatime"),
        ("strictatime", "rw"),
        ("nosymfollow", "rw,relatime,nosymfollow"),
        ("ro", "ro,relatime"),
        ("sync", "rw,relatime"),
        ("dirsync", "rw,relatime"),
        ("mand", "rw,relatime"),
        ("lazytime", "rw,relatime"),
        ("silent", "rw,relatime"),
        ("defaults", "rw,relatime"),
        ("rnosuid", "rw,nosuid,relatime"),
    ];
    for (option, expected) in flags {
        let container = Container::new().mount(json!({
            "destination": "/at", "type": "tmpfs", "source": "x", "options": [option]
        }));
        assert_eq!(
            seen(&container, "/at"),
            format!("{expected} tmpfs"),
            "{option}"
        );
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn options_of_the_file_system_itself_arrive() {
    let container = Container::new().mount(json!({
        "destination": "/at", "type": "tmpfs", "source": "x", "options": ["sync", "dirsync", "size=64k", "mode=0701"]
    }));
    let outcome = container.run(|_| {
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = text.lines().find(|line| line.contains(" /at ")).unwrap();
        let mode = fs::metadata("/at").unwrap().mode() & 0o7777;
        format!("{mode:o} {}", line.split_once(" - ").unwrap().1)
    });
    let outcome = outcome.unwrap();
    assert!(
        outcome.starts_with("701 tmpfs x rw,sync,dirsync,size=64k,mode=701"),
        "{outcome}"
    );
}

#[test]
#[ignore = "needs root: mounts"]
fn propagation_is_applied_in_order() {
    let container = bound(json!(["rbind", "rprivate"])).before(mount_on_source);
    assert_eq!(seen(&container, "/at"), "rw,nosuid,noatime tmpfs");
    let container = bound(json!(["rbind", "rshared"])).before(mount_on_source);
    assert!(seen(&container, "/at").contains("shared:"));
    assert!(seen(&container, "/at/below").contains("shared:"));
    let container = bound(json!(["rbind", "shared"])).before(mount_on_source);
    assert!(!seen(&container, "/at/below").contains("shared:"));
    let container = bound(json!(["bind", "unbindable"]));
    assert!(seen(&container, "/at").contains("unbindable"));
}

#[test]
#[ignore = "needs root: mounts"]
fn a_slave_hears_of_a_shared_source() {
    fn share(dir: &Path) {
        let tmpfs = Some("tmpfs");
        mount(tmpfs, &dir.join("source"), tmpfs, MsFlags::empty(), NONE).unwrap();
        mount(NONE, &dir.join("source"), NONE, MsFlags::MS_SHARED, NONE).unwrap();
        // Another one of its peers, which is still there after the pivot.
        let peer = dir.join("rootfs/tmp");
        mount(
            Some(&dir.join("source")),
            &peer,
            NONE,
            MsFlags::MS_BIND,
            NONE,
        )
        .unwrap();
    }
    for (options, expected) in [
        (json!(["bind", "rslave"]), true),
        (json!(["bind", "rprivate"]), false),
    ] {
        let container = bound(options)
            .linux("rootfsPropagation", json!("shared"))
            .before(share);
        let seen = seen(&container, "/at");
        assert_eq!(seen.contains("master:"), expected, "{seen}");
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn the_root_gets_the_propagation_asked_for() {
    for (word, expected) in [
        ("shared", "shared:"),
        ("rshared", "shared:"),
        ("unbindable", "unbindable"),
    ] {
        let container = Container::new().linux("rootfsPropagation", json!(word));
        let seen = seen(&container, "/");
        assert!(seen.contains(expected), "{word}: {seen}");
    }
    for word in ["private", "rprivate", "slave", "rslave"] {
        let container = Container::new().linux("rootfsPropagation", json!(word));
        let seen = seen(&container, "/");
        assert!(
            !seen.contains("shared") && !seen.contains("unbindable"),
            "{word}: {seen}"
        );
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn a_file_is_bound_on_a_file_that_is_made() {
    let container = Container::new().mount(json!({
        "destination": "/new/dir/file", "source": "plain", "options": ["bind", "ro"]
    }));
    fs::write(container.host("plain"), "of the host").unwrap();
    let outcome = container.run(|_| {
        let written = can_write("/new/dir/file");
        format!("{} {written}", fs::read_to_string("/new/dir/file").unwrap())
    });
    assert_eq!(outcome.as_deref(), Ok("of the host false"));
    let made = fs::metadata(container.rootfs().join("new/dir/file")).unwrap();
    assert_eq!(made.permissions().mode(), 0o100_644);
    let parent = fs::metadata(container.rootfs().join("new")).unwrap();
    assert_eq!(parent.permissions().mode(), 0o40755);
}

#[test]
#[ignore = "needs root: mounts"]
fn a_missing_source_is_named_and_leaves_no_mount_point() {
    let container = Container::new().mount(json!({
        "destination": "/new", "source": "/no/such/thing", "options": ["bind"]
    }));
    let error = container.run(|_| String::new()).unwrap_err();
    let expected = "error mounting \"/no/such/thing\" to rootfs at \"/new\": cannot open bind source \"/no/such/thing\": \
                    no such file or directory";
    assert_eq!(error, expected);
    assert!(!container.rootfs().join("new").exists());
}

#[test]
#[ignore = "needs root: mounts"]
fn a_file_over_a_directory_is_an_error() {
    let container = Container::new().mount(json!({
        "destination": "/tmp", "source": "plain", "options": ["bind"]
    }));
    fs::write(container.host("plain"), "").unwrap();
    let error = container.run(|_| String::new()).unwrap_err();
    assert!(error.contains("cannot attach the mount"), "{error}");
}

#[test]
#[ignore = "needs root: mounts"]
fn an_option_that_the_file_system_does_not_know_is_named() {
    let container = Container::new().mount(json!({
        "destination": "/at", "type": "tmpfs", "source": "x", "options": ["colour=red"]
    }));
    let error = container.run(|_| String::new()).unwrap_err();
    assert!(
        error.contains("refuses the option \"colour=red\""),
        "{error}"
    );
    assert!(error.contains("Unknown parameter"), "{error}");
    let container = Container::new().mount(json!({"destination": "/at", "type": "nosuchfs"}));
    let error = container.run(|_| String::new()).unwrap_err();
    assert!(
        error.contains("cannot use filesystem type \"nosuchfs\""),
        "{error}"
    );
}

#[test]
#[ignore = "needs root: mounts"]
fn a_mount_needs_neither_source_nor_type_beside_a_bind() {
    let container = Container::new().mount(json!({"destination": "/at", "type": "tmpfs"}));
    assert_eq!(seen(&container, "/at"), "rw,relatime tmpfs");
    let container = Container::new().mount(json!({
        "destination": "/at", "source": "/sys", "options": ["rbind", "ro"]
    }));
    assert!(seen(&container, "/at").starts_with("ro"));
}

#[test]
#[ignore = "needs root: mounts"]
fn a_tmpfs_takes_the_mode_of_the_directory_it_covers() {
    let container = Container::new().mount(json!({"destination": "/tmp", "type": "tmpfs"}));
    fs::set_permissions(
        container.rootfs().join("tmp"),
        fs::Permissions::from_mode(0o1770),
    )
    .unwrap();
    let outcome = container.run(|_| format!("{:o}", fs::metadata("/tmp").unwrap().mode()));
    assert_eq!(outcome.as_deref(), Ok("41770"));
}

#[test]
#[ignore = "needs root: mounts"]
fn read_only_tmpfs_and_dev_are_set_up_before_they_become_so() {
    let container = Container::new()
        .mount(json!({"destination": "/at", "type": "tmpfs", "options": ["ro", "nodev"]}))
        .mount(json!({"destination": "/at/below/deep", "type": "tmpfs"}));
    assert_eq!(seen(&container, "/at"), "ro,nodev,relatime tmpfs");
    assert_eq!(seen(&container, "/at/below/deep"), "rw,relatime tmpfs");
    let container = Container::new().mounts(json!([
        {"destination": "/proc", "type": "proc"},
        {"destination": "/dev", "type": "tmpfs", "options": ["ro", "mode=755"]}
    ]));
    let outcome = container.run(|_| {
        format!(
            "{} {} {}",
            mounted("/dev"),
            can_write("/dev/new"),
            Path::new("/dev/null").exists()
        )
    });
    assert_eq!(outcome.as_deref(), Ok("ro,relatime tmpfs false true"));
}

#[test]
#[ignore = "needs root: mounts"]
fn copying_up_keeps_owners_modes_attributes_and_links() {
    let container = Container::new().mount(json!({
        "destination": "/etc", "type": "tmpfs", "options": ["tmpcopyup", "ro"]
    }));
    let etc = container.rootfs().join("etc");
    fs::create_dir(etc.join("dir")).unwrap();
    fs::write(etc.join("dir/tool"), "run me").unwrap();
    std::os::unix::fs::chown(etc.join("dir/tool"), Some(12), Some(34)).unwrap();
    fs::set_permissions(etc.join("dir/tool"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::set_permissions(etc.join("dir"), fs::Permissions::from_mode(0o1701)).unwrap();
    symlink("dir/tool", etc.join("link")).unwrap();
    let file = fs::File::open(etc.join("image")).unwrap();
    let file = std::os::fd::AsFd::as_fd(&file);
    crate::sys::mount::set_xattr(file, c"security.tandem", b"kept").unwrap();
    let outcome = container.run(|_| {
        let tool = fs::metadata("/etc/link").unwrap();
        let dir = fs::metadata("/etc/dir").unwrap();
        let image = fs::File::open("/etc/image").unwrap();
        let image = std::os::fd::AsFd::as_fd(&image);
        let value = crate::sys::mount::get_xattr(image, c"security.tandem").unwrap();
        format!(
            "{} {} {:o} {:o} {} {}",
            tool.uid(),
            tool.gid(),
            tool.mode(),
            dir.mode(),
            String::from_utf8_lossy(&value),
            can_write("/etc/image"),
        )
    });
    assert_eq!(outcome.as_deref(), Ok("12 34 104750 41701 kept false"));
}

#[test]
#[ignore = "needs root: mounts"]
fn a_remount_changes_an_earlier_mount() {
    let first = json!({"destination": "/at", "type": "tmpfs", "options": ["nodev", "size=64k"]});
    let container = Container::new().mount(first.clone()).mount(json!({
        "destination": "/at", "type": "tmpfs", "options": ["remount", "nosuid", "size=128k"]
    }));
    let outcome = container.run(|_| {
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let count = text.lines().filter(|line| line.contains(" /at ")).count();
        format!("{count} {} {}", mounted("/at"), text.contains("size=128k"))
    });
    assert_eq!(outcome.as_deref(), Ok("1 rw,nosuid,relatime tmpfs true"));
    let container = Container::new().mount(first).mount(json!({
        "destination": "/at", "source": "x", "options": ["bind", "remount", "ro"]
    }));
    assert_eq!(seen(&container, "/at"), "ro,relatime tmpfs");
}

#[test]
#[ignore = "needs root: mounts"]
fn ids_are_mapped_by_the_maps_of_the_mount() {
    let container = Container::new().mount(json!({
        "destination": "/at", "source": "source", "options": ["bind"],
        "uidMappings": [{"containerID": 0, "hostID": 5000, "size": 100}],
        "gidMappings": [{"containerID": 0, "hostID": 6000, "size": 100}]
    }));
    fs::create_dir(container.host("source")).unwrap();
    fs::write(container.host("source/file"), "").unwrap();
    std::os::unix::fs::chown(container.host("source/file"), Some(3), Some(4)).unwrap();
    let outcome = container.run(|_| {
        let meta = fs::metadata("/at/file").unwrap();
        format!("{} {}", meta.uid(), meta.gid())
    });
    assert_eq!(outcome.as_deref(), Ok("5003 6004"));
}

#[test]
#[ignore = "needs root: mounts"]
fn a_mount_can_have_an_earlier_one_as_its_source() {
    let container = Container::new()
        .mount(json!({"destination": "/first", "source": "source", "options": ["bind"]}))
        .mount(
            json!({"destination": "/second", "source": "rootfs/first", "options": ["rbind", "ro"]}),
        )
        .mount(json!({
            "destination": "/third", "source": "rootfs/first", "options": ["rbind"],
            "uidMappings": [{"containerID": 0, "hostID": 5000, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": 6000, "size": 1}]
        }));
    fs::create_dir(container.host("source")).unwrap();
    fs::write(container.host("source/file"), "").unwrap();
    let outcome = container.run(|_| {
        let (second, third) = (fs::metadata("/second/file"), fs::metadata("/third/file"));
        format!("{} {}", second.unwrap().uid(), third.unwrap().uid())
    });
    assert_eq!(outcome.as_deref(), Ok("0 5000"));
}

#[test]
#[ignore = "needs root: mounts"]
fn without_a_pivot_the_hosts_proc_is_out_of_reach() {
    let outcome = Container::new().no_pivot().run(|_| {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let procs = mounts.lines().filter(|line| line.contains(" - proc "));
        format!("{} {}", procs.count(), Path::new("/etc/image").exists())
    });
    assert_eq!(outcome.as_deref(), Ok("1 true"));
}

#[test]
#[ignore = "needs root: mounts"]
fn without_a_mount_namespace_the_root_is_entered_by_chroot() {
    let container = Container::new()
        .without_namespace("mount")
        .set("root", json!({"path": "rootfs", "readonly": true}));
    let outcome = container.run(|_| {
        let there = Path::new("/etc/image").exists();
        format!(
            "{there} {} {}",
            Path::new("/dev/null").exists(),
            can_write("/new")
        )
    });
    assert_eq!(outcome.as_deref(), Ok("true true false"));
}

#[test]
#[ignore = "needs root: mounts"]
fn a_bound_dev_is_left_as_it_is() {
    let container = Container::new().mounts(json!([
        {"destination": "/proc", "type": "proc"},
        {"destination": "/dev", "source": "theirs", "options": ["bind"]}
    ]));
    fs::create_dir(container.host("theirs")).unwrap();
    fs::write(container.host("theirs/ptmx"), "theirs").unwrap();
    container.run(|_| String::new()).unwrap();
    let left: Vec<_> = fs::read_dir(container.host("theirs")).unwrap().collect();
    assert_eq!(left.len(), 1);
}

#[test]
#[ignore = "needs root: mounts"]
fn devices_of_the_config_are_made_where_they_are_asked_for() {
    let container = Container::new().linux("devices", json!([
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 7, "gid": 8},
        {"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200},
        {"path": "/somewhere/pipe", "type": "p", "fileMode": 0o640},
        {"path": "/dev/block", "type": "b", "major": 7, "minor": 200, "fileMode": 0o660}
    ]));
    let outcome = container.run(|_| {
        ["/dev/null", "/dev/net/tun", "/somewhere/pipe", "/dev/block"]
            .map(|path| {
                let meta = fs::symlink_metadata(path).unwrap();
                format!("{:o} {} {}", meta.mode(), meta.uid(), meta.gid())
            })
            .join("\n")
    });
    assert_eq!(
        outcome.as_deref(),
        Ok("20600 7 8\n20666 0 0\n10640 0 0\n60660 0 0")
    );
}

#[test]
#[ignore = "needs root: mounts"]
fn another_file_where_a_node_belongs_is_an_error() {
    let container = Container::new().mounts(json!([{"destination": "/proc", "type": "proc"}]));
    fs::write(container.rootfs().join("dev/zero"), "").unwrap();
    let error = container.run(|_| String::new()).unwrap_err();
    assert!(
        error.contains("there is another file at \"/dev/zero\""),
        "{error}"
    );
}

#[test]
#[ignore = "needs root: mounts"]
fn a_node_of_the_image_that_is_right_is_kept() {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let container = Container::new().mounts(json!([{"destination": "/proc", "type": "proc"}]));
    let zero = container.rootfs().join("dev/zero");
    mknod(
        &zero,
        SFlag::S_IFCHR,
        Mode::from_bits_truncate(0o600),
        makedev(1, 5),
    )
    .unwrap();
    let outcome = container.run(|_| format!("{:o}", fs::metadata("/dev/zero").unwrap().mode()));
    assert_eq!(outcome.as_deref(), Ok("20600"));
}

#[test]
#[ignore = "needs root: mounts"]
fn a_mount_on_a_default_node_takes_its_place() {
    let container = Container::new().mount(json!({
        "destination": "/dev/random", "source": "/dev/urandom", "options": ["bind"]
    }));
    let outcome = container.run(|_| {
        let rdev = fs::metadata("/dev/random").unwrap().rdev();
        nix::sys::stat::minor(rdev).to_string()
    });
    assert_eq!(outcome.as_deref(), Ok("9"));
}
