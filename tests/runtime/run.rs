//! `tandem run`

use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::{Hierarchy, TestBundle, exit_code, until};

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_containers_output_is_that_of_run() {
    for hierarchy in Hierarchy::all() {
        let outcome = TestBundle::on(hierarchy)
            .script("echo out; echo err >&2")
            .run();
        assert_eq!(outcome.ok(), "out", "{hierarchy:?}");
        assert_eq!(outcome.stderr, "err\n");
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_exit_code_of_the_container_is_that_of_run() {
    let mut bundle = TestBundle::minimal();
    for code in [0, 1, 2, 77, 126, 127, 128, 137, 255] {
        bundle = bundle.script(&format!("exit {code}"));
        let outcome = bundle.run();
        assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
        assert_eq!(outcome.stderr, "");
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_killed_container_gives_128_plus_the_signal() {
    // The first process of a pid namespace cannot kill itself: the namespace is shared.
    let mut bundle = TestBundle::minimal().sharing("pid");
    for signal in [1, 2, 6, 9, 11, 15] {
        bundle = bundle.script(&format!("kill -{signal} $$"));
        assert_eq!(bundle.run().code, Some(128 + signal));
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn standard_input_reaches_the_container() {
    let bundle = TestBundle::minimal().args(["cat"]);
    fs::write(bundle.path("input"), "some words").unwrap();
    let mut command = bundle.command(&["run", "one"]);
    let input = fs::File::open(bundle.path("input")).unwrap();
    let child = command
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    assert_eq!(bundle.wait(child.unwrap()).ok(), "some words");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_container_is_deleted_when_it_ends() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy).args(["false"]);
        assert_eq!(bundle.run().code, Some(1));
        assert_eq!(bundle.left(), [""; 0]);
        bundle
            .tandem(&["state", "one"])
            .refused(1, &["does not exist"]);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn keep_leaves_a_stopped_container() {
    let bundle = TestBundle::minimal();
    bundle.tandem(&["run", "--keep", "one"]).ok();
    assert_eq!(bundle.status(), "stopped");
    assert_eq!(bundle.state()["pid"], 0);
    bundle.delete().ok();
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_detached_container_runs_on_and_its_parent_gets_the_exit_code() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy).script("read word < /go; exit 42");
        drop(bundle.bell("go"));
        bundle
            .detached(&["run", "-d", "--pid-file", "pid", "one"])
            .ok();
        let pid = fs::read_to_string(bundle.path("pid")).unwrap();
        assert_eq!(pid, bundle.pid().to_string(), "exactly the number");
        assert_eq!(bundle.status(), "running");
        fs::write(bundle.rootfs().join("go"), "go\n").unwrap();
        assert_eq!(exit_code(pid.parse().unwrap()), 42);
        assert_eq!(bundle.status(), "stopped");
        bundle.delete().ok();
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn signals_to_run_reach_the_container() {
    let bundle = TestBundle::minimal().script(
        "for s in HUP INT TERM USR1 USR2 WINCH; do trap \"echo $s > /said\" $s; done
         trap 'exit 5' QUIT
         echo ready > /said
         while :; do sleep 1000 & wait $!; done",
    );
    let mut said = bundle.bell("said");
    let mut command = bundle.command(&["run", "one"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.unwrap();
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    assert_eq!(said.wait(), "ready\n");
    for (signal, name) in [
        (Signal::SIGHUP, "HUP\n"),
        (Signal::SIGINT, "INT\n"),
        (Signal::SIGTERM, "TERM\n"),
        (Signal::SIGUSR1, "USR1\n"),
        (Signal::SIGUSR2, "USR2\n"),
        (Signal::SIGWINCH, "WINCH\n"),
    ] {
        kill(pid, signal).unwrap();
        assert_eq!(said.wait(), name);
    }
    kill(pid, Signal::SIGQUIT).unwrap();
    assert_eq!(bundle.wait(child).code, Some(5));
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn orphans_of_a_shared_pid_namespace_are_reaped_and_do_not_delay_the_end() {
    let bundle = TestBundle::minimal()
        .sharing("pid")
        .script("(true &); (true &); sleep 1000 > /dev/null 2>&1 & exit 3");
    assert_eq!(bundle.run().code, Some(3));
    // Who outlives the first process is killed with the container.
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_first_process_takes_its_pid_namespace_with_it() {
    let bundle = TestBundle::minimal().script("sleep 1000 & sleep 1000 & exit 0");
    bundle.run().ok();
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn preserved_descriptors_are_kept_and_no_others() {
    let bundle = TestBundle::minimal().script("cat <&3; ls /proc/self/fd | sort -n | tr '\\n' ' '");
    fs::write(bundle.path("kept"), "kept\n").unwrap();
    let file = fs::File::open(bundle.path("kept")).unwrap();
    let other = fs::File::open("/dev/null").unwrap();
    // The shell opens them for `tandem`: descriptors of the test close at the execve.
    let mut shell = std::process::Command::new("/bin/sh");
    let script = format!(
        "exec 3< /proc/{0}/fd/{1} 4< /proc/{0}/fd/{2} 5<&4; exec \"$@\"",
        std::process::id(),
        file.as_raw_fd(),
        other.as_raw_fd(),
    );
    let call = bundle.command(&["run", "--preserve-fds", "1", "one"]);
    shell
        .args(["-c", &script, "sh"])
        .arg(call.get_program())
        .args(call.get_args())
        .current_dir(call.get_current_dir().unwrap());
    // 4 is the descriptor by which `ls` reads the directory.
    assert_eq!(bundle.finish(shell).ok(), "kept\n0 1 2 3 4");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_preserved_descriptor_that_is_not_open_is_an_error() {
    let bundle = TestBundle::minimal();
    let outcome = bundle.tandem(&["run", "--preserve-fds", "2", "one"]);
    outcome.refused(1, &["preserved-fd 3"]);
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_pidfd_socket_gets_a_descriptor_of_the_process() {
    let bundle = TestBundle::running();
    let socket = crate::support::Listener::bind(&bundle.path("pidfd.sock"));
    let path = bundle.path("pidfd.sock");
    let path = path.to_str().unwrap();
    bundle.exec(&["true"]).ok();
    let outcome = bundle.tandem(&["exec", "--pidfd-socket", path, "one", "true"]);
    outcome.ok();
    let (name, fd) = socket.receive();
    assert_eq!(name, "pidfd");
    let target = fs::read_link(format!("/proc/thread-self/fd/{}", fd.as_raw_fd())).unwrap();
    assert!(target.to_str().unwrap().contains("pidfd"), "{target:?}");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_containers_process_is_born_in_its_cgroup() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy)
            .args(["cat", "/proc/self/cgroup"])
            .sharing("cgroup");
        let path = bundle.config["linux"]["cgroupsPath"]
            .as_str()
            .unwrap()
            .to_owned();
        let outcome = bundle.run();
        let wanted = match hierarchy {
            Hierarchy::V2 => format!("0::{path}"),
            Hierarchy::V1 => format!(":pids:{path}"),
        };
        assert!(outcome.ok().contains(&wanted), "{}", outcome.stdout);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_cgroup_namespace_shows_the_containers_cgroup_as_root() {
    let outcome = TestBundle::minimal()
        .args(["grep", "^0::", "/proc/self/cgroup"])
        .run();
    assert_eq!(outcome.ok(), "0::/");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_pids_limit_holds() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy)
            .with("/linux/resources/pids", json!({"limit": 5}))
            .script("for i in 1 2 3 4 5 6 7 8; do sleep 100 & done; echo all");
        let present = bundle.controller("pids");
        let outcome = bundle.run();
        if present {
            assert!(outcome.stderr.contains("fork"), "{outcome:?}");
        } else {
            // What the host cannot limit is not left unlimited without a word.
            outcome.refused(1, &["pids"]);
        }
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_memory_limit_is_the_cgroups() {
    for hierarchy in Hierarchy::all() {
        let bundle = TestBundle::on(hierarchy)
            .with("/linux/resources/memory", json!({"limit": 33_554_432}))
            .args(["sleep", "1000"]);
        let outcome = bundle.run_detached();
        if !bundle.controller("memory") {
            outcome.refused(1, &["memory"]);
            continue;
        }
        outcome.ok();
        let files = ["memory.max", "memory.limit_in_bytes"];
        let cgroups = bundle.cgroups();
        let mut paths = cgroups
            .iter()
            .flat_map(|cgroup| files.map(|file| format!("{cgroup}/{file}")));
        let limit = paths.find_map(|path| fs::read_to_string(path).ok());
        assert_eq!(limit.as_deref(), Some("33554432\n"), "{hierarchy:?}");
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn run_keeps_reading_what_a_fast_container_wrote() {
    let bundle = TestBundle::minimal().script("dd if=/dev/zero bs=1k count=300 2>/dev/null");
    assert_eq!(bundle.run().stdout.len(), 300 * 1024);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn run_ends_even_if_it_was_called_with_sigchld_ignored_or_blocked() {
    let bundle = TestBundle::minimal().args(["true"]);
    let call = bundle.command(&["run", "one"]);
    let mut shell = std::process::Command::new("/bin/sh");
    shell
        .args(["-c", "trap '' CHLD INT TERM PIPE; exec \"$@\"", "sh"])
        .arg(call.get_program())
        .args(call.get_args())
        .current_dir(call.get_current_dir().unwrap());
    bundle.finish(shell).ok();
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_container_gets_default_signal_dispositions() {
    let bundle = TestBundle::minimal().args(["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"]);
    let call = bundle.command(&["run", "one"]);
    let mut shell = std::process::Command::new("/bin/sh");
    shell
        .args(["-c", "trap '' INT TERM PIPE HUP; exec \"$@\"", "sh"])
        .arg(call.get_program())
        .args(call.get_args())
        .current_dir(call.get_current_dir().unwrap());
    let outcome = bundle.finish(shell);
    let zero = "0000000000000000";
    assert_eq!(outcome.ok(), format!("SigBlk:\t{zero}\nSigIgn:\t{zero}"));
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn two_containers_of_one_bundle_run_at_the_same_time() {
    let mut bundle = TestBundle::running();
    let first = bundle.pid();
    bundle.rename("two");
    bundle.run_detached().ok();
    assert_ne!(first, bundle.pid());
    assert_eq!(bundle.tandem(&["list", "-q"]).ok(), "one\ntwo");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_terminated_run_leaves_a_container_that_can_be_deleted() {
    let bundle = TestBundle::minimal().script("echo up > /up; sleep 1000");
    let mut up = bundle.bell("up");
    let mut child = bundle.command(&["run", "one"]).spawn().unwrap();
    up.wait();
    child.kill().unwrap();
    let mut text = String::new();
    assert_eq!(
        child
            .stdout
            .take()
            .map_or(Ok(0), |mut out| out.read_to_string(&mut text))
            .unwrap(),
        0
    );
    child.wait().unwrap();
    until("the container is known", || {
        (bundle.status() == "running").then_some(())
    });
    bundle.tandem(&["delete", "--force", "one"]).ok();
    assert_eq!(bundle.left(), [""; 0]);
}
