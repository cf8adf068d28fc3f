//! In a user namespace, where much is not allowed or out of reach.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use serde_json::json;

use super::container::{Container, can_write, mounted};

#[test]
#[ignore = "needs root: user namespaces"]
fn nodes_are_bound_from_the_host() {
    let outcome = Container::new().user_namespace().run(|_| {
        let nodes = ["null", "zero", "full", "random", "urandom", "tty"];
        let right = nodes.iter().filter(|name| {
            let path = format!("/dev/{name}");
            !mounted(&path).is_empty() && fs::metadata(path).unwrap().rdev() != 0
        });
        format!("{} {}", right.count(), can_write("/dev/null"))
    });
    assert_eq!(outcome.as_deref(), Ok("6 true"));
}

#[test]
#[ignore = "needs root: user namespaces"]
fn a_source_that_root_of_the_namespace_cannot_reach_is_opened_before() {
    let container = Container::new().user_namespace().mount(json!({
        "destination": "/at", "source": "hidden/source", "options": ["rbind", "ro"]
    }));
    fs::create_dir_all(container.host("hidden/source")).unwrap();
    fs::write(container.host("hidden/source/file"), "found").unwrap();
    let locked = fs::Permissions::from_mode(0o700);
    fs::set_permissions(container.host("hidden"), locked).unwrap();
    let outcome = container.run(|_| {
        format!(
            "{} {}",
            fs::read_to_string("/at/file").unwrap(),
            can_write("/at/new")
        )
    });
    assert_eq!(outcome.as_deref(), Ok("found false"));
}

#[test]
#[ignore = "needs root: user namespaces"]
fn an_idmapped_mount_takes_the_containers_own_maps() {
    let container = Container::new().user_namespace().mount(json!({
        "destination": "/at", "source": "source", "options": ["bind", "idmap"]
    }));
    fs::create_dir(container.host("source")).unwrap();
    fs::write(container.host("source/file"), "").unwrap();
    std::os::unix::fs::chown(container.host("source/file"), Some(3), Some(4)).unwrap();
    let outcome = container.run(|_| {
        let meta = fs::metadata("/at/file").unwrap();
        format!("{} {}", meta.uid(), meta.gid())
    });
    assert_eq!(outcome.as_deref(), Ok("3 4"));
}

#[test]
#[ignore = "needs root: user namespaces"]
fn on_the_hosts_network_sys_is_the_hosts_read_only_all_the_way_down() {
    let container = Container::new()
        .user_namespace()
        .without_namespace("network");
    let outcome = container.run(|_| {
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let sys = text.lines().filter(|line| line.contains(" /sys"));
        let writable = sys
            .clone()
            .filter(|line| !line.split(' ').nth(5).unwrap().starts_with("ro"));
        format!("{} {}", sys.count() > 1, writable.count())
    });
    assert_eq!(outcome.as_deref(), Ok("true 0"));
}

#[test]
#[ignore = "needs root: user namespaces"]
fn locked_flags_are_kept_and_cannot_be_cleared() {
    // mount_namespaces(7): the flags that a mount has when it is copied into the namespace are locked.
    fn lock(dir: &Path) {
        let tmpfs = Some("tmpfs");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
        mount(tmpfs, &dir.join("source"), tmpfs, flags, Some("mode=755")).unwrap();
    }
    let outcome = |options| {
        let container = Container::new()
            .user_namespace()
            .outside(lock)
            .mount(json!({
                "destination": "/at", "source": "source", "options": options
            }));
        fs::create_dir(container.host("source")).unwrap();
        container.run(|_| mounted("/at"))
    };
    let kept = outcome(json!(["bind", "ro"]));
    assert_eq!(kept.as_deref(), Ok("ro,nosuid,nodev,noatime tmpfs"));
    for option in ["dev", "suid", "relatime"] {
        let error = outcome(json!(["bind", option])).unwrap_err();
        assert!(error.contains("locked flags"), "{option}: {error}");
    }
}
