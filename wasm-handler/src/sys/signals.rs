//! Signals end the guest, as they end a Linux program that does not handle them.

use std::io;
use std::mem::MaybeUninit;

/// What ends a process by default, signal(7), but those that the engine handles itself (SIGSEGV and its like) and
/// SIGPIPE, which a WASI guest sees as an error of its write.
const ENDING: [libc::c_int; 14] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGSTKFLT,
    libc::SIGXCPU,
    libc::SIGXFSZ,
];

/// Makes signals end this process with 128 plus their number, if it is the first of its PID namespace: the kernel
/// withholds from that one every signal that it has no handler for, pid_namespaces(7).
///
/// Any other process is ended by the signal itself, which says more to a parent.
///
/// The runtime executes a handler with all signals blocked, so that none that comes before this is lost; they are let
/// through here.
pub fn end_on_signals() -> io::Result<()> {
    if std::process::id() == 1 {
        let mut all = ENDING
            .into_iter()
            .chain(libc::SIGRTMIN()..=libc::SIGRTMAX());
        all.try_for_each(end_on)?;
    }
    unblock_all()
}

fn unblock_all() -> io::Result<()> {
    // SAFETY: a signal set is a plain bit field, and all zeros is the empty one.
    let none: libc::sigset_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the set is initialized, and a null old set is allowed.
    match unsafe { libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn end_on(signal: libc::c_int) -> io::Result<()> {
    let action = libc::sigaction {
        sa_sigaction: end as extern "C" fn(libc::c_int) as usize,
        // The guest's stack may be all but used up; the engine gives each of its threads another one for signals.
        sa_flags: libc::SA_ONSTACK,
        // SAFETY: a signal set is a plain bit field, and all zeros is the empty one.
        sa_mask: unsafe { MaybeUninit::zeroed().assume_init() },
        sa_restorer: None,
    };
    // SAFETY: the action is initialized, and its handler only calls _exit, which is async-signal-safe.
    match unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// At once: the guest may be in an endless loop, and its output is not buffered here.
extern "C" fn end(signal: libc::c_int) {
    // SAFETY: async-signal-safe, and does not return.
    unsafe { libc::_exit(128 + signal) }
}
