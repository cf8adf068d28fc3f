//! The compiler shuts itself in before it reads a byte of a module: a module can aim at it.
//!
//! What is left afterwards: three descriptors, memory, threads, time. No file can be opened, no socket made, no
//! program run, no memory made executable, no capability used.

use std::io;

use libc::{c_int, c_ulong};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::filter::{self, Rule};

/// Address space, which also counts the stacks of the threads: far above what an 18 MB component takes (1 GB).
const MAX_MEMORY: u64 = 16 << 30;
/// Processor time of all threads together.
const MAX_SECONDS: u64 = 900;
const MAX_OUTPUT: u64 = 4 << 30;

#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    #[error("cannot give up new privileges")]
    NoNewPrivileges { source: io::Error },
    #[error("cannot be tied to the parent's life")]
    ParentDeath { source: io::Error },
    #[error("cannot close inherited descriptors")]
    Descriptors { source: io::Error },
    #[error("cannot limit its resources")]
    Limits { source: io::Error },
    #[error("cannot drop its capabilities")]
    Capabilities { source: io::Error },
    #[error("cannot install its system call filter")]
    Filter { source: io::Error },
}

/// Call it while there is one thread.
pub fn confine() -> Result<(), ConfineError> {
    close_inherited().map_err(|source| ConfineError::Descriptors { source })?;
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
        .map_err(|source| ConfineError::NoNewPrivileges { source })?;
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as c_ulong)
        .map_err(|source| ConfineError::ParentDeath { source })?;
    limit_resources().map_err(|source| ConfineError::Limits { source })?;
    drop_capabilities().map_err(|source| ConfineError::Capabilities { source })?;
    filter::install(&rules()).map_err(|source| ConfineError::Filter { source })
}

fn close_inherited() -> io::Result<()> {
    // SAFETY: only integers are passed, and this program owns no descriptor but the first three.
    match unsafe { libc::syscall(libc::SYS_close_range, 3, c_int::MAX, 0) } {
        0 => Ok(()),
        // Linux before 5.9. The parent's descriptors are close-on-exec; this is the second line.
        _ if io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn prctl(option: c_int, argument: c_ulong) -> io::Result<()> {
    // SAFETY: the options used here take integers only.
    match unsafe { libc::prctl(option, argument, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lowered, never raised: a service manager may have set less.
fn limit_resources() -> io::Result<()> {
    let limits = [
        (Resource::As, MAX_MEMORY),
        (Resource::Cpu, MAX_SECONDS),
        (Resource::Fsize, MAX_OUTPUT),
        (Resource::Core, 0),
    ];
    for (resource, limit) in limits {
        let maximum = rustix::process::getrlimit(resource).maximum;
        let limit = maximum.map_or(limit, |maximum| maximum.min(limit));
        let limit = Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        setrlimit(resource, limit)?;
    }
    Ok(())
}

/// All sets empty. Nothing brings one back: no_new_privs is set, and the filter has no execve.
fn drop_capabilities() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    // _LINUX_CAPABILITY_VERSION_3, capget(2): two triples of effective, permitted, inheritable.
    let header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let none = [[0_u32; 3]; 2];
    // SAFETY: both point to structures of the layout that the call documents, alive until it returns.
    match unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const none) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn rules() -> Vec<Rule> {
    let allowed = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_close,
        libc::SYS_fstat,
        libc::SYS_lseek,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_set_robust_list,
        libc::SYS_rseq,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_tgkill,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_getrandom,
    ];
    let mut rules: Vec<_> = allowed.into_iter().map(Rule::Allow).collect();
    rules.extend([
        // Memory, but none that can be executed.
        Rule::AllowIf {
            call: libc::SYS_mmap,
            index: 2,
            mask: libc::PROT_EXEC as u32,
            value: 0,
        },
        Rule::AllowIf {
            call: libc::SYS_mprotect,
            index: 2,
            mask: libc::PROT_EXEC as u32,
            value: 0,
        },
        // Threads, but no processes. The flags of clone3 lie in memory, where a filter cannot read; ENOSYS makes libc
        // use clone.
        Rule::Fail(libc::SYS_clone3, libc::ENOSYS),
        Rule::AllowIf {
            call: libc::SYS_clone,
            index: 0,
            mask: libc::CLONE_THREAD as u32,
            value: libc::CLONE_THREAD as u32,
        },
        // Names of threads.
        Rule::AllowIf {
            call: libc::SYS_prctl,
            index: 0,
            mask: !0,
            value: libc::PR_SET_NAME as u32,
        },
        // The standard library asks cgroup files how many processors it may use, and does without.
        Rule::Fail(libc::SYS_openat, libc::ENOENT),
    ]);
    rules
}
