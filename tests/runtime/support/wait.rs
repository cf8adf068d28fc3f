//! Waiting for what has no descriptor to wait on.

use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Longer than anything takes on a busy machine, shorter than the patience of CI; in milliseconds.
pub const LIMIT: u16 = 30_000;

/// Asks again and again until the answer is `Some`.
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_millis(LIMIT.into());
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The exit code of a container's first process, once `tandem` has left it to us; 128 plus the signal that ended it.
#[track_caller]
pub fn exit_code(pid: i32) -> i32 {
    until("the container ends", || {
        match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)).unwrap() {
            WaitStatus::Exited(_, code) => Some(code),
            WaitStatus::Signaled(_, signal, _) => Some(128 + signal as i32),
            _ => None,
        }
    })
}
