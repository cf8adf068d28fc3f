//! What a guest sees of its container, and what its container sees of it.
#![cfg(all(feature = "wasmtime", feature = "compiler"))]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod support;

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use support::{Guest, HANDLER};

#[test]
fn a_module_writes_to_the_containers_stdout() {
    let outcome = Guest::of("hello.wat").run();
    assert_eq!(outcome.stdout, "hello from a guest\n");
    assert_eq!((outcome.code(), outcome.stderr.as_str()), (0, ""));
}

#[test]
fn a_component_writes_to_the_containers_stdout() {
    let outcome = Guest::of("component.wat").run();
    assert_eq!(outcome.stdout, "hello from a component\n");
    assert_eq!((outcome.code(), outcome.stderr.as_str()), (0, ""));
}

#[test]
fn arguments_and_environment_arrive_in_order() {
    let outcome = Guest::of("show.wat")
        .args(&["-x", "", "two words", "ä"])
        .env(&["B=2", "A=1", "EMPTY=", "EQ=a=b"])
        .run();
    let expected = "show.wat\n-x\n\ntwo words\nä\nB=2\nA=1\nEMPTY=\nEQ=a=b\n";
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
}

#[test]
fn every_exit_status_reaches_the_container() {
    let artifact = support::compile(&support::binary("exit.wat")).unwrap().fd;
    for status in ["0", "1", "7", "125", "126", "134", "200", "255"] {
        let guest = Guest::from_artifact("exit.wat", artifact.try_clone().unwrap());
        let outcome = guest.args(&[status]).run();
        assert_eq!(outcome.code().to_string(), status, "{}", outcome.stderr);
        assert_eq!(outcome.stderr, "");
    }
}

#[test]
fn a_component_ends_with_its_result_or_its_own_status() {
    assert_eq!(Guest::of("component-fails.wat").run().code(), 1);
    let outcome = Guest::of("component-exit.wat").run();
    assert_eq!(outcome.code(), 42, "{}", outcome.stderr);
}

#[test]
fn a_trap_shows_the_guests_functions_and_ends_with_134() {
    for guest in ["trap.wat", "component-trap.wat"] {
        let outcome = Guest::of(guest).run();
        assert_eq!(outcome.code(), 134, "{}", outcome.stderr);
        for expected in [guest, "unreachable", "innermost"] {
            assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
        }
    }
}

#[test]
fn endless_recursion_is_a_trap() {
    let outcome = Guest::of("recursion.wat").run();
    assert_eq!(outcome.code(), 134, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("call stack exhausted"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn memory_stops_growing_at_the_limit() {
    let outcome = Guest::of("grow.wat").memory_limit(1 << 20).run();
    assert_eq!(outcome.code(), 16, "{}", outcome.stderr);
}

#[test]
fn a_limit_below_the_first_memory_is_one_clear_line() {
    let outcome = Guest::of("grow.wat").memory_limit(1000).run();
    assert_eq!(outcome.code(), 126);
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("memory"), "{}", outcome.stderr);
}

#[test]
fn files_are_read_through_the_preopen_and_not_outside() {
    let read = |path: &str| {
        Guest::of("cat.wat")
            .file("etc/motd", "welcome\n")
            .args(&[path])
            .run()
    };
    let inside = read("etc/motd");
    assert_eq!((inside.code(), inside.stdout.as_str()), (0, "welcome\n"));
    // WASI errno 44 is noent, 63 is perm.
    assert_eq!(read("etc/none").code(), 44);
    assert_eq!(read("../../../../../../../etc/passwd").code(), 63);
}

#[test]
fn a_working_directory_is_where_relative_paths_start() {
    let mut guest = Guest::of("preopens.wat")
        .file("srv/data", "")
        .file("etc/x", "");
    let root = guest.handoff.preopens[0].directory.clone();
    guest.handoff.cwd = format!("{root}/srv");
    guest.handoff.preopens[0].guest = root.clone();
    let outcome = guest.run();
    assert_eq!(
        outcome.stdout,
        format!("{root}/srv\n{root}\n.\n"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn standard_input_is_read_to_its_end() {
    let text = "line\n".repeat(10_000);
    let outcome = Guest::of("echo.wat").run_with_input(text.as_bytes());
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    assert!(
        outcome.stdout == text,
        "{} bytes came back",
        outcome.stdout.len()
    );
}

#[test]
fn a_guest_can_wait_for_a_clock() {
    let outcome = Guest::of("sleep.wat").run();
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
}

#[test]
fn a_missing_import_is_named_in_one_line() {
    let outcome = Guest::of("missing-import.wat").run();
    assert_eq!(outcome.code(), 126);
    let expected = "tandem-wasm: \"missing-import.wat\": cannot run the guest: the module imports \"launch_rockets\" from \"env\", which nobody provides\n";
    assert_eq!(outcome.stderr, expected);
}

#[test]
fn a_library_is_no_program() {
    let outcome = Guest::of("library.wat").run();
    assert_eq!(outcome.code(), 126);
    assert!(
        outcome.stderr.contains("no function \"_start\""),
        "{}",
        outcome.stderr
    );
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
}

#[test]
fn an_unknown_option_is_refused() {
    let mut guest = Guest::of("hello.wat");
    guest.handoff.options.insert("fuel".into(), "1".into());
    let outcome = guest.run();
    assert_eq!(outcome.code(), 126);
    assert!(outcome.stderr.contains("\"fuel\""), "{}", outcome.stderr);
}

#[test]
fn without_a_handoff_the_program_says_what_it_is() {
    let output = Command::new(HANDLER).env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("TANDEM_HANDOFF"));
}

#[test]
fn the_guest_sees_the_descriptors_of_its_container_only() {
    // Three of stdio and one preopen, though the test program leaves its own open.
    let stray = std::fs::File::open("/dev/null").unwrap();
    support::inherit(&stray);
    let mut guest = Guest::of("loop.wat").spawn(Command::new(HANDLER));
    assert_eq!(guest.first_line(), "running");
    let folder = format!("/proc/{}/fd", guest.child.id());
    let targets: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap())
        .map(|target| target.to_string_lossy().into_owned())
        .collect();
    guest.child.kill().unwrap();
    guest.finish();
    let of_runtime = |t: &&String| t.contains("/dev/null") || t.contains("tandem-handoff");
    assert!(!targets.iter().any(|t| of_runtime(&t)), "{targets:?}");
}

#[test]
fn a_signal_ends_an_endless_loop() {
    let mut guest = Guest::of("loop.wat").spawn(Command::new(HANDLER));
    assert_eq!(guest.first_line(), "running");
    kill_process(Pid::from_child(&guest.child), Signal::TERM).unwrap();
    let outcome = guest.finish();
    assert_eq!(outcome.status.signal(), Some(15));
}

#[test]
#[ignore = "needs root: a PID namespace"]
fn a_signal_ends_the_guest_with_143_though_it_is_pid_1() {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--", HANDLER]);
    let mut guest = Guest::of("loop.wat").spawn(command);
    assert_eq!(guest.first_line(), "running");
    let children = format!("/proc/{0}/task/{0}/children", guest.child.id());
    let inner = std::fs::read_to_string(children).unwrap();
    let inner = Pid::from_raw(inner.trim().parse().unwrap()).unwrap();
    kill_process(inner, Signal::TERM).unwrap();
    assert_eq!(guest.finish().code(), 143);
}

#[test]
#[ignore = "needs root: chroot"]
fn guests_run_in_an_empty_root_without_proc_and_dev() {
    for (guest, code) in [
        ("random.wat", 0),
        ("component.wat", 0),
        ("component-trap.wat", 134),
    ] {
        let root = tempfile::tempdir().unwrap();
        std::fs::copy(HANDLER, root.path().join("handler")).unwrap();
        let mut command = Command::new("/usr/sbin/chroot");
        command.arg(root.path()).arg("/handler");
        let mut guest = Guest::of(guest);
        guest.handoff.preopens[0].directory = "/".into();
        let outcome = guest.spawn(command).finish();
        assert_eq!(outcome.code(), code, "{}", outcome.stderr);
    }
}
