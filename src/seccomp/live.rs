//! The kernel's own word: filters that are installed, each in a thread of its own, as a filter binds only
//! the thread that asks for it and goes with it.

use std::os::fd::OwnedFd;

use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Value, json};

use super::{SeccompError, compile};
use crate::sys::seccomp::call;

fn under<T: Send>(
    profile: &Value,
    work: impl FnOnce(Option<OwnedFd>) -> T + Send,
) -> Result<T, SeccompError> {
    let profile: LinuxSeccomp = serde_json::from_value(profile.clone()).unwrap();
    let program = compile(&profile).unwrap();
    let restricted = || {
        nix::sys::prctl::set_no_new_privs().unwrap();
        program.install().map(work)
    };
    std::thread::scope(|scope| scope.spawn(restricted).join().unwrap())
}

/// Denies by default; what a thread needs to come to its end is allowed.
fn allowing(names: &[&str]) -> Value {
    let thread = [
        "exit",
        "futex",
        "madvise",
        "munmap",
        "mmap",
        "mprotect",
        "rt_sigprocmask",
        "sigaltstack",
        "write",
        "close",
        "sched_yield",
        "brk",
        "restart_syscall",
    ];
    let names = [&thread[..], names].concat();
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }],
    })
}

#[test]
fn an_allowed_call_passes_and_another_gets_eperm() {
    let answers = under(&allowing(&["getpid", "openat2"]), |_| {
        (call(libc::SYS_getpid), call(libc::SYS_getppid))
    });
    let (pid, parent) = answers.unwrap();
    assert_eq!(pid, Ok(std::process::id().into()));
    assert_eq!(parent, Err(Some(libc::EPERM)));
}

#[test]
fn a_call_newer_than_the_profile_gets_enosys() {
    let newer = under(&allowing(&["clone3"]), |_| {
        (call(libc::SYS_openat2), call(999))
    })
    .unwrap();
    assert_eq!(newer, (Err(Some(libc::ENOSYS)), Err(Some(libc::ENOSYS))));
}

#[test]
fn the_errno_of_a_rule_reaches_the_program() {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97 }],
    });
    let answer = under(&profile, |_| call(libc::SYS_getppid)).unwrap();
    assert_eq!(answer, Err(Some(libc::EAFNOSUPPORT)));
}

#[test]
fn all_flags_of_the_specification_are_taken_by_this_kernel_or_named() {
    for flag in super::known_flags() {
        let mut profile = allowing(&["getpid"]);
        profile["flags"] = json!([flag]);
        match under(&profile, |listener| listener.is_none()) {
            Ok(without_listener) => assert!(without_listener),
            Err(error) => assert!(error.to_string().contains(flag), "{error}"),
        }
    }
}

#[test]
fn a_notify_rule_yields_a_listener() {
    let mut profile = allowing(&[]);
    profile["listenerPath"] = json!("/run/agent.sock");
    profile["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
    let rules = profile["syscalls"].as_array_mut().unwrap();
    rules.push(json!({ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }));
    match under(&profile, |listener| listener.is_some()) {
        Ok(has_listener) => assert!(has_listener),
        Err(error) => assert!(
            matches!(error, SeccompError::FlagUnsupported { .. }),
            "{error}"
        ),
    }
}

#[test]
#[ignore = "a measurement: needs SECCOMP_CONFIGS, and means something with --release only"]
fn time_of_compile_and_install_beside_libseccomp() {
    for path in std::env::var("SECCOMP_CONFIGS").unwrap().split(':') {
        let config: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        if config["linux"]["seccomp"].is_null() {
            continue;
        }
        let profile: LinuxSeccomp =
            serde_json::from_value(config["linux"]["seccomp"].clone()).unwrap();
        let ours = compile(&profile).unwrap();
        let theirs = super::differential::by_libseccomp(&profile).unwrap();
        let compiling = least(300, || compile(&profile).unwrap());
        let by_libseccomp = least(30, || super::differential::by_libseccomp(&profile).unwrap());
        println!("{path}");
        for (who, instructions, compiling) in [
            ("tandem", ours.instructions(), compiling),
            ("libseccomp", &theirs, by_libseccomp),
        ] {
            let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
            let install = || crate::sys::seccomp::set_mode_filter(flags, instructions).unwrap();
            // A thread of its own each time: filters add up.
            let installing = (0..30).map(|_| {
                let restricted = || {
                    nix::sys::prctl::set_no_new_privs().unwrap();
                    least(1, install)
                };
                std::thread::scope(|scope| scope.spawn(restricted).join().unwrap())
            });
            let (length, installing) = (instructions.len(), installing.min().unwrap());
            println!(
                "  {who}: {length} instructions, compiled in {compiling:?}, installed in {installing:?}"
            );
        }
    }
}

fn least<T>(times: usize, mut work: impl FnMut() -> T) -> std::time::Duration {
    let timed = |_| {
        let start = std::time::Instant::now();
        std::hint::black_box(work());
        start.elapsed()
    };
    (0..times).map(timed).min().unwrap()
}

#[test]
fn the_kernel_takes_a_program_with_jumps_that_need_several_hops() {
    let rule = |(value, name): (usize, &str)| {
        let args: Vec<_> = (0..9)
            .map(|n| json!({ "index": 2, "value": value << 32 | n, "op": "SCMP_CMP_EQ" }))
            .collect();
        json!({ "names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 97, "args": args })
    };
    let names = [
        "getppid", "mkdir", "link", "unlink", "chmod", "chown", "umask", "getsid", "mknod", "acct",
    ];
    let rules: Vec<_> = names.into_iter().enumerate().map(rule).collect();
    let archs = [
        "SCMP_ARCH_X86_64",
        "SCMP_ARCH_X86",
        "SCMP_ARCH_X32",
        "SCMP_ARCH_AARCH64",
        "SCMP_ARCH_ARM",
    ];
    let profile =
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": archs, "syscalls": rules });
    let answers = under(&profile, |_| {
        (call(libc::SYS_getppid), call(libc::SYS_getsid))
    })
    .unwrap();
    assert_eq!(
        answers.0,
        Err(Some(libc::EAFNOSUPPORT)),
        "all arguments are zero"
    );
    assert_ne!(answers.1, Err(Some(libc::EAFNOSUPPORT)));
}
