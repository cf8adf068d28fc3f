//! Reading from the master of a terminal.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, poll};

use super::wait::LIMIT;

/// Everything that comes until `wanted` has come or the other side is closed.
pub fn read_terminal(master: &OwnedFd, wanted: &str) -> String {
    let mut text = String::new();
    while !text.contains(wanted) {
        let mut fds = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, LIMIT).unwrap() == 0 {
            break;
        }
        let mut buffer = [0; 4096];
        match nix::unistd::read(master.as_raw_fd(), &mut buffer) {
            // EIO is how a terminal tells of its end.
            Ok(0) | Err(_) => break,
            Ok(length) => text += &String::from_utf8_lossy(&buffer[..length]),
        }
    }
    text
}
