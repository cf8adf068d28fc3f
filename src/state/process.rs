//! A process that is the same one as before: its pid and the time of its start.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::sys::process as sys;

/// A container's first process, as the host sees it.
///
/// The kernel reuses pids; together with the start time (proc_pid_stat(5), field 22) a pid names one process for as
/// long as the machine is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitProcess {
    pub pid: i32,
    /// Clock ticks since boot.
    pub start_time: u64,
}

/// What has become of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    Alive,
    /// Gone, or a zombie that nobody has waited for yet.
    Dead,
}

impl InitProcess {
    /// Takes down the start time of a process that is there now.
    ///
    /// # Errors
    /// `NotFound` when there is no such process.
    pub fn observe(pid: i32) -> io::Result<Self> {
        let (_, start_time) = read_stat(pid)?;
        Ok(Self { pid, start_time })
    }

    /// Whether the process still runs. Another process with the same pid does not count.
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        match read_stat(self.pid) {
            Ok((state, start_time))
                if start_time == self.start_time && !matches!(state, b'Z' | b'X') =>
            {
                Liveness::Alive
            }
            _ => Liveness::Dead,
        }
    }

    /// A descriptor of the process, or `None` when it is gone.
    ///
    /// # Errors
    /// Those of pidfd_open(2) other than `ESRCH`.
    pub fn open(&self) -> io::Result<Option<OwnedFd>> {
        let pidfd = match sys::pidfd_open(self.pid) {
            Ok(pidfd) => pidfd,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            Err(error) => return Err(error),
        };
        // Looked at after the open: if the process is the right one now, the descriptor is that process's.
        Ok((self.liveness() == Liveness::Alive).then_some(pidfd))
    }

    /// Sends a signal to this process and to no other.
    ///
    /// # Errors
    /// `ESRCH` when the process is gone.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let gone = || io::Error::from_raw_os_error(libc::ESRCH);
        let pidfd = self.open()?.ok_or_else(gone)?;
        sys::pidfd_send_signal(pidfd.as_fd(), signal)
    }
}

/// State letter and start time of a process.
fn read_stat(pid: i32) -> io::Result<(u8, u64)> {
    let text = fs::read(format!("/proc/{pid}/stat"))?;
    parse_stat(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// The command name stands in parentheses and may hold anything, parentheses and spaces too: the fields are
/// counted from the last one.
fn parse_stat(text: &[u8]) -> Option<(u8, u64)> {
    let after_name = text.iter().rposition(|&byte| byte == b')')? + 2;
    let rest = std::str::from_utf8(text.get(after_name..)?).ok()?;
    let mut fields = rest.split(' ');
    let state = *fields.next()?.as_bytes().first()?; // field 3
    let start_time = fields.nth(18)?.parse().ok()?; // field 22
    Some((state, start_time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = b"7 (a) S 1 (b) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
        assert_eq!(parse_stat(text), Some((b'R', 4242)));
        assert_eq!(parse_stat(b"7 (x"), None);
    }

    #[test]
    fn a_process_is_recognised_and_one_with_another_start_time_is_not() {
        let own = InitProcess::observe(std::process::id() as i32).unwrap();
        assert_eq!(own.liveness(), Liveness::Alive);
        let reused = InitProcess {
            start_time: own.start_time + 1,
            ..own
        };
        assert_eq!(reused.liveness(), Liveness::Dead);
        assert!(reused.open().unwrap().is_none());
    }
}
