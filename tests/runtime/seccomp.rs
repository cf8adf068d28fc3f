//! The seccomp filter of the container.

use serde_json::{Value, json};

use crate::support::{TestBundle, add_probe};

fn filtered(seccomp: Value) -> TestBundle {
    TestBundle::minimal()
        .with("/linux/seccomp", seccomp)
        .image(add_probe)
}

/// A profile such as Docker's: what is not named is refused. What busybox, libc and `tandem` need is named.
fn allow_list() -> Value {
    let names = [
        "access",
        "arch_prctl",
        "brk",
        "capget",
        "capset",
        "chdir",
        "clock_gettime",
        "clone",
        "clone3",
        "close",
        "close_range",
        "dup",
        "dup2",
        "dup3",
        "execve",
        "execveat",
        "exit",
        "exit_group",
        "faccessat",
        "faccessat2",
        "fchdir",
        "fchown",
        "fcntl",
        "fork",
        "fstat",
        "fstatfs",
        "futex",
        "getcwd",
        "getdents64",
        "getegid",
        "geteuid",
        "getgid",
        "getpgrp",
        "getpid",
        "getppid",
        "getrandom",
        "getuid",
        "ioctl",
        "lseek",
        "lstat",
        "mmap",
        "mprotect",
        "munmap",
        "newfstatat",
        "open",
        "openat",
        "openat2",
        "pipe",
        "pipe2",
        "poll",
        "ppoll",
        "prctl",
        "pread64",
        "prlimit64",
        "pselect6",
        "read",
        "readlink",
        "readlinkat",
        "recvmsg",
        "rseq",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "sendmsg",
        "set_robust_list",
        "set_tid_address",
        "setgid",
        "setgroups",
        "setresgid",
        "setresuid",
        "setuid",
        "sigaltstack",
        "stat",
        "statx",
        "sysinfo",
        "tgkill",
        "umask",
        "uname",
        "vfork",
        "wait4",
        "write",
        "writev",
    ];
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "syscalls": [{"names": names.as_slice(), "action": "SCMP_ACT_ALLOW"}],
    })
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_known_call_gets_the_profiles_answer_and_an_unknown_number_enosys() {
    let bundle = filtered(allow_list());
    // getpriority: known to the profile's author, not allowed.
    let number = if cfg!(target_arch = "x86_64") {
        "140"
    } else {
        "141"
    };
    let bundle = bundle.args(["probe", "syscall", number, "0", "0"]);
    assert_eq!(bundle.run().ok(), "1", "EPERM");
    // Newer than any profile: a libc has to fall back to older calls.
    let bundle = bundle.args(["probe", "syscall", "1000"]);
    assert_eq!(bundle.run().ok(), "38", "ENOSYS");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn actions_and_arguments_of_a_rule_count() {
    let (number, name) = if cfg!(target_arch = "x86_64") {
        ("140", "getpriority")
    } else {
        ("141", "getpriority")
    };
    let rule = |extra: Value| {
        let mut rule = json!({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 77});
        rule.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    };
    let ask =
        |bundle: TestBundle, which: &str| bundle.args(["probe", "syscall", number, which, "0"]);
    let bundle = ask(filtered(rule(json!({}))), "0");
    assert_eq!(bundle.run().ok(), "77");
    let only_two = json!({"args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]});
    let bundle = ask(bundle.with("/linux/seccomp", rule(only_two)), "2");
    assert_eq!(bundle.run().ok(), "77");
    let bundle = ask(bundle, "1");
    assert_eq!(bundle.run().ok(), "0");
    let bundle = bundle.with(
        "/linux/seccomp",
        rule(json!({"action": "SCMP_ACT_KILL_PROCESS", "errnoRet": null})),
    );
    assert_eq!(bundle.run().code, Some(128 + 31), "SIGSYS");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_filter_is_loaded_with_and_without_no_new_privileges() {
    for privileges in [true, false] {
        let outcome = filtered(allow_list())
            .with("/process/noNewPrivileges", json!(privileges))
            .with("/process/user", json!({"uid": 1000, "gid": 1000}))
            .args(["grep", "-E", "^Seccomp:|^CapEff", "/proc/self/status"])
            .run();
        assert_eq!(
            outcome.ok(),
            "CapEff:\t0000000000000000\nSeccomp:\t2",
            "{privileges}"
        );
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_profile_that_is_wrong_is_refused() {
    for (seccomp, words) in [
        (
            json!({"defaultAction": "SCMP_ACT_NONSENSE"}),
            "SCMP_ACT_NONSENSE",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NONE"]}),
            "SCMP_ARCH_NONE",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NONE"]}),
            "SECCOMP_FILTER_FLAG_NONE",
        ),
    ] {
        let bundle = TestBundle::minimal().with("/linux/seccomp", seccomp);
        bundle.run().refused(1, &[words]);
        assert_eq!(bundle.left(), [""; 0]);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn no_filter_is_no_filter() {
    let outcome = TestBundle::minimal()
        .args(["grep", "^Seccomp:", "/proc/self/status"])
        .run();
    assert_eq!(outcome.ok(), "Seccomp:\t0");
}
