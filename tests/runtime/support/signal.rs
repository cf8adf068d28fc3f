//! How a container tells the test that something has happened.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::stat::Mode;

use super::wait::LIMIT;

/// A FIFO that the container writes to, and the test waits for.
#[derive(Debug)]
pub struct Bell(File);

impl Bell {
    pub fn hang(path: &Path) -> Self {
        nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o622)).unwrap();
        nix::sys::stat::fchmodat(
            None,
            path,
            Mode::from_bits_truncate(0o622),
            nix::sys::stat::FchmodatFlags::FollowSymlink,
        )
        .unwrap();
        let flags = OFlag::O_NONBLOCK.bits();
        // Open for writing, too: no end of file between one writer and the next.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(path);
        Self(file.unwrap())
    }

    /// What was written, once something was.
    #[track_caller]
    pub fn wait(&mut self) -> String {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, LIMIT).unwrap();
        assert!(ready > 0, "the container did not say anything");
        let mut buffer = [0; 4096];
        let length = self.0.read(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}
