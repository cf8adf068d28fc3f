//! sd_notify(3) for a container: when its service says that it is ready, whoever started us hears of it.
//!
//! The socket in the caller's environment is the host's. The container gets one of its own instead, in a directory of
//! the state that is mounted at /run/notify, and only `READY=` is passed on, with the pid that the host knows the
//! container by (as in runc): what else a container says is not the service manager's to act upon.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::pipe2;
use oci_spec::runtime::{Mount, MountBuilder, Spec};

/// The variable that names the socket (sd_notify(3)).
const VARIABLE: &str = "NOTIFY_SOCKET";
/// Where the container has its directory with the socket.
const INSIDE: &str = "/run/notify";
const SOCKET: &str = "notify.sock";

/// How long the service manager may take to acknowledge, as in runc.
const BARRIER_LIMIT: Duration = Duration::from_secs(30);

/// Why a container cannot notify its service manager.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    #[error("cannot make the notify socket in {path:?}")]
    Bind { path: PathBuf, source: io::Error },
    #[error("cannot reach the socket {socket:?} of NOTIFY_SOCKET")]
    Host { socket: OsString, source: io::Error },
    #[error("cannot wait for the container to be ready")]
    Wait(#[source] io::Error),
}

/// The socket that our caller wants to hear from, if there is one.
#[must_use]
pub fn wanted() -> Option<OsString> {
    std::env::var_os(VARIABLE).filter(|socket| !socket.is_empty())
}

/// Gives the container the directory, and the variable that leads there.
pub fn add_to(spec: &mut Spec, directory: &Path) {
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.push(mount_of(directory));
    spec.set_mounts(Some(mounts));
    if let Some(process) = spec.process_mut() {
        let mut env = process.env().clone().unwrap_or_default();
        env.push(format!("{VARIABLE}={INSIDE}/{SOCKET}"));
        process.set_env(Some(env));
    }
}

fn mount_of(directory: &Path) -> Mount {
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"];
    MountBuilder::default()
        .destination(INSIDE)
        .source(directory)
        .typ("bind")
        .options(options.map(String::from))
        .build()
        .expect("every field has a default")
}

/// Makes the directory.
///
/// # Errors
/// [`NotifyError::Bind`]
pub fn make_directory(directory: &Path) -> Result<(), NotifyError> {
    let mut builder = DirBuilder::new();
    builder
        .mode(0o755)
        .create(directory)
        .map_err(|source| NotifyError::Bind {
            path: directory.into(),
            source,
        })
}

/// The container's socket, and that of the host.
#[derive(Debug)]
pub struct NotifySocket {
    socket: UnixDatagram,
    host: OsString,
}

impl NotifySocket {
    /// Makes the container's socket in its directory.
    ///
    /// # Errors
    /// [`NotifyError::Bind`]
    pub fn bind(directory: &Path, host: OsString) -> Result<Self, NotifyError> {
        let bind = || {
            // Through the descriptor: the path of a state directory can be longer than sun_path (unix(7)).
            let opened = File::open(directory)?;
            let name = format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd());
            let socket = UnixDatagram::bind(&name)?;
            socket.set_nonblocking(true)?;
            // Whoever the service runs as in the container.
            fs::set_permissions(directory.join(SOCKET), Permissions::from_mode(0o777))?;
            Ok(socket)
        };
        match bind() {
            Ok(socket) => Ok(Self { socket, host }),
            Err(source) => Err(NotifyError::Bind {
                path: directory.into(),
                source,
            }),
        }
    }

    /// Waits until the container is ready, and says so with its pid, or until it has ended.
    ///
    /// # Errors
    /// Those of the host's socket.
    pub fn wait_until_ready(
        &self,
        container: BorrowedFd<'_>,
        main_pid: i32,
    ) -> Result<(), NotifyError> {
        loop {
            let mut fds = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(container, PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(NotifyError::Wait(errno.into())),
            }
            let ended = fds[1].any().unwrap_or(true);
            if self.forward(main_pid)? || ended {
                return Ok(());
            }
        }
    }

    /// Passes on what has arrived; whether the container said that it is ready.
    ///
    /// # Errors
    /// Those of the host's socket.
    pub fn forward(&self, main_pid: i32) -> Result<bool, NotifyError> {
        let mut buffer = [0; 4096];
        loop {
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(NotifyError::Wait(error)),
            };
            if let Some(ready) = ready_line(&buffer[..length]) {
                let told = self.tell_host(ready, main_pid);
                return told.map(|()| true).map_err(|source| NotifyError::Host {
                    socket: self.host.clone(),
                    source,
                });
            }
        }
    }

    fn tell_host(&self, ready: &[u8], main_pid: i32) -> io::Result<()> {
        let client = UnixDatagram::unbound()?;
        client.connect_addr(&address(&self.host)?)?;
        client.send(&[ready, b"\n"].concat())?;
        client.send(format!("MAINPID={main_pid}\n").as_bytes())?;
        barrier(&client)
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A name that begins with `@` is in the abstract name space.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
        None => SocketAddr::from_pathname(name),
    }
}

fn ready_line(message: &[u8]) -> Option<&[u8]> {
    let mut lines = message.split(|&byte| byte == b'\n');
    lines.find(|line| line.starts_with(b"READY="))
}

/// Waits until the service manager has read all that was sent (sd_notify_barrier(3)): it closes the descriptor that goes
/// with the last message. Otherwise it could still think that we are the service when we end.
fn barrier(client: &UnixDatagram) -> io::Result<()> {
    let (reader, writer): (OwnedFd, OwnedFd) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    sendmsg::<()>(
        client.as_raw_fd(),
        &[IoSlice::new(b"BARRIER=1")],
        &[ControlMessage::ScmRights(&[writer.as_raw_fd()])],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    drop(writer);
    let deadline = Instant::now() + BARRIER_LIMIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        match poll(
            &mut fds,
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
        ) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(0) => {
                // An old service manager does not know the barrier.
                tracing::warn!("Timeout after waiting 30s for barrier. Ignored.");
                return Ok(());
            }
            Ok(_) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_that_says_ready_counts() {
        assert_eq!(
            ready_line(b"STATUS=up\nREADY=1\nX=2"),
            Some(&b"READY=1"[..])
        );
        assert_eq!(ready_line(b"STATUS=READY=1"), None);
    }

    #[test]
    fn the_container_gets_the_directory_and_the_variable() {
        let config = br#"{"ociVersion":"1.2.0","process":{"cwd":"/","user":{"uid":0,"gid":0}}}"#;
        let mut spec = crate::bundle::parse(config).unwrap();
        add_to(&mut spec, Path::new("/run/tandem/web/notify"));
        let mounts = spec.mounts().clone().unwrap();
        assert_eq!(mounts[0].destination(), Path::new("/run/notify"));
        let env = spec.process().as_ref().unwrap().env().clone().unwrap();
        assert_eq!(env.last().unwrap(), "NOTIFY_SOCKET=/run/notify/notify.sock");
    }

    #[test]
    fn ready_reaches_the_host_with_the_pid_and_a_barrier() {
        let scratch = std::env::temp_dir().join(format!("tandem-notify-{}", std::process::id()));
        fs::create_dir(&scratch).unwrap();
        let host = UnixDatagram::bind(scratch.join("host")).unwrap();
        let directory = scratch.join("notify");
        make_directory(&directory).unwrap();
        let socket = NotifySocket::bind(&directory, scratch.join("host").into()).unwrap();
        assert!(!socket.forward(42).unwrap());
        let service = UnixDatagram::unbound().unwrap();
        service
            .send_to(b"READY=1\nSTATUS=x", directory.join(SOCKET))
            .unwrap();
        // The manager's side is over before we look, so that the barrier does not wait: it goes with the socket.
        let reader = std::thread::spawn(move || {
            let mut texts = Vec::new();
            for _ in 0..3 {
                let mut buffer = [0; 64];
                let length = host.recv(&mut buffer).unwrap();
                texts.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
            }
            texts
        });
        assert!(socket.forward(42).unwrap());
        assert_eq!(
            reader.join().unwrap(),
            ["READY=1\n", "MAINPID=42\n", "BARRIER=1"]
        );
        fs::remove_dir_all(&scratch).unwrap();
    }
}
