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
#[ignore = "a measurement: needs SECCOMP_CONFIGS and --release"]
fn time_of_compile_and_install() {
    use std::time::Instant;
    let least = |mut work: Box<dyn FnMut()>| {
        (0..300)
            .map(|_| {
                let start = Instant::now();
                work();
                start.elapsed()
            })
            .min()
            .unwrap()
    };
    let paths = std::env::var("SECCOMP_CONFIGS").unwrap();
    for path in paths.split(':') {
        let text = std::fs::read_to_string(path).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        if config["linux"]["seccomp"].is_null() {
            continue;
        }
        let text = config["linux"]["seccomp"].to_string();
        let profile: LinuxSeccomp = serde_json::from_str(&text).unwrap();
        let program = compile(&profile).unwrap();
        let p2 = profile.clone();
        let compiling = least(Box::new(move || {
            std::hint::black_box(compile(&p2).unwrap());
        }));
        let t2 = text.clone();
        let parsing = least(Box::new(move || {
            std::hint::black_box(serde_json::from_str::<LinuxSeccomp>(&t2).unwrap());
        }));
        let installing = (0..30)
            .map(|_| {
                std::thread::scope(|s| {
                    s.spawn(|| {
                        nix::sys::prctl::set_no_new_privs().unwrap();
                        let start = Instant::now();
                        program.install().unwrap();
                        start.elapsed()
                    })
                    .join()
                    .unwrap()
                })
            })
            .min()
            .unwrap();
        println!(
            "{path}: {} bytes, {} instructions: compile {compiling:?}, parse {parsing:?}, install {installing:?}",
            text.len(),
            program.instructions().len()
        );
        let theirs = super::differential::by_libseccomp(&profile).unwrap();
        let p3 = profile.clone();
        let compiling = least(Box::new(move || {
            std::hint::black_box(super::differential::by_libseccomp(&p3).unwrap());
        }));
        let installing = (0..30)
            .map(|_| {
                std::thread::scope(|s| {
                    s.spawn(|| {
                        nix::sys::prctl::set_no_new_privs().unwrap();
                        let start = Instant::now();
                        crate::sys::seccomp::set_mode_filter(4, &theirs).unwrap();
                        start.elapsed()
                    })
                    .join()
                    .unwrap()
                })
            })
            .min()
            .unwrap();
        println!(
            "  libseccomp: {} instructions: compile {compiling:?}, install {installing:?}",
            theirs.len()
        );
    }
}
