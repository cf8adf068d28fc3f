//! The container's terminal: a pty of the container's own devpts, made by the container's process.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::termios::{self, OutputFlags, SetArg};
use oci_spec::runtime::Process;

use crate::sys::process as sys;

/// Why the container has no terminal.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    #[error("cannot connect to the console socket {path:?}")]
    Connect { path: PathBuf, source: io::Error },
    #[error("cannot send the terminal through the console socket")]
    Send { source: io::Error },
    #[error("cannot open /dev/pts/ptmx in the container (is a devpts mounted on /dev/pts?)")]
    Open { source: io::Error },
    #[error("/dev/pts/ptmx in the container is no pty multiplexer of a devpts")]
    Foreign,
    #[error("cannot {what} the terminal")]
    Setup {
        what: &'static str,
        source: io::Error,
    },
}

/// Opens the connection over which the caller wants the terminal (`--console-socket`).
///
/// # Errors
/// [`ConsoleError::Connect`]
pub fn connect(path: &Path) -> Result<OwnedFd, ConsoleError> {
    let stream = UnixStream::connect(path).map_err(|source| ConsoleError::Connect {
        path: path.into(),
        source,
    })?;
    Ok(stream.into())
}

/// Sends a descriptor with a name, as the protocol of `--console-socket` wants it: runc's docs/terminals.md.
///
/// # Errors
/// [`ConsoleError::Send`]
pub fn send(socket: BorrowedFd<'_>, master: BorrowedFd<'_>) -> Result<(), ConsoleError> {
    let fds = [master.as_raw_fd()];
    let name = [io::IoSlice::new(b"/dev/ptmx")];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &name,
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .map(drop)
    .map_err(|errno| ConsoleError::Send {
        source: errno.into(),
    })
}

/// Both sides of a new terminal.
#[derive(Debug)]
pub struct Terminal {
    pub master: OwnedFd,
    pub slave: OwnedFd,
}

/// Opens a terminal in the container's devpts. Called after the pivot.
///
/// # Errors
/// Anything but a devpts at its place is refused: an image may hold a symlink or a device of the host there
/// (CVE-2025-52565).
pub fn open(process: &Process) -> Result<Terminal, ConsoleError> {
    let master = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY | libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open("/dev/pts/ptmx")
        .map_err(|source| ConsoleError::Open { source })?;
    verify(&master)?;
    let setup = |what| move |source| ConsoleError::Setup { what, source };
    sys::unlock_pty(master.as_fd()).map_err(setup("unlock"))?;
    // By the master and not by a path: /dev/pts/N could be anything by now.
    let slave = sys::open_pty_peer(master.as_fd()).map_err(setup("open the other side of"))?;
    if let Some(size) = process.console_size() {
        let fit = |length: u64| u16::try_from(length).unwrap_or(u16::MAX);
        sys::set_window_size(slave.as_fd(), fit(size.height()), fit(size.width()))
            .map_err(setup("set the size of"))?;
    }
    Ok(Terminal {
        master: master.into(),
        slave,
    })
}

/// Stops a terminal from writing `\n` as `\r\n` (termios(3), ONLCR).
///
/// # Errors
/// [`ConsoleError::Setup`]
pub fn end_lines_plainly(slave: BorrowedFd<'_>) -> Result<(), ConsoleError> {
    let change = || {
        let mut settings = termios::tcgetattr(slave)?;
        settings.output_flags.remove(OutputFlags::ONLCR);
        termios::tcsetattr(slave, SetArg::TCSANOW, &settings)
    };
    change().map_err(|errno| ConsoleError::Setup {
        what: "set the line ends of",
        source: errno.into(),
    })
}

fn verify(master: &File) -> Result<(), ConsoleError> {
    const PTMX: u64 = libc::makedev(5, 2);
    let stat = master
        .metadata()
        .map_err(|source| ConsoleError::Open { source })?;
    let kind = nix::sys::statfs::fstatfs(master).map_err(|errno| ConsoleError::Open {
        source: errno.into(),
    })?;
    let genuine = stat.file_type().is_char_device()
        && stat.rdev() == PTMX
        && kind.filesystem_type() == nix::sys::statfs::DEVPTS_SUPER_MAGIC;
    if genuine {
        Ok(())
    } else {
        Err(ConsoleError::Foreign)
    }
}

/// Makes a terminal this process's own: standard input, output and error, and the one that controls its session.
///
/// # Errors
/// [`ConsoleError::Setup`]
pub fn attach(slave: BorrowedFd<'_>) -> Result<(), ConsoleError> {
    let setup = |what| move |source| ConsoleError::Setup { what, source };
    sys::set_controlling_terminal(slave).map_err(setup("take control of"))?;
    for fd in 0..=2 {
        nix::unistd::dup2(slave.as_raw_fd(), fd).map_err(|errno| setup("attach")(errno.into()))?;
    }
    Ok(())
}
