//! What attackers have done to runtimes: an image or a process of a container reaches for the host.
//!
//! Each test names the advisory whose attack it tries.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Hierarchy, Outcome, TANDEM, TestBundle, add_probe, exit_code, install};

/// A directory of the host that nothing may change, with a name for the container to aim at.
fn treasure(bundle: &TestBundle) -> String {
    let path = bundle.path("host");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("ptmx"), "a file of the host").unwrap();
    fs::write(path.join("null"), "a file of the host").unwrap();
    path.display().to_string()
}

fn assert_untouched(host: &str) {
    let mut names: Vec<_> = fs::read_dir(host)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["null", "ptmx"]);
    for name in names {
        let text = fs::read_to_string(Path::new(host).join(name)).unwrap();
        assert_eq!(text, "a file of the host");
    }
}

/// CVE-2024-21626
#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_working_directory_on_a_leaked_descriptor_does_not_lead_to_the_host() {
    // The bundle lies beside the root file system: whoever sees it has got out.
    let escape = "for up in . .. ../.. ../../.. ../../../..; do
            for name in config.json state rootfs; do test -e $up/$name && echo escaped; done
        done; pwd";
    let check = |outcome: &Outcome, code: i32, words: &[&str]| match outcome.code {
        // Some numbers are directories of the container itself.
        // Some numbers are directories of the container itself, and a path says where. One line: nothing escaped.
        Some(0) => {
            let line = outcome.stdout.trim_end();
            assert!(line.starts_with('/') && !line.contains('\n'), "{outcome:?}");
        }
        _ => {
            outcome.refused(code, words);
            assert_eq!(outcome.stdout, "");
        }
    };
    let mut bundle = TestBundle::minimal().script(escape);
    for fd in 3..20 {
        bundle.set("/process/cwd", format!("/proc/self/fd/{fd}").into());
        check(&bundle.run(), 1, &["container init"]);
    }
    bundle.set("/process/cwd", json!("/"));
    let bundle = bundle.args(["sleep", "1000"]);
    bundle.run_detached().ok();
    for fd in 3..20 {
        let cwd = format!("/proc/self/fd/{fd}");
        let outcome = bundle.exec_with(&["--cwd", &cwd], &["sh", "-c", escape]);
        check(&outcome, 255, &["exec failed: "]);
    }
}

/// CVE-2024-21626
#[test]
#[ignore = "needs root: mounts and cgroups"]
fn only_standard_streams_are_open_in_the_container() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy)
            .args(["probe", "descriptors"])
            .image(add_probe);
        assert_eq!(bundle.run().ok(), "0 1 2");
        bundle.create().ok();
        let pid = bundle.pid();
        bundle.start().ok();
        assert_eq!(exit_code(pid), 0);
        assert_eq!(bundle.output(), "0 1 2 \n");
    }
}

fn hash(path: &str) -> Vec<u8> {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// CVE-2019-5736
#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_runtimes_own_file_cannot_be_written_through_proc() {
    let before = hash(TANDEM);
    let everything: Vec<String> = vec![
        "CAP_SYS_ADMIN",
        "CAP_SYS_PTRACE",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect();
    let mut bundle = TestBundle::minimal().image(add_probe).image(|rootfs| {
        // The entrypoint is the runtime itself, through a link or an interpreter line.
        symlink("/proc/self/exe", rootfs.join("bin/self")).unwrap();
        install(b"#!/proc/self/exe\n", &rootfs.join("bin/script"));
    });
    for set in ["bounding", "effective", "permitted"] {
        bundle.set(&format!("/process/capabilities/{set}"), json!(everything));
    }
    for entry in ["/bin/self", "/bin/script", "/proc/self/exe"] {
        // It is the same program, and says so, or it is refused; what matters is the file.
        bundle = bundle.args([entry, "--version"]);
        bundle.run();
        assert_eq!(bundle.left(), [""; 0]);
    }
    // A process that waits for the runtime to come in, and writes to what it runs.
    bundle = bundle.script(
        "echo up > /up
         while :; do for p in /proc/[0-9]*; do
             case $(readlink $p/exe) in */busybox|*/probe|'') ;; *) probe write $p/exe > /said;; esac
         done; done",
    );
    let mut up = bundle.bell("up");
    bundle.run_detached().ok();
    up.wait();
    for _ in 0..10 {
        bundle.exec(&["true"]).ok();
        bundle.exec(&["/proc/self/exe", "--version"]);
    }
    let said = fs::read_to_string(bundle.rootfs().join("said")).unwrap_or_default();
    assert!(
        !said.lines().any(|errno| errno == "0"),
        "opened for writing"
    );
    assert_eq!(hash(TANDEM), before);
}

/// CVE-2019-5736, while a container waits for its start: its process still runs our program.
#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_waiting_process_shows_a_read_only_copy_of_our_file() {
    let bundle = TestBundle::minimal();
    bundle.create().ok();
    let exe = fs::File::open(format!("/proc/{}/exe", bundle.pid())).unwrap();
    // That it runs protects the file only until it has ended; the mount protects it for good.
    let flags = nix::sys::statvfs::fstatvfs(&exe).unwrap().flags();
    assert!(
        flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY),
        "{flags:?}"
    );
}

/// CVE-2022-29162, CVE-2022-27650, CVE-2025-27612
#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_inheritable_set_stays_empty() {
    let bundle =
        TestBundle::minimal().script("grep -E 'CapInh|CapAmb' /proc/self/status; sleep 1000");
    bundle.run_detached().ok();
    let none = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000";
    for options in [
        &[][..],
        &["--cap", "CAP_NET_RAW"],
        &["--user", "1000", "--cap", "CAP_NET_RAW"],
    ] {
        let outcome = bundle.exec_with(
            options,
            &["grep", "-E", "CapInh|CapAmb", "/proc/self/status"],
        );
        assert_eq!(outcome.ok(), none, "{options:?}");
    }
    assert_eq!(bundle.output().trim_end(), none);
}

/// CVE-2026-41579, CVE-2026-47766
#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_dev_that_is_a_link_does_not_lead_to_the_host() {
    for mounted in [true, false] {
        let mut bundle = TestBundle::minimal();
        let host = treasure(&bundle);
        fs::remove_dir(bundle.rootfs().join("dev")).unwrap();
        symlink(&host, bundle.rootfs().join("dev")).unwrap();
        if !mounted {
            bundle.set(
                "/mounts",
                json!([{"destination": "/proc", "type": "proc", "source": "proc"}]),
            );
        }
        // To fail is as good as to resolve the link inside.
        bundle.run();
        assert_untouched(&host);
        assert_eq!(bundle.left(), [""; 0]);
    }
}

/// CVE-2025-31133
#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_dev_null_that_is_a_link_masks_nothing_with_its_target() {
    let mut bundle = TestBundle::minimal()
        .with("/linux/maskedPaths", json!(["/proc/kcore", "/etc/secret"]))
        .script("echo ran");
    // Without a mount on /dev the image's own file is what there is.
    bundle.set(
        "/mounts",
        json!([{"destination": "/proc", "type": "proc", "source": "proc"}]),
    );
    fs::write(bundle.rootfs().join("etc/secret"), "secret").unwrap();
    symlink(
        "/proc/sys/kernel/core_pattern",
        bundle.rootfs().join("dev/null"),
    )
    .unwrap();
    let before = fs::read("/proc/sys/kernel/core_pattern").unwrap();
    let bundle = bundle.script("cat /etc/secret");
    let outcome = bundle.run();
    assert!(!outcome.stdout.contains("secret"), "{outcome:?}");
    assert!(
        !outcome.stdout.contains("core"),
        "core_pattern is bound there: {outcome:?}"
    );
    assert_eq!(fs::read("/proc/sys/kernel/core_pattern").unwrap(), before);
    assert_eq!(bundle.left(), [""; 0]);
}

/// CVE-2025-52565
#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_console_that_is_a_link_is_not_followed() {
    for name in ["console", "pts"] {
        let mut bundle = TestBundle::minimal()
            .with("/process/terminal", json!(true))
            .script("echo ran");
        let host = treasure(&bundle);
        let target = if name == "console" {
            format!("{host}/null")
        } else {
            host.clone()
        };
        symlink(target, bundle.rootfs().join("dev").join(name)).unwrap();
        bundle.set(
            "/mounts",
            json!([{"destination": "/proc", "type": "proc", "source": "proc"}]),
        );
        bundle.run().refused(1, &["/dev/"]);
        assert_untouched(&host);
        assert_eq!(bundle.left(), [""; 0]);
    }
}

fn replacing_proc(bundle: TestBundle, mounts: Value) -> TestBundle {
    bundle
        .with("/mounts", mounts)
        .with("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}))
        .script("cat /proc/sys/net/ipv4/ip_forward; echo ran")
}

/// CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-52881, CVE-2025-54867
#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_false_proc_does_not_take_what_is_meant_for_the_kernel() {
    let fake = |rootfs: &Path| {
        for directory in ["sys/net/ipv4", "self/attr", "self/fd"] {
            fs::create_dir_all(rootfs.join("fake").join(directory)).unwrap();
        }
        fs::write(rootfs.join("fake/sys/net/ipv4/ip_forward"), "false").unwrap();
    };
    let check = |outcome: &Outcome, bundle: &TestBundle| {
        if outcome.code == Some(0) {
            assert!(outcome.stdout.starts_with("1\n"), "{outcome:?}");
        }
        let file = bundle.rootfs().join("fake/sys/net/ipv4/ip_forward");
        assert_eq!(fs::read_to_string(file).unwrap(), "false", "{outcome:?}");
        assert_eq!(bundle.left(), [""; 0]);
    };
    // A directory of the image bound over /proc.
    let bundle = TestBundle::minimal().image(fake);
    let source = bundle.rootfs().join("fake").display().to_string();
    let bundle = replacing_proc(
        bundle,
        json!([
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/proc", "type": "bind", "source": source, "options": ["rbind"]},
        ]),
    );
    bundle.run().refused(1, &["/proc"]);
    check(&bundle.run(), &bundle);
    drop(bundle);
    // A tmpfs on a part of it.
    for target in ["/proc/sys", "/proc/self/attr", "/proc/self"] {
        let bundle = replacing_proc(
            TestBundle::minimal().image(fake),
            json!([
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": target, "type": "tmpfs", "source": "tmpfs"},
            ]),
        );
        bundle.run().refused(1, &[target]);
        check(&bundle.run(), &bundle);
    }
    // /proc of the image is a link.
    let bundle = replacing_proc(
        TestBundle::minimal().image(fake),
        json!([{"destination": "/proc", "type": "proc", "source": "proc"}]),
    );
    fs::remove_dir(bundle.rootfs().join("proc")).unwrap();
    symlink("/fake", bundle.rootfs().join("proc")).unwrap();
    bundle.run().refused(1, &["proc"]);
    check(&bundle.run(), &bundle);
}

/// CVE-2025-54867: likewise for /sys.
#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_sys_that_is_a_link_is_refused() {
    let bundle = TestBundle::minimal()
        .adding(
            "/mounts",
            json!({"destination": "/sys", "type": "sysfs", "source": "sysfs"}),
        )
        .script("echo ran");
    fs::remove_dir(bundle.rootfs().join("sys")).unwrap();
    symlink("/etc", bundle.rootfs().join("sys")).unwrap();
    bundle.run().refused(1, &["sys"]);
    assert_eq!(bundle.left(), [""; 0]);
}

/// CVE-2019-18837, CVE-2021-30465, CVE-2024-45310
#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_mount_target_that_leads_to_the_host_is_made_inside() {
    for target in [
        "/link/deep/er",
        "/link",
        "/up/deep",
        "/../../../../../../tmp/x",
    ] {
        let bundle = TestBundle::minimal().script("echo ran");
        let host = treasure(&bundle);
        symlink(&host, bundle.rootfs().join("link")).unwrap();
        symlink("../../../../../../../../tmp", bundle.rootfs().join("up")).unwrap();
        let bundle = bundle.adding(
            "/mounts",
            json!({"destination": target, "type": "tmpfs", "source": "tmpfs"}),
        );
        let outside = fs::read_dir(std::env::temp_dir()).unwrap().count();
        bundle.run();
        assert_untouched(&host);
        assert!(!std::env::temp_dir().join("deep").exists());
        assert!(outside > 0);
        assert_eq!(bundle.left(), [""; 0], "{target}");
    }
}

/// CVE-2021-30465, CVE-2024-45310: the target is swapped for a link while the mounts are made.
#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_mount_target_that_is_swapped_meanwhile_stays_inside() {
    let bundle = TestBundle::minimal().script("echo ran");
    let host = treasure(&bundle);
    let volume = bundle.path("volume");
    fs::create_dir_all(volume.join("dir")).unwrap();
    symlink(&host, volume.join("link")).unwrap();
    let volume_name = volume.display().to_string();
    let bundle = bundle
        .adding("/mounts", json!({"destination": "/volume", "type": "bind", "source": volume_name, "options": ["rbind"]}))
        .adding("/mounts", json!({"destination": "/volume/dir/made", "type": "tmpfs", "source": "tmpfs"}));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (dir, link) = (volume.join("dir"), volume.join("link"));
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let exchange = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
                nix::fcntl::renameat2(None, &dir, None, &link, exchange).unwrap();
            }
        });
        for _ in 0..40 {
            bundle.run();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_untouched(&host);
    assert_eq!(bundle.left(), [""; 0]);
}

/// CVE-2026-30892: see also exec::the_user_is_exactly_the_one_asked_for.
#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_user_by_name_is_not_root() {
    let bundle = TestBundle::running();
    let outcome = bundle.exec_with(&["--user", "nobody"], &["id"]);
    outcome.refused(255, &["nobody", "numbers"]);
    assert_eq!(outcome.stdout, "");
}

/// A record of a container whose pid is another process's by now must not lead a signal to that one.
#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_reused_pid_is_not_the_container() {
    let bundle = TestBundle::minimal();
    bundle.tandem(&["run", "--keep", "one"]).ok();
    // The kernel tells start times in ticks of 10 ms: the victim has to start in another one.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let mut victim = Command::new("sleep").arg("1000").spawn().unwrap();
    let path = bundle.state_root().join("one/state.json");
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["init"]["pid"] = victim.id().into();
    fs::write(&path, record.to_string()).unwrap();
    assert_eq!(bundle.status(), "stopped");
    bundle
        .tandem(&["kill", "one", "KILL"])
        .refused(1, &["not running"]);
    bundle.exec(&["true"]).refused(255, &["stopped"]);
    bundle.tandem(&["delete", "--force", "one"]).ok();
    assert_eq!(victim.try_wait().unwrap(), None, "the victim was hit");
    victim.kill().unwrap();
    victim.wait().unwrap();
}

/// CVE-2021-43784: what is too long is an error, never cut short.
#[test]
#[ignore = "needs root: mounts and cgroups"]
fn values_of_seventy_kilobytes_are_kept_or_refused() {
    let long = "a".repeat(70_000);
    let bundle = TestBundle::minimal().with("/linux/cgroupsPath", json!(format!("/{long}")));
    bundle.run().refused(1, &["file name too long"]);
    drop(bundle);
    let bundle = TestBundle::minimal()
        .with("/process/env", json!(["PATH=/bin", format!("LONG={long}")]))
        .script("echo ${#LONG}");
    assert_eq!(bundle.run().ok(), "70000");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_state_is_readable_by_root_alone() {
    let bundle = TestBundle::running();
    let root = fs::metadata(bundle.state_root()).unwrap();
    assert_eq!(root.mode() & 0o077, 0, "{:o}", root.mode());
    for entry in fs::read_dir(bundle.state_root().join("one")).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        assert!(!metadata.file_type().is_socket(), "{entry:?}");
        assert_eq!(metadata.mode() & 0o022, 0, "{entry:?}");
    }
}

/// A file of the image that is written to is named after us, not followed: CVE-2025-24965 and its kind.
#[test]
#[ignore = "needs root: mounts and cgroups"]
fn nothing_is_written_into_the_image() {
    let bundle = TestBundle::minimal();
    let list = |path: &Path| {
        let output = Command::new("find")
            .arg(path)
            .args(["-printf", "%p %y %m %T@\n"])
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let before = list(&bundle.rootfs());
    bundle.run().ok();
    assert_eq!(list(&bundle.rootfs()), before);
}
