//! A Unix socket over which `tandem` sends a descriptor.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::wait::LIMIT;

#[derive(Debug)]
pub struct Listener(UnixListener);

impl Listener {
    pub fn bind(path: &Path) -> Self {
        Self(UnixListener::bind(path).unwrap())
    }

    /// The name that came with the descriptor, and the descriptor.
    #[track_caller]
    pub fn receive(&self) -> (String, OwnedFd) {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        assert!(poll(&mut fds, LIMIT).unwrap() > 0, "nobody has connected");
        let (stream, _) = self.0.accept().unwrap();
        let mut buffer = [0; 4096];
        let mut space = nix::cmsg_space!([i32; 4]);
        let (length, received) = {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let fd = stream.as_raw_fd();
            let message =
                recvmsg::<()>(fd, &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC);
            let message = message.unwrap();
            let rights = message.cmsgs().unwrap().find_map(|control| match control {
                ControlMessageOwned::ScmRights(fds) => Some(fds),
                _ => None,
            });
            (message.bytes, rights.expect("a descriptor"))
        };
        assert_eq!(received.len(), 1);
        let name = String::from_utf8(buffer[..length].to_vec()).unwrap();
        #[expect(
            unsafe_code,
            reason = "the kernel has just made this descriptor for us"
        )]
        // SAFETY: recvmsg gave the number, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(received[0]) };
        (name, fd)
    }
}
