//! The line between the runtime and the container's process while it is being set up.
//!
//! A pair of SOCK_SEQPACKET sockets (unix(7)): each message arrives whole or not at all, and a descriptor travels
//! with it. The child's end closes at its execve, so an end of file means that the program has taken over.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};

use crate::sys::process::adopt;

/// What the container's process tells the runtime.
#[derive(Debug)]
pub enum Report {
    /// The process that sets the container up is this one, not the one that was cloned first.
    Pid(i32),
    /// The root file system is mounted and not yet pivoted to: time for the hooks of the runtime namespace.
    Hooks,
    /// Resource limits have to be set now, by somebody with rights on the host.
    Limits,
    /// The entrypoint is a Wasm module; here it is, opened.
    Wasm(OwnedFd),
    /// The master of the container's terminal, for a runtime that relays it itself.
    Terminal(OwnedFd),
    /// The number of the seccomp listener's descriptor in the process, for the agent that the config names. The
    /// filter is in force by now and may want to hear of a sendmsg(2) itself, so the descriptor cannot be sent: the
    /// runtime fetches it.
    Listener(RawFd),
    /// Everything is set up; only the word to start is missing.
    Ready,
    /// A step failed; no other message follows.
    Failed(String),
}

/// What the runtime answers.
#[derive(Debug)]
pub enum Order {
    /// Go on.
    Go,
    /// The Wasm engine's program, and the compiled module where there is one.
    Handler {
        program: OwnedFd,
        artifact: Option<OwnedFd>,
    },
    /// Give up: the runtime has failed and reports itself.
    Stop,
}

/// Why a message did not get through.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    #[error("cannot reach the other side of the launch")]
    Socket(#[source] io::Error),
    #[error("the other side of the launch has ended")]
    Closed,
    #[error("the launch got a message that it does not know")]
    Unknown,
}

/// The longest message: an error chain is cut to it.
const LONGEST: usize = 16 * 1024;
/// The most descriptors in a message.
const MOST_FDS: usize = 2;

/// The runtime's end.
#[derive(Debug)]
pub struct RuntimeEnd(OwnedFd);

/// The container process's end.
#[derive(Debug)]
pub struct ProcessEnd(OwnedFd);

/// Makes both ends.
///
/// # Errors
/// Those of socketpair(2).
pub fn channel() -> Result<(RuntimeEnd, ProcessEnd), SyncError> {
    let (runtime, process) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .map_err(|errno| SyncError::Socket(errno.into()))?;
    Ok((RuntimeEnd(runtime), ProcessEnd(process)))
}

impl RuntimeEnd {
    /// Waits for the next report; `None` once the other end is closed.
    ///
    /// # Errors
    /// Those of recvmsg(2).
    pub fn receive(&self) -> Result<Option<Report>, SyncError> {
        let mut message = Message::receive(&self.0)?;
        let Some((&tag, rest)) = message.bytes.split_first() else {
            return Ok(None);
        };
        let text = || String::from_utf8_lossy(rest).into_owned();
        let report = match tag {
            b'p' => Report::Pid(text().parse().map_err(|_not_a_number| SyncError::Unknown)?),
            b'h' => Report::Hooks,
            b'l' => Report::Limits,
            b'w' => Report::Wasm(message.take()?),
            b't' => Report::Terminal(message.take()?),
            b's' => Report::Listener(text().parse().map_err(|_not_a_number| SyncError::Unknown)?),
            b'r' => Report::Ready,
            b'f' => Report::Failed(text()),
            _ => return Err(SyncError::Unknown),
        };
        Ok(Some(report))
    }

    /// Answers.
    ///
    /// # Errors
    /// [`SyncError::Closed`] when the process is gone.
    pub fn send(&self, order: &Order) -> Result<(), SyncError> {
        match order {
            Order::Go => send(&self.0, b"g", &[]),
            Order::Stop => send(&self.0, b"x", &[]),
            Order::Handler { program, artifact } => {
                let fds: Vec<RawFd> = [Some(program), artifact.as_ref()]
                    .into_iter()
                    .flatten()
                    .map(AsRawFd::as_raw_fd)
                    .collect();
                send(&self.0, b"w", &fds)
            }
        }
    }

    /// The socket, to wait on it beside other things.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }
}

impl ProcessEnd {
    /// The socket, to keep it open.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }

    /// Tells the runtime something.
    ///
    /// # Errors
    /// [`SyncError::Closed`] when the runtime is gone.
    pub fn send(&self, report: &Report) -> Result<(), SyncError> {
        match report {
            Report::Pid(pid) => send(&self.0, format!("p{pid}").as_bytes(), &[]),
            Report::Hooks => send(&self.0, b"h", &[]),
            Report::Limits => send(&self.0, b"l", &[]),
            Report::Wasm(fd) => send(&self.0, b"w", &[fd.as_raw_fd()]),
            Report::Terminal(fd) => send(&self.0, b"t", &[fd.as_raw_fd()]),
            Report::Listener(fd) => write(&self.0, format!("s{fd}").as_bytes()),
            Report::Ready => write(&self.0, b"r"),
            Report::Failed(text) => {
                let mut bytes = format!("f{text}").into_bytes();
                bytes.truncate(LONGEST);
                write(&self.0, &bytes)
            }
        }
    }

    /// Waits for the runtime's answer.
    ///
    /// # Errors
    /// [`SyncError::Closed`] when the runtime is gone or has given up.
    pub fn receive(&self) -> Result<Order, SyncError> {
        let mut message = Message::receive(&self.0)?;
        match message.bytes.first() {
            Some(b'g') => Ok(Order::Go),
            Some(b'w') => {
                let program = message.take()?;
                Ok(Order::Handler {
                    program,
                    artifact: message.take().ok(),
                })
            }
            Some(b'x') | None => Err(SyncError::Closed),
            Some(_) => Err(SyncError::Unknown),
        }
    }

    /// Waits for the word to go on, with read(2): see `write` below.
    ///
    /// # Errors
    /// [`SyncError::Closed`] when the runtime is gone or has given up.
    pub fn wait_for_start(&self) -> Result<(), SyncError> {
        let mut byte = [0; 1];
        loop {
            match nix::unistd::read(self.0.as_raw_fd(), &mut byte) {
                Ok(1) if byte == *b"g" => return Ok(()),
                Ok(_) => return Err(SyncError::Closed),
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(SyncError::Socket(errno.into())),
            }
        }
    }

    /// Asks for something and waits until it is done.
    ///
    /// # Errors
    /// [`SyncError::Closed`] when the runtime is gone or has given up.
    pub fn ask(&self, report: &Report) -> Result<Order, SyncError> {
        self.send(report)?;
        self.receive()
    }
}

/// write(2) and not sendmsg(2): these are sent from behind the container's seccomp filter, which rather lets a plain
/// write through.
fn write(socket: &OwnedFd, bytes: &[u8]) -> Result<(), SyncError> {
    match nix::unistd::write(socket, bytes) {
        Ok(_) => Ok(()),
        Err(errno) => Err(SyncError::Socket(errno.into())),
    }
}

fn send(socket: &OwnedFd, bytes: &[u8], fds: &[RawFd]) -> Result<(), SyncError> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    loop {
        match sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(bytes)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::EPIPE | nix::errno::Errno::ECONNRESET) => {
                return Err(SyncError::Closed);
            }
            Err(errno) => return Err(SyncError::Socket(errno.into())),
        }
    }
}

struct Message {
    bytes: Vec<u8>,
    fds: std::vec::IntoIter<OwnedFd>,
}

impl Message {
    fn receive(socket: &OwnedFd) -> Result<Self, SyncError> {
        let mut buffer = vec![0; LONGEST];
        let mut control = nix::cmsg_space!([RawFd; MOST_FDS]);
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let received = loop {
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
                Ok(received) => break received,
                Err(nix::errno::Errno::EINTR) => {}
                // The other end died with messages of ours unread.
                Err(nix::errno::Errno::ECONNRESET) => {
                    return Ok(Self {
                        bytes: Vec::new(),
                        fds: Vec::new().into_iter(),
                    });
                }
                Err(errno) => return Err(SyncError::Socket(errno.into())),
            }
        };
        let mut fds = Vec::new();
        for message in received
            .cmsgs()
            .map_err(|errno| SyncError::Socket(errno.into()))?
        {
            if let ControlMessageOwned::ScmRights(raw) = message {
                fds.extend(raw.into_iter().map(adopt));
            }
        }
        let length = received.bytes;
        buffer.truncate(length);
        Ok(Self {
            bytes: buffer,
            fds: fds.into_iter(),
        })
    }

    fn take(&mut self) -> Result<OwnedFd, SyncError> {
        self.fds.next().ok_or(SyncError::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_and_orders_arrive_as_they_were_sent() {
        let (runtime, process) = channel().unwrap();
        process.send(&Report::Pid(42)).unwrap();
        process
            .send(&Report::Failed("no such thing".into()))
            .unwrap();
        assert!(matches!(runtime.receive().unwrap(), Some(Report::Pid(42))));
        assert!(
            matches!(runtime.receive().unwrap(), Some(Report::Failed(text)) if text == "no such thing")
        );
        let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        runtime
            .send(&Order::Handler {
                program: file,
                artifact: None,
            })
            .unwrap();
        assert!(matches!(
            process.receive().unwrap(),
            Order::Handler { artifact: None, .. }
        ));
    }

    #[test]
    fn a_closed_end_is_seen_from_the_other() {
        let (runtime, process) = channel().unwrap();
        drop(process);
        assert!(runtime.receive().unwrap().is_none());
        let (runtime, process) = channel().unwrap();
        drop(runtime);
        assert!(matches!(process.wait_for_start(), Err(SyncError::Closed)));
    }

    #[test]
    fn a_runtime_that_gives_up_stops_the_process() {
        let (runtime, process) = channel().unwrap();
        runtime.send(&Order::Stop).unwrap();
        assert!(matches!(process.wait_for_start(), Err(SyncError::Closed)));
    }
}
