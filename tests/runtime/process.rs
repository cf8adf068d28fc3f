//! What the container's process is given: environment, ids, limits, capabilities, labels.

use std::fs;

use serde_json::json;

use crate::support::{TestBundle, add_probe, set_mode};

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_environment_keeps_its_order_and_the_last_of_two_counts() {
    let bundle = TestBundle::minimal()
        .with(
            "/process/env",
            json!([
                "Z=1",
                "PATH=/bin",
                "A=old",
                "HOME=/home",
                "B==x y",
                "A=new",
                "EMPTY="
            ]),
        )
        .args(["cat", "/proc/self/environ"]);
    let outcome = bundle.run();
    let env: Vec<_> = outcome.ok().trim_end_matches('\0').split('\0').collect();
    assert_eq!(
        env,
        [
            "Z=1",
            "PATH=/bin",
            "A=new",
            "HOME=/home",
            "B==x y",
            "EMPTY="
        ]
    );
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn home_is_that_of_the_images_passwd() {
    let mut bundle = TestBundle::minimal().script("echo $HOME");
    let passwd = "root:x:0:0::/the/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n";
    fs::write(bundle.rootfs().join("etc/passwd"), passwd).unwrap();
    for (uid, home) in [(0, "/the/root"), (1000, "/home/user"), (7, "/")] {
        bundle.set("/process/user", json!({"uid": uid, "gid": 0}));
        assert_eq!(bundle.run().ok(), home);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_hostile_passwd_neither_hangs_nor_fails_the_container() {
    let bundle = TestBundle::minimal().script("echo $HOME");
    let passwd = bundle.rootfs().join("etc/passwd");
    nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_eq!(bundle.run().ok(), "/");
    fs::remove_file(&passwd).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &passwd).unwrap();
    assert_eq!(bundle.run().ok(), "/");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_user_and_the_groups_are_those_of_the_config() {
    let bundle = TestBundle::minimal()
        .with(
            "/process/user",
            json!({"uid": 12, "gid": 34, "additionalGids": [56, 78], "umask": 0o37}),
        )
        .script("grep -E '^(Uid|Gid|Groups)' /proc/self/status; umask");
    let outcome = bundle.run();
    let words: Vec<_> = outcome.ok().split_whitespace().collect();
    assert_eq!(
        words,
        [
            "Uid:", "12", "12", "12", "12", "Gid:", "34", "34", "34", "34", "Groups:", "56", "78",
            "0037"
        ]
    );
    drop(bundle);
    let outcome = TestBundle::minimal()
        .script("umask; grep Groups /proc/self/status")
        .run();
    assert_eq!(
        outcome.ok().split_whitespace().collect::<Vec<_>>(),
        ["0022", "Groups:"]
    );
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn another_user_can_write_to_its_standard_streams() {
    let bundle = TestBundle::minimal()
        .with("/process/user", json!({"uid": 1000, "gid": 1000}))
        .script("echo out > /dev/stdout; echo err > /dev/stderr");
    let outcome = bundle.run();
    assert_eq!((outcome.ok(), outcome.stderr.as_str()), ("out", "err\n"));
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_working_directory_is_made_if_it_is_missing() {
    let bundle = TestBundle::minimal()
        .with("/process/cwd", json!("/made/for/me"))
        .args(["pwd"]);
    assert_eq!(bundle.run().ok(), "/made/for/me");
    let bundle = bundle.with("/process/cwd", json!("/bin/busybox"));
    bundle
        .run()
        .refused(1, &["chdir to cwd", "/bin/busybox", "not a directory"]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_working_directory_is_entered_as_the_user() {
    let bundle = TestBundle::minimal()
        .with("/process/cwd", json!("/own"))
        .with("/process/user", json!({"uid": 1000, "gid": 1000}))
        .args(["pwd"]);
    fs::create_dir(bundle.rootfs().join("own")).unwrap();
    set_mode(&bundle.rootfs().join("own"), 0o700);
    std::os::unix::fs::chown(bundle.rootfs().join("own"), Some(1000), Some(1000)).unwrap();
    // Without CAP_DAC_OVERRIDE root could not enter it.
    assert_eq!(bundle.run().ok(), "/own");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn limits_are_set() {
    let bundle = TestBundle::minimal()
        .with(
            "/process/rlimits",
            json!([
                {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
                {"type": "RLIMIT_STACK", "soft": 1_048_576, "hard": 2_097_152},
            ]),
        )
        .args(["cat", "/proc/self/limits"]);
    let outcome = bundle.run();
    let limit = |name: &str| {
        let line = outcome
            .ok()
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap();
        line[name.len()..]
            .split_whitespace()
            .take(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(limit("Max open files"), ["100", "200"]);
    assert_eq!(limit("Max core file size"), ["0", "0"]);
    assert_eq!(limit("Max stack size"), ["1048576", "2097152"]);
    let bundle = bundle.with(
        "/process/rlimits",
        json!([{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 8}]),
    );
    bundle.run().refused(1, &["RLIMIT_NOFILE"]);
    let bundle = bundle.with(
        "/process/rlimits",
        json!([{"type": "RLIMIT_NONE", "soft": 9, "hard": 9}]),
    );
    bundle.run().refused(1, &["RLIMIT_NONE"]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn capability_sets_are_exactly_those_of_the_config() {
    let bundle = TestBundle::minimal()
        .with(
            "/process/capabilities",
            json!({
                "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
                "permitted": ["CAP_CHOWN", "CAP_KILL"],
                "effective": ["CAP_KILL"],
                "inheritable": ["CAP_KILL"],
                "ambient": ["CAP_KILL"],
            }),
        )
        .with("/process/user", json!({"uid": 1000, "gid": 1000}))
        .args(["grep", "^Cap", "/proc/self/status"]);
    let outcome = bundle.run();
    let values: Vec<_> = outcome
        .ok()
        .lines()
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .collect();
    let (kill, bounding) = ("0000000000000020", "0000000000002021");
    // An execve by another user than root leaves the ambient set as permitted and effective: capabilities(7).
    assert_eq!(values, [kill, kill, kill, bounding, kill]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn another_user_has_no_capabilities_unless_they_are_ambient() {
    let bundle = TestBundle::minimal()
        .with("/process/user", json!({"uid": 1000, "gid": 1000}))
        .args(["grep", "^Cap", "/proc/self/status"]);
    let outcome = bundle.run();
    let values: Vec<_> = outcome
        .ok()
        .lines()
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .collect();
    let none = "0000000000000000";
    assert_eq!(values, [none, none, none, "0000000020000420", none]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn new_privileges_are_forbidden_if_the_config_says_so() {
    for (asked, seen) in [(true, "1"), (false, "0")] {
        let outcome = TestBundle::minimal()
            .with("/process/noNewPrivileges", json!(asked))
            .args(["grep", "NoNewPrivs", "/proc/self/status"])
            .run();
        assert_eq!(outcome.ok(), format!("NoNewPrivs:\t{seen}"));
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_oom_score_is_set() {
    let bundle = TestBundle::minimal()
        .with("/process/oomScoreAdj", json!(321))
        .args(["cat", "/proc/self/oom_score_adj"]);
    assert_eq!(bundle.run().ok(), "321");
    bundle
        .with("/process/oomScoreAdj", json!(5000))
        .run()
        .refused(1, &["oom_score_adj", "5000"]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn each_container_has_a_session_keyring_of_its_own() {
    let mut bundle = TestBundle::minimal()
        .args(["probe", "keyring"])
        .image(add_probe);
    let first = bundle.run();
    bundle.rename("two");
    assert_ne!(bundle.run().ok(), first.ok());
    let shared = || {
        bundle
            .tandem(&["run", "--no-new-keyring", "two"])
            .ok()
            .to_owned()
    };
    assert_eq!(shared(), shared());
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_container_leads_a_session_of_its_own() {
    let outcome = TestBundle::minimal().args(["cat", "/proc/self/stat"]).run();
    let fields: Vec<_> = outcome.ok().split(' ').collect();
    assert_eq!(
        (fields[0], fields[4], fields[5]),
        ("1", "1", "1"),
        "pid, group and session"
    );
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn priorities_and_personality_are_set() {
    let outcome = TestBundle::minimal()
        .with(
            "/process/scheduler",
            json!({"policy": "SCHED_BATCH", "nice": 5}),
        )
        .with(
            "/process/ioPriority",
            json!({"class": "IOPRIO_CLASS_BE", "priority": 6}),
        )
        .with("/linux/personality", json!({"domain": "LINUX32"}))
        .script("cut -d' ' -f19,41 /proc/self/stat; cat /proc/self/personality")
        .run();
    assert_eq!(outcome.ok(), "5 3\n00000008");
}
