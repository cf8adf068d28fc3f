//! Images and volumes that want to reach the host. Each test builds one; the advisory is named where there is one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use super::container::{Container, chain};
use crate::launch::rootfs::ProcHandle;
use crate::sys::mount::forked;

/// The proc file system alone: /dev is what the image has.
fn bare() -> Container {
    Container::new().mounts(json!([{"destination": "/proc", "type": "proc", "source": "proc"}]))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A host directory with a file that the links of /dev would replace, and the image's /dev leading there.
fn dev_leads_to_host(container: &Container, link: &str) {
    let host = container.host("victim");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("ptmx"), "precious").unwrap();
    fs::remove_dir(container.rootfs().join("dev")).unwrap();
    let target = match link {
        "" => host,
        relative => relative.into(),
    };
    symlink(target, container.rootfs().join("dev")).unwrap();
}

#[test]
#[ignore = "needs root: mounts"]
fn a_dev_that_is_a_link_leaves_the_host_directory_alone() {
    // CVE-2026-41579, CVE-2026-47766.
    for link in ["", "../victim", "../../../../../../../victim"] {
        let container = bare();
        dev_leads_to_host(&container, link);
        let outcome = container.run(|_| format!("{}", Path::new("/dev/null").exists()));
        assert_eq!(outcome.as_deref(), Ok("true"), "{link}");
        let victim = container.host("victim");
        assert_eq!(names(&victim), ["ptmx"], "{link}");
        assert_eq!(fs::read_to_string(victim.join("ptmx")).unwrap(), "precious");
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn a_device_below_a_link_is_made_inside() {
    let container = bare().linux(
        "devices",
        json!([{"path": "/out/x/node", "type": "c", "major": 1, "minor": 3}]),
    );
    fs::create_dir(container.host("victim")).unwrap();
    symlink(container.host("victim"), container.rootfs().join("out")).unwrap();
    let outcome = container.run(|_| format!("{}", Path::new("/out/x/node").exists()));
    assert_eq!(outcome.as_deref(), Ok("true"));
    assert!(names(&container.host("victim")).is_empty());
}

#[test]
#[ignore = "needs root: mounts"]
fn a_mount_on_a_link_lands_inside() {
    // CVE-2019-18837.
    let container = Container::new().mount(json!({
        "destination": "/out/deep", "type": "tmpfs", "source": "tmpfs"
    }));
    fs::create_dir(container.host("victim")).unwrap();
    symlink(container.host("victim"), container.rootfs().join("out")).unwrap();
    let outcome = container.run(|_| {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let found = mounts.lines().filter(|line| line.contains("victim/deep"));
        found.count().to_string()
    });
    assert_eq!(outcome.as_deref(), Ok("1"));
    assert!(names(&container.host("victim")).is_empty());
}

#[test]
#[ignore = "needs root: mounts"]
fn proc_and_sys_are_not_mounted_through_links() {
    // CVE-2019-19921, CVE-2023-27561, CVE-2025-54867.
    for name in ["proc", "sys"] {
        let container = Container::new();
        fs::remove_dir(container.rootfs().join(name)).unwrap();
        symlink("/tmp", container.rootfs().join(name)).unwrap();
        let error = container.run(|_| String::new()).unwrap_err();
        assert!(
            error.contains("must be mounted on ordinary directory"),
            "{error}"
        );
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn nothing_but_a_proc_goes_on_proc() {
    // CVE-2019-16884.
    let volume = json!({"destination": "/proc", "source": "volume", "options": ["bind"]});
    let tmpfs = json!({"destination": "/proc", "type": "tmpfs", "source": "tmpfs"});
    for mount in [volume, tmpfs] {
        let container = Container::new().mount(mount);
        fs::create_dir_all(container.host("volume/self/attr")).unwrap();
        let error = container.run(|_| String::new()).unwrap_err();
        assert!(error.contains("is not of type proc"), "{error}");
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn a_real_proc_may_be_bound_on_proc() {
    let container = Container::new().mounts(json!([
        {"destination": "/proc", "source": "/proc", "options": ["rbind"]}
    ]));
    let outcome = container.run(|_| format!("{}", Path::new("/proc/self/status").exists()));
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[test]
#[ignore = "needs root: mounts"]
fn a_link_into_proc_is_no_way_around() {
    // CVE-2023-28642.
    for target in ["/proc/self/attr", "/proc/sys/kernel", "/proc/self"] {
        let container = Container::new().mount(json!({
            "destination": "/way", "type": "tmpfs", "source": "tmpfs"
        }));
        symlink(target, container.rootfs().join("way")).unwrap();
        let error = container.run(|_| String::new()).unwrap_err();
        assert!(error.contains("is inside /proc"), "{error}");
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn the_root_cannot_be_mounted_over() {
    for destination in ["/", "/..", "/way"] {
        let container = Container::new().mount(json!({
            "destination": destination, "type": "tmpfs", "source": "tmpfs"
        }));
        symlink("/", container.rootfs().join("way")).unwrap();
        let error = container.run(|_| String::new()).unwrap_err();
        assert!(error.contains("is on the top of rootfs"), "{error}");
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn masking_takes_nothing_else_for_dev_null() {
    // CVE-2025-31133.
    let container = bare().linux("maskedPaths", json!(["/etc/image"]));
    let null = container.rootfs().join("dev/null");
    symlink("/proc/sys/kernel/core_pattern", null).unwrap();
    let error = container.run(|_| String::new()).unwrap_err();
    assert!(error.contains("/dev/null"), "{error}");
}

#[test]
#[ignore = "needs root: mounts"]
fn dev_null_swapped_after_the_set_up_is_noticed() {
    // CVE-2025-31133: the container shares its /dev with another one that acts in between.
    let container = Container::new()
        .mounts(json!([
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "source": "shared", "options": ["bind"]}
        ]))
        .linux("maskedPaths", json!(["/etc/image"]));
    fs::create_dir(container.host("shared")).unwrap();
    let null = container.host("shared").join("null");
    symlink("/proc/sys/kernel/core_pattern", null).unwrap();
    let error = container.run(|_| String::new()).unwrap_err();
    assert!(
        error.contains("container's /dev/null is invalid"),
        "{error}"
    );
}

#[test]
#[ignore = "needs root: mounts"]
fn the_console_goes_on_no_link_and_takes_only_a_terminal() {
    // CVE-2025-52565.
    let pts = json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
        "options": ["newinstance", "ptmxmode=0666"]});
    let container = bare().mount(pts.clone());
    symlink(
        "/proc/sys/kernel/core_pattern",
        container.rootfs().join("dev/console"),
    )
    .unwrap();
    let outcome = container.run(|rootfs| {
        let (_master, slave) = rootfs.open_pty().unwrap();
        chain(
            &rootfs
                .dev_console(std::os::fd::AsFd::as_fd(&slave))
                .unwrap_err(),
        )
    });
    assert!(outcome.unwrap().contains("must not be a symbolic link"));

    let container = bare().mount(pts);
    let outcome = container.run(|rootfs| {
        let other = fs::File::open("/dev/null").unwrap();
        chain(
            &rootfs
                .dev_console(std::os::fd::AsFd::as_fd(&other))
                .unwrap_err(),
        )
    });
    assert!(outcome.unwrap().contains("not a pseudo terminal"));
}

#[test]
#[ignore = "needs root: mounts"]
fn a_multiplexer_of_the_image_is_not_opened() {
    // CVE-2025-52565.
    let container = bare();
    fs::create_dir(container.rootfs().join("dev/pts")).unwrap();
    symlink(
        "/proc/sys/kernel/core_pattern",
        container.rootfs().join("dev/pts/ptmx"),
    )
    .unwrap();
    let outcome = container.run(|rootfs| chain(&rootfs.open_pty().unwrap_err()));
    assert!(outcome.unwrap().contains("/dev/pts/ptmx"));
}

#[test]
#[ignore = "needs root: mounts"]
fn a_console_shows_the_terminal_it_was_given() {
    let outcome = Container::new().run(|rootfs| {
        use std::io::{Read, Write};
        let (master, slave) = rootfs.open_pty().unwrap();
        rootfs
            .dev_console(std::os::fd::AsFd::as_fd(&slave))
            .unwrap();
        let mut console = fs::OpenOptions::new()
            .write(true)
            .open("/dev/console")
            .unwrap();
        console.write_all(b"hello").unwrap();
        let mut heard = [0; 5];
        fs::File::from(master).read_exact(&mut heard).unwrap();
        String::from_utf8_lossy(&heard).into_owned()
    });
    assert_eq!(outcome.as_deref(), Ok("hello"));
}

/// Swaps a directory and a link to the victim, over and over, as another container on the same volume would.
fn swap_for_ever(volume: &Path) -> i32 {
    use nix::fcntl::{RenameFlags, renameat2};
    let (one, other) = (volume.join("dir"), volume.join("link"));
    loop {
        let swapped = renameat2(None, &one, None, &other, RenameFlags::RENAME_EXCHANGE);
        if swapped.is_err() {
            return 1;
        }
    }
}

#[test]
#[ignore = "needs root: mounts"]
fn a_mount_point_swapped_for_a_link_never_leads_outside() {
    // CVE-2021-30465, CVE-2024-45310.
    let container = Container::new()
        .mount(json!({"destination": "/volume/dir/made/deep", "type": "tmpfs", "source": "tmpfs"}))
        .mount(json!({"destination": "/volume/dir/file", "source": "/etc/hostname", "options": ["bind"]}));
    let volume = container.rootfs().join("volume");
    let victim = container.host("victim");
    fs::create_dir_all(volume.join("dir")).unwrap();
    fs::create_dir(&victim).unwrap();
    symlink(&victim, volume.join("link")).unwrap();
    let swapper = forked(|| swap_for_ever(&volume)).unwrap();
    let outcomes: Vec<_> = (0..100).map(|_| container.run(|_| String::new())).collect();
    nix::sys::signal::kill(swapper, nix::sys::signal::Signal::SIGKILL).unwrap();
    nix::sys::wait::waitpid(swapper, None).unwrap();
    assert!(names(&victim).is_empty(), "{:?}", names(&victim));
    assert!(outcomes.iter().any(Result::is_ok), "{:?}", outcomes[0]);
}

#[test]
#[ignore = "needs root: mounts"]
fn a_write_below_proc_reaches_the_kernel_or_fails() {
    // CVE-2025-52881: something is mounted over the file that is to be written.
    let container = Container::new().before(|_| {
        let (tmpfs, none) = (Some("tmpfs"), None::<&str>);
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(tmpfs, "/proc/sys/kernel", tmpfs, flags, none).unwrap();
        fs::write("/proc/sys/kernel/domainname", "fake").unwrap();
        let proc = ProcHandle::open().unwrap();
        proc.write(Path::new("sys/kernel/domainname"), "real")
            .unwrap();
        assert_eq!(
            fs::read_to_string("/proc/sys/kernel/domainname").unwrap(),
            "fake"
        );
    });
    let outcome = container.run(|_| fs::read_to_string("/proc/sys/kernel/domainname").unwrap());
    assert_eq!(outcome.as_deref(), Ok("real\n"));
}

#[test]
#[ignore = "needs root: mounts"]
fn a_tmpfs_in_place_of_proc_is_noticed() {
    let container = Container::new().before(|_| {
        let (tmpfs, none) = (Some("tmpfs"), None::<&str>);
        nix::mount::mount(tmpfs, "/proc", tmpfs, nix::mount::MsFlags::empty(), none).unwrap();
        assert!(ProcHandle::open().is_err());
        nix::mount::umount("/proc").unwrap();
    });
    let outcome = container.run(|_| String::new());
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[test]
#[ignore = "needs root: mounts"]
fn copying_up_follows_no_link() {
    let container = Container::new().mount(json!({
        "destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]
    }));
    fs::write(container.host("secret"), "of the host").unwrap();
    symlink(
        container.host("secret"),
        container.rootfs().join("etc/link"),
    )
    .unwrap();
    let outcome = container.run(|_| {
        let kind = fs::symlink_metadata("/etc/link").unwrap().file_type();
        format!(
            "{} {}",
            kind.is_symlink(),
            fs::read_to_string("/etc/image").unwrap()
        )
    });
    assert_eq!(outcome.as_deref(), Ok("true from the image"));
}
