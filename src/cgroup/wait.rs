//! Waiting for a change of a cgroup, with a limit.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::dir::{Directory, is_gone};
use super::error::CgroupError;

/// The end of a wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Instant);

impl Deadline {
    pub(super) fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    pub(super) fn left(self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Sleeps for `pause`, doubled at each call up to a twentieth of a second; false when the time is over. For what the
    /// kernel tells nobody of: the files of cgroup v1 cannot be polled.
    pub(super) fn sleep(self, pause: &mut Duration) -> bool {
        let Some(left) = self.left() else {
            return false;
        };
        thread::sleep((*pause).min(left));
        *pause = (*pause * 2).min(Duration::from_millis(50));
        true
    }
}

/// `cgroup.events` of cgroup v2: lines like `populated 1`, and a file that poll(2) tells changes of.
#[derive(Debug)]
pub(super) struct Events(File);

impl Events {
    pub(super) fn open(directory: &Directory) -> Result<Self, CgroupError> {
        directory.open_file("cgroup.events").map(Self)
    }

    /// Waits until the line of `key` says `value`, or the cgroup is gone. False when the time is over.
    pub(super) fn wait(&mut self, key: &str, value: bool, deadline: Deadline) -> bool {
        loop {
            // A cgroup that is gone has no processes, frozen or not.
            let Some(now) = self.get(key) else {
                return true;
            };
            if now == value {
                return true;
            }
            let Some(left) = deadline.left() else {
                return false;
            };
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut watched = [PollFd::new(self.0.as_fd(), PollFlags::POLLPRI)];
            // A signal or the timeout lead to the next look at file and clock, as does the event.
            if poll(&mut watched, timeout).is_err_and(|errno| errno != Errno::EINTR) {
                return false;
            }
        }
    }

    /// `None` if the cgroup was removed.
    fn get(&mut self, key: &str) -> Option<bool> {
        let mut text = String::new();
        let read = self
            .0
            .rewind()
            .and_then(|()| self.0.read_to_string(&mut text));
        match read {
            Err(error) if is_gone(&error) => None,
            // Reading a file of a living cgroup does not fail; if it did, the wait must end by its limit.
            Err(_) => Some(false),
            Ok(_) => text.lines().find_map(|line| {
                let (name, value) = line.split_once(' ')?;
                (name == key).then_some(value == "1")
            }),
        }
    }
}
