//! Hands the listener of a filter with `SCMP_ACT_NOTIFY` to the agent that answers for the kernel:
//! runtime-spec, config-linux.md, "The Container Process State".
#![forbid(unsafe_code)]

use std::io::{self, IoSlice, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::Serialize;

use super::error::SeccompError;

/// What the agent reads: the names of the descriptors that came with it, and whose calls it will see.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerProcessState<'a, S> {
    pub oci_version: &'a str,
    /// Of the process that the filter was installed in, as the runtime sees it.
    pub pid: i32,
    /// `listenerMetadata` of the profile.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub metadata: &'a str,
    /// The container's state as `state` prints it.
    pub state: S,
    fds: [&'static str; 1],
}

impl<'a, S: Serialize> ContainerProcessState<'a, S> {
    pub fn new(oci_version: &'a str, pid: i32, metadata: &'a str, state: S) -> Self {
        // The one name that the specification has for the one descriptor that is sent.
        Self {
            oci_version,
            pid,
            metadata,
            state,
            fds: ["seccompFd"],
        }
    }
}

/// Sends the state document with the listener attached to the agent's stream socket, and closes the connection,
/// by which the agent knows that the document is complete.
pub fn send_listener(
    path: &Path,
    listener: BorrowedFd<'_>,
    state_json: &[u8],
) -> Result<(), SeccompError> {
    let connect = |source| SeccompError::ConnectListener {
        path: path.into(),
        source,
    };
    let stream = UnixStream::connect(path).map_err(connect)?;
    let send = |source| SeccompError::SendListener {
        path: path.into(),
        source,
    };
    send_with(&stream, listener, state_json).map_err(send)
}

fn send_with(mut stream: &UnixStream, listener: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let descriptors = [listener.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let data = [IoSlice::new(bytes)];
    // The descriptor travels with the first byte. An agent that has gone must not end us by SIGPIPE.
    let sent = sendmsg::<()>(
        stream.as_raw_fd(),
        &data,
        &rights,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    stream.write_all(&bytes[sent..])
}

#[cfg(test)]
mod tests {
    use std::io::{IoSliceMut, Read, pipe};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixListener;

    use nix::sys::socket::{ControlMessageOwned, recvmsg};

    use super::*;

    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("tandem-notify-{}-{name}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            std::fs::create_dir(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn the_agent_gets_the_document_and_the_descriptor() {
        let scratch = Scratch::new("agent");
        let path = scratch.0.join("agent.sock");
        let agent = UnixListener::bind(&path).unwrap();
        let (mut reader, writer) = pipe().unwrap();
        let state = serde_json::json!({ "id": "web" });
        let document = ContainerProcessState::new("1.3.0", 42, "profile a", state);
        let document = serde_json::to_vec(&document).unwrap();
        send_listener(&path, writer.as_fd(), &document).unwrap();
        drop(writer);

        let (mut connection, _) = agent.accept().unwrap();
        let mut first = [0; 4];
        let mut space = nix::cmsg_space!(std::os::fd::RawFd);
        let mut data = [IoSliceMut::new(&mut first)];
        let message = recvmsg::<()>(
            connection.as_raw_fd(),
            &mut data,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )
        .unwrap();
        let length = message.bytes;
        let Some(ControlMessageOwned::ScmRights(received)) = message.cmsgs().unwrap().next() else {
            panic!("no descriptor came");
        };
        assert_eq!(received.len(), 1);
        let mut text = first[..length].to_vec();
        connection.read_to_end(&mut text).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let expected = serde_json::json!({
            "ociVersion": "1.3.0", "fds": ["seccompFd"], "pid": 42, "metadata": "profile a", "state": { "id": "web" },
        });
        assert_eq!(value, expected);

        let through = std::fs::OpenOptions::new()
            .write(true)
            .open(format!("/proc/self/fd/{}", received[0]));
        through.unwrap().write_all(b"same pipe").unwrap();
        let mut byte = [0; 9];
        reader.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"same pipe");
        nix::unistd::close(received[0]).unwrap();
    }

    #[test]
    fn an_agent_that_is_not_there_is_named_by_its_path() {
        let scratch = Scratch::new("absent");
        let path = scratch.0.join("agent.sock");
        let (_reader, writer) = pipe().unwrap();
        let error = send_listener(&path, writer.as_fd(), b"{}").unwrap_err();
        assert!(error.to_string().contains("agent.sock"), "{error}");
    }
}
