//! Terminals: sent to a console socket, or relayed by `run` and `exec`.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Stdio};

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};
use serde_json::json;

use crate::support::{Listener, TestBundle, add_probe, exit_code, read_terminal};

const SIZE: Winsize = Winsize {
    ws_row: 33,
    ws_col: 77,
    ws_xpixel: 0,
    ws_ypixel: 0,
};

fn with_terminal() -> TestBundle {
    TestBundle::minimal().with("/process/terminal", json!(true))
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_console_socket_gets_the_master_of_a_pty_of_the_container() {
    let bundle = with_terminal()
        .with("/process/consoleSize", json!({"height": 12, "width": 34}))
        .script("tty; stty size; probe control; for fd in 0 1 2; do readlink /proc/self/fd/$fd; done; read word; echo got $word")
        .image(add_probe);
    let listener = Listener::bind(&bundle.path("console"));
    bundle
        .detached(&["create", "--console-socket", "console", "one"])
        .ok();
    let (name, master) = listener.receive();
    assert_eq!(name, "/dev/ptmx");
    let pid = bundle.pid();
    bundle.start().ok();
    let text = read_terminal(&master, "/dev/pts/0\r\n/dev/pts/0\r\n/dev/pts/0\r\n");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "/dev/pts/0",
            "12 34",
            "own",
            "/dev/pts/0",
            "/dev/pts/0",
            "/dev/pts/0"
        ]
    );
    let mut terminal = File::from(master.try_clone().unwrap());
    terminal.write_all(b"word\n").unwrap();
    let text = read_terminal(&master, "got word");
    assert!(text.contains("got word"), "{text:?}");
    assert_eq!(exit_code(pid), 0);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_detached_run_sends_its_terminal_too() {
    let bundle = with_terminal().script("tty; echo console $(stat -c %t:%T /dev/console)");
    let listener = Listener::bind(&bundle.path("console"));
    bundle
        .detached(&[
            "run",
            "-d",
            "--console-socket",
            "console",
            "--pid-file",
            "pid",
            "one",
        ])
        .ok();
    let (_, master) = listener.receive();
    // /dev/console is the pty: 136 is the major number of slaves.
    let text = read_terminal(&master, "console 88:0");
    assert!(text.contains("console 88:0"), "{text:?}");
    let pid = std::fs::read_to_string(bundle.path("pid")).unwrap();
    assert_eq!(exit_code(pid.parse().unwrap()), 0);
}

/// A call of `tandem` on a terminal of the test's.
fn on_terminal(bundle: &TestBundle, arguments: &[&str]) -> (Child, OwnedFd, OwnedFd) {
    let OpenptyResult { master, slave } = openpty(&SIZE, None).unwrap();
    let end = || Stdio::from(slave.try_clone().unwrap());
    let mut command = bundle.command(arguments);
    let child = command.stdin(end()).stdout(end()).stderr(end()).spawn();
    (child.unwrap(), master, slave)
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn run_relays_between_the_terminals() {
    let bundle = with_terminal().script("stty size; echo ready; read word; echo got $word; exit 6");
    let (child, master, slave) = on_terminal(&bundle, &["run", "one"]);
    let text = read_terminal(&master, "ready");
    assert!(text.contains("33 77\r\nready"), "{text:?}");
    assert!(
        !tcgetattr(&slave)
            .unwrap()
            .local_flags
            .contains(LocalFlags::ECHO),
        "raw"
    );
    File::from(master.try_clone().unwrap())
        .write_all(b"word\r")
        .unwrap();
    let text = read_terminal(&master, "got word");
    assert!(text.contains("got word"), "{text:?}");
    assert_eq!(bundle.wait(child).code, Some(6));
    assert!(
        tcgetattr(&slave)
            .unwrap()
            .local_flags
            .contains(LocalFlags::ECHO),
        "as it was"
    );
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn run_passes_the_keys_of_job_control_on() {
    let bundle = with_terminal().script(
        "trap 'echo interrupted; exit 7' INT; echo ready; while :; do sleep 1000 & wait $!; done",
    );
    let (child, master, _slave) = on_terminal(&bundle, &["run", "one"]);
    read_terminal(&master, "ready");
    File::from(master.try_clone().unwrap())
        .write_all(b"\x03")
        .unwrap();
    let text = read_terminal(&master, "interrupted");
    assert!(text.contains("interrupted"), "{text:?}");
    assert_eq!(bundle.wait(child).code, Some(7));
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn run_relays_without_a_terminal_of_its_own() {
    let bundle = with_terminal().script("tty; echo some words");
    let outcome = bundle.run();
    assert_eq!(outcome.ok().replace('\r', ""), "/dev/pts/0\nsome words");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn run_shows_all_that_the_container_wrote() {
    let bundle =
        with_terminal().script("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done");
    let outcome = bundle.run();
    assert_eq!(outcome.ok().lines().count(), 3000);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn exec_relays_between_the_terminals() {
    let bundle = TestBundle::running();
    let (child, master, slave) = on_terminal(
        &bundle,
        &["exec", "-t", "one", "sh", "-c", "stty size; tty; exit 8"],
    );
    let text = read_terminal(&master, "/dev/pts/");
    assert!(text.contains("33 77"), "{text:?}");
    assert_eq!(bundle.wait(child).code, Some(8));
    drop(slave);
    assert!(master.as_raw_fd() > 2);
}
