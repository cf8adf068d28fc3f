//! `tandem exec`

use std::fs;

use serde_json::{Value, json};

use crate::support::{Hierarchy, Listener, TestBundle, add_probe, exit_code, until};

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn exec_gives_output_and_exit_code_of_the_process() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy).args(["sleep", "1000"]);
        bundle.run_detached().ok();
        let outcome = bundle.exec_script("echo out; echo err >&2");
        assert_eq!((outcome.ok(), outcome.stderr.as_str()), ("out", "err\n"));
        for code in [1, 42, 255] {
            assert_eq!(bundle.exec_script(&format!("exit {code}")).code, Some(code));
        }
        assert_eq!(bundle.exec_script("kill -9 $$").code, Some(137));
        assert_eq!(bundle.exec_script("kill -TERM $$").code, Some(143));
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_process_is_in_the_containers_namespaces_and_cgroup() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy).args(["sleep", "1000"]);
        bundle.run_detached().ok();
        let script = "for n in cgroup ipc mnt net pid user uts; do readlink /proc/$0/ns/$n; done";
        let own = bundle.exec(&["sh", "-c", script, "self"]);
        let init = bundle.exec(&["sh", "-c", script, "1"]);
        assert_eq!(own.ok(), init.ok());
        assert_eq!(
            bundle.exec(&["cat", "/proc/self/cgroup"]).ok(),
            bundle.exec(&["cat", "/proc/1/cgroup"]).ok(),
        );
        assert_eq!(bundle.exec(&["hostname"]).ok(), "test");
        assert_eq!(
            bundle.exec_script("ls /bin/busybox; pwd").ok(),
            "/bin/busybox\n/"
        );
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_command_that_does_not_exist_fails_with_255() {
    let bundle = TestBundle::running();
    for (command, words) in [
        ("nothing", "executable file not found in $PATH"),
        ("/bin/nothing", "no such file or directory"),
        ("/etc", "is a directory"),
    ] {
        bundle
            .exec(&[command])
            .refused(255, &["exec failed: ", command, words]);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_stopped_or_unknown_container_takes_no_process() {
    let bundle = TestBundle::minimal();
    bundle
        .exec(&["true"])
        .refused(255, &["container does not exist"]);
    bundle.tandem(&["run", "--keep", "one"]).ok();
    bundle.exec(&["true"]).refused(255, &["stopped"]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_created_container_takes_a_process() {
    let bundle = TestBundle::minimal();
    bundle.create().ok();
    assert_eq!(bundle.exec(&["echo", "early"]).ok(), "early");
    assert_eq!(bundle.status(), "created");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_user_is_exactly_the_one_asked_for() {
    let bundle = TestBundle::minimal().args(["sleep", "1000"]).with(
        "/process/user",
        json!({"uid": 5, "gid": 6, "additionalGids": [7]}),
    );
    bundle.run_detached().ok();
    for (user, expected) in [
        ("1", "1 6"),
        ("1:2", "1 2"),
        ("0", "0 6"),
        ("4294967294:3", "4294967294 3"),
    ] {
        let outcome = bundle.exec_with(&["--user", user], &["sh", "-c", "echo $(id -u) $(id -g)"]);
        assert_eq!(outcome.ok(), expected);
    }
    let outcome = bundle.exec_with(&["--user="], &["id", "-u"]);
    assert_eq!(outcome.ok(), "5", "an empty one is none, as in runc");
    for bad in [
        ":2",
        "1x",
        "1:",
        "+1",
        "-1",
        "root",
        "1:2:3",
        "4294967296",
        " 1",
        "1:x",
    ] {
        let user = format!("--user={bad}");
        let outcome = bundle.exec_with(&[&user], &["id"]);
        outcome.refused(255, &["user"]);
        assert_eq!(outcome.stdout, "", "{bad:?}");
    }
    let outcome = bundle.exec_with(
        &["-g", "8", "-g", "9"],
        &["grep", "Groups", "/proc/self/status"],
    );
    let groups: Vec<_> = outcome.ok().split_whitespace().skip(1).collect();
    assert_eq!(groups, ["7", "8", "9"]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_environment_is_the_containers_and_then_the_callers() {
    let bundle = TestBundle::minimal().args(["sleep", "1000"]).with(
        "/process/env",
        json!(["Z=1", "PATH=/bin", "A=2", "HOME=/here"]),
    );
    bundle.run_detached().ok();
    let outcome = bundle.exec_with(&["-e", "M=3", "--env", "A=4", "--env", "E="], &["env"]);
    let lines: Vec<_> = outcome.ok().lines().collect();
    let value = |name: &str| lines.iter().rev().find_map(|line| line.strip_prefix(name));
    assert_eq!(value("A="), Some("4"), "the last one counts");
    assert_eq!(
        (value("Z="), value("M="), value("E=")),
        (Some("1"), Some("3"), Some(""))
    );
    assert_eq!(value("HOME="), Some("/here"));
    let position = |name: &str| lines.iter().position(|line| line.starts_with(name));
    assert!(position("Z=") < position("PATH=") && position("PATH=") < position("M="));
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_working_directory_is_the_containers_or_the_callers() {
    let bundle = TestBundle::minimal()
        .args(["sleep", "1000"])
        .with("/process/cwd", json!("/tmp"));
    bundle.run_detached().ok();
    assert_eq!(bundle.exec(&["pwd"]).ok(), "/tmp");
    assert_eq!(bundle.exec_with(&["--cwd", "/etc"], &["pwd"]).ok(), "/etc");
}

fn caps(bundle: &TestBundle, options: &[&str]) -> Vec<String> {
    let outcome = bundle.exec_with(options, &["grep", "Cap", "/proc/self/status"]);
    let lines = outcome
        .ok()
        .lines()
        .map(|line| line.split_whitespace().nth(1).unwrap().to_owned());
    lines.collect()
}

/// CAP_KILL, CAP_NET_BIND_SERVICE and CAP_AUDIT_WRITE.
const GIVEN: &str = "0000000020000420";

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn capabilities_are_the_containers_plus_those_asked_for_and_never_inheritable() {
    let bundle = TestBundle::running();
    let none = "0000000000000000";
    // In the order of /proc/self/status: inheritable, permitted, effective, bounding, ambient.
    assert_eq!(caps(&bundle, &[]), [none, GIVEN, GIVEN, GIVEN, none]);
    let more = "0000000020001420";
    for name in ["CAP_NET_ADMIN", "net_admin"] {
        assert_eq!(
            caps(&bundle, &["--cap", name]),
            [none, more, more, more, none]
        );
    }
    bundle
        .exec_with(&["--cap", "CAP_NOPE"], &["true"])
        .refused(255, &["CAP_NOPE"]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn no_new_privileges_come_from_the_container_or_the_caller() {
    let bundle = TestBundle::minimal()
        .args(["sleep", "1000"])
        .with("/process/noNewPrivileges", json!(false));
    bundle.run_detached().ok();
    let ask = |options: &[&str]| {
        let outcome = bundle.exec_with(options, &["grep", "NoNewPrivs", "/proc/self/status"]);
        outcome.ok().to_owned()
    };
    assert_eq!(ask(&[]), "NoNewPrivs:\t0");
    assert_eq!(ask(&["--no-new-privs"]), "NoNewPrivs:\t1");
    drop(bundle);
    let outcome = TestBundle::running().exec(&["grep", "NoNewPrivs", "/proc/self/status"]);
    assert_eq!(outcome.ok(), "NoNewPrivs:\t1");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_detached_process_runs_on_and_its_parent_gets_the_exit_code() {
    let bundle = TestBundle::minimal().args(["sleep", "1000"]);
    let mut up = bundle.bell("up");
    drop(bundle.bell("go"));
    bundle.run_detached().ok();
    let script = "echo up > /up; read word < /go; echo done; exit 7";
    let arguments = [
        "exec",
        "--detach",
        "--pid-file",
        "exec-pid",
        "one",
        "sh",
        "-c",
        script,
    ];
    bundle.detached(&arguments).ok();
    let pid: i32 = fs::read_to_string(bundle.path("exec-pid"))
        .unwrap()
        .parse()
        .unwrap();
    up.wait();
    assert!(bundle.processes().contains(&pid));
    fs::write(bundle.rootfs().join("go"), "go\n").unwrap();
    assert_eq!(exit_code(pid), 7);
    assert_eq!(bundle.output(), "done\n");
    assert_eq!(bundle.status(), "running");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_process_file_says_everything() {
    let bundle = TestBundle::running();
    let process = json!({
        "args": ["sh", "-c", "echo $(id -u):$(id -g) $(pwd) $A $(ulimit -n) $(umask); grep CapEff /proc/self/status"],
        "cwd": "/tmp",
        "env": ["PATH=/bin", "A=b"],
        "user": {"uid": 3, "gid": 4, "umask": 0o27},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 77}],
        "capabilities": {"bounding": ["CAP_KILL"], "effective": [], "permitted": []},
    });
    fs::write(bundle.path("process.json"), process.to_string()).unwrap();
    let outcome = bundle.tandem(&["exec", "--process", "process.json", "one"]);
    assert_eq!(
        outcome.ok(),
        "3:4 /tmp b 77 0027\nCapEff:\t0000000000000000"
    );
    for (text, words) in [
        ("{", "process.json"),
        ("{}", "process.json"),
        ("[]", "process.json"),
    ] {
        fs::write(bundle.path("process.json"), text).unwrap();
        bundle
            .tandem(&["exec", "--process", "process.json", "one"])
            .refused(255, &[words]);
    }
    bundle
        .tandem(&["exec", "--process", "nowhere.json", "one"])
        .refused(255, &["nowhere.json", "no such file or directory"]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_terminal_goes_to_the_console_socket() {
    let bundle = TestBundle::running();
    let listener = Listener::bind(&bundle.path("console"));
    let options = [
        "exec",
        "-d",
        "-t",
        "--console-socket",
        "console",
        "--pid-file",
        "exec-pid",
    ];
    bundle
        .detached(&[&options[..], &["one", "tty"]].concat())
        .ok();
    let (_, master) = listener.receive();
    let text = crate::support::read_terminal(&master, "/dev/pts/");
    assert!(text.contains("/dev/pts/"), "{text:?}");
    let pid = fs::read_to_string(bundle.path("exec-pid")).unwrap();
    assert_eq!(exit_code(pid.parse().unwrap()), 0);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_processes_of_exec_have_the_containers_seccomp_filter() {
    let bundle = TestBundle::minimal()
        .args(["sleep", "1000"])
        .with(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}],
            }),
        );
    bundle.run_detached().ok();
    assert_eq!(
        bundle.exec(&["grep", "Seccomp:", "/proc/self/status"]).ok(),
        "Seccomp:\t2"
    );
    let outcome = bundle.exec(&["mkdir", "/tmp/x"]);
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stderr.contains("Permission denied"),
        "{}",
        outcome.stderr
    );
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn only_the_three_standard_descriptors_are_open() {
    let bundle = TestBundle::running().image(add_probe);
    assert_eq!(bundle.exec(&["probe", "descriptors"]).ok(), "0 1 2");
    bundle
        .exec_with(&["--preserve-fds", "1"], &["true"])
        .refused(255, &["preserved-fd 3"]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_paused_container_takes_a_process_only_if_asked_to_ignore_that() {
    let bundle = TestBundle::running();
    bundle.tandem(&["pause", "one"]).ok();
    bundle.exec(&["true"]).refused(255, &["--ignore-paused"]);
    let arguments = ["exec", "--ignore-paused", "one", "echo", "late"];
    let mut command = bundle.command(&arguments);
    let child = command.stdout(std::process::Stdio::piped()).spawn();
    // The new process stands still until the container is resumed.
    bundle.tandem(&["resume", "one"]).ok();
    assert_eq!(bundle.wait(child.unwrap()).ok(), "late");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_sub_cgroup_asked_for_is_the_processs() {
    let bundle = TestBundle::minimal().args(["sleep", "1000"]);
    bundle.run_detached().ok();
    fs::create_dir(format!("{}/sub", bundle.cgroups()[0])).unwrap();
    let outcome = bundle.exec_with(&["--cgroup", "sub"], &["grep", "^0::", "/proc/self/cgroup"]);
    assert_eq!(outcome.ok(), "0::/sub");
    bundle
        .exec_with(&["--cgroup", "nowhere"], &["true"])
        .refused(255, &["nowhere"]);
    bundle
        .exec_with(&["--cgroup", "../.."], &["true"])
        .refused(255, &[".."]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn signals_to_exec_reach_the_process_and_not_the_container() {
    let bundle = TestBundle::minimal().args(["sleep", "1000"]);
    let mut said = bundle.bell("said");
    bundle.run_detached().ok();
    let script = "trap 'exit 9' TERM; echo ready > /said; while :; do sleep 1000 & wait $!; done";
    let mut command = bundle.command(&["exec", "one", "sh", "-c", script]);
    let child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    said.wait();
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(bundle.wait(child).code, Some(9));
    assert_eq!(bundle.status(), "running");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn many_processes_at_once_all_end() {
    let bundle = TestBundle::running();
    let calls: Vec<_> = (0..8)
        .map(|number| {
            let mut command =
                bundle.command(&["exec", "one", "sh", "-c", &format!("exit {number}")]);
            command
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for (number, child) in (0..).zip(calls) {
        assert_eq!(bundle.wait(child).code, Some(number));
    }
    until("only the first is left", || {
        let outcome = bundle.tandem(&["ps", "-f", "json", "one"]);
        let pids: Value = serde_json::from_str(outcome.ok()).unwrap();
        (pids.as_array().unwrap().len() == 1).then_some(())
    });
}
