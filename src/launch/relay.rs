//! A container in the foreground: its signals, its end, and its terminal when this program stands in between.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{self, SetArg, Termios};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::notify::NotifySocket;
use crate::sys::process as sys;

/// Why a container cannot be followed in the foreground.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("cannot take over the signals")]
    Signals(#[source] io::Error),
    #[error("cannot wait for the container's process")]
    Wait(#[source] io::Error),
    #[error("cannot relay the terminal")]
    Terminal(#[source] io::Error),
}

/// Signals are taken from here on as data. Made before the container's process, so that none of them, and no end of
/// the process however early, is missed.
#[derive(Debug)]
pub struct Foreground {
    signals: SignalFd,
    /// What the container says of itself, for the caller who wants to hear of it.
    notify: Option<NotifySocket>,
}

impl Foreground {
    /// Blocks every signal that can be, and opens the descriptor that they are read from.
    ///
    /// # Errors
    /// [`RelayError::Signals`]
    pub fn prepare() -> Result<Self, RelayError> {
        let every = SigSet::all();
        let wrap = |errno: Errno| RelayError::Signals(errno.into());
        every.thread_block().map_err(wrap)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self {
            signals: SignalFd::with_flags(&every, flags).map_err(wrap)?,
            notify: None,
        })
    }

    /// Passes on that the container is ready, too.
    #[must_use]
    pub fn with_notify(self, notify: Option<NotifySocket>) -> Self {
        Self { notify, ..self }
    }

    /// Forwards signals and terminal until the process ends; gives its exit code, 128 plus the signal for a killed
    /// one, as a shell does. Other children that end here (orphans of the container, to a subreaper) are waited for.
    ///
    /// # Errors
    /// See [`RelayError`].
    pub fn follow(self, pid: i32, terminal: Option<OwnedFd>) -> Result<u8, RelayError> {
        let pid = Pid::from_raw(pid);
        let mut screen = terminal.map(Screen::open).transpose()?;
        // It may have ended before the signals were looked at.
        let mut ended = reap(pid)?;
        while ended.is_none() {
            self.wait_for_something(screen.as_mut())?;
            if let Some(notify) = &self.notify
                // Our own pid: this program stays for as long as the container, and the manager watches it already.
                && let Err(error) = notify.forward(std::process::id() as i32)
            {
                tracing::warn!("{}", crate::report::one_line(&error));
            }
            while let Some(info) = self
                .signals
                .read_signal()
                .map_err(|errno| RelayError::Signals(errno.into()))?
            {
                match Signal::try_from(info.ssi_signo as i32) {
                    Ok(Signal::SIGCHLD) => ended = ended.or(reap(pid)?),
                    Ok(Signal::SIGWINCH) if screen.is_some() => {
                        screen.as_ref().into_iter().for_each(Screen::resize)
                    }
                    // Not meant for the container: stops of our own job control, and a broken pipe of ours.
                    Ok(Signal::SIGTTIN | Signal::SIGTTOU | Signal::SIGPIPE | Signal::SIGURG) => {}
                    _ => forward(pid, info.ssi_signo as i32),
                }
            }
        }
        if let Some(screen) = screen.as_mut() {
            screen.drain();
        }
        Ok(ended.unwrap_or_default())
    }

    fn wait_for_something(&self, screen: Option<&mut Screen>) -> Result<(), RelayError> {
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(
            self.notify
                .iter()
                .map(|notify| PollFd::new(notify.as_fd(), PollFlags::POLLIN)),
        );
        let own = fds.len();
        let Some(screen) = screen else {
            return wait(&mut fds);
        };
        let mut ready = [false; 3];
        {
            let watched = [&screen.input, &screen.output, &screen.master];
            let mut places = Vec::new();
            for (place, (fd, flags)) in watched.into_iter().zip(screen.wanted()).enumerate() {
                // Nothing wanted, not watched: a hang-up is reported unasked, and would be for ever.
                if !flags.is_empty() {
                    places.push(place);
                    fds.push(PollFd::new(fd.as_fd(), flags));
                }
            }
            wait(&mut fds)?;
            for (place, fd) in places.into_iter().zip(&fds[own..]) {
                ready[place] = fd.any().unwrap_or(true);
            }
        }
        screen.pump(ready);
        Ok(())
    }
}

fn wait(fds: &mut [PollFd<'_>]) -> Result<(), RelayError> {
    match poll(fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(RelayError::Wait(errno.into())),
    }
}

/// Waits for every child that has ended; gives the code of the one with this pid.
fn reap(pid: Pid) -> Result<Option<u8>, RelayError> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(ended, status)) if ended == pid => code = Some(status as u8),
            Ok(WaitStatus::Signaled(ended, signal, _)) if ended == pid => {
                code = Some(128 + signal as u8)
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(code),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(RelayError::Wait(errno.into())),
        }
    }
}

fn forward(pid: Pid, signal: i32) {
    // Still our child, so the pid is its own; that it has ended meanwhile is no fault. Real-time signals have no
    // name in nix: the pidfd takes any number.
    if let Ok(pidfd) = sys::pidfd_open(pid.as_raw())
        && let Err(error) = sys::pidfd_send_signal(pidfd.as_fd(), signal)
    {
        tracing::debug!("cannot forward signal {signal}: {error}");
    }
}

/// Gives a new terminal the size of the one that we were called on. Before the container's program starts: it may ask
/// for the size first of all.
pub fn fit_to_ours(master: BorrowedFd<'_>) {
    fit(io::stdin().as_fd(), master);
}

fn fit(ours: BorrowedFd<'_>, master: BorrowedFd<'_>) {
    if let Ok((rows, columns)) = sys::window_size(ours)
        && let Err(error) = sys::set_window_size(master, rows, columns)
    {
        tracing::debug!("cannot resize the terminal: {error}");
    }
}

/// The terminal that we were called on, before the container's one.
#[derive(Debug)]
struct Screen {
    input: OwnedFd,
    output: OwnedFd,
    master: OwnedFd,
    /// The settings to go back to; `None` when our input is no terminal.
    before: Option<Termios>,
    to_container: Vec<u8>,
    to_screen: Vec<u8>,
    input_open: bool,
    master_open: bool,
}

/// The most that a terminal holds unread when the container's process ends, in bytes; drivers/tty/tty_buffer.c. More
/// comes from processes that it has left behind, which could write for ever.
const MOST_UNREAD: usize = 1 << 20;

/// What is moved at once, in bytes: a pipe that is ready takes this much without blocking (pipe(7), PIPE_BUF).
const CHUNK: usize = 4096;

impl Screen {
    fn open(master: OwnedFd) -> Result<Self, RelayError> {
        let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map_err(RelayError::Terminal);
        let (input, output) = (copy(io::stdin().as_fd())?, copy(io::stdout().as_fd())?);
        fcntl(
            master.as_raw_fd(),
            FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK),
        )
        .map_err(|errno| RelayError::Terminal(errno.into()))?;
        let before = termios::tcgetattr(&input).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            termios::cfmakeraw(&mut raw);
            termios::tcsetattr(&input, SetArg::TCSANOW, &raw)
                .map_err(|errno| RelayError::Terminal(errno.into()))?;
        }
        let screen = Self {
            input,
            output,
            master,
            before,
            to_container: Vec::new(),
            to_screen: Vec::new(),
            input_open: true,
            master_open: true,
        };
        screen.resize();
        Ok(screen)
    }

    fn resize(&self) {
        fit(self.input.as_fd(), self.master.as_fd());
    }

    /// What is worth waiting for, by descriptor: input, output, master.
    fn wanted(&self) -> [PollFlags; 3] {
        let when =
            |condition: bool, flags: PollFlags| if condition { flags } else { PollFlags::empty() };
        [
            when(
                self.input_open && self.to_container.is_empty(),
                PollFlags::POLLIN,
            ),
            when(!self.to_screen.is_empty(), PollFlags::POLLOUT),
            when(
                self.master_open && self.to_screen.is_empty(),
                PollFlags::POLLIN,
            ) | when(
                self.master_open && !self.to_container.is_empty(),
                PollFlags::POLLOUT,
            ),
        ]
    }

    fn pump(&mut self, ready: [bool; 3]) {
        let [input, output, master] = ready;
        if input {
            self.input_open = fill(&self.input, &mut self.to_container);
        }
        if master {
            if self.to_screen.is_empty() {
                self.master_open = fill(&self.master, &mut self.to_screen);
            }
            if !self.to_container.is_empty() {
                empty(&self.master, &mut self.to_container);
            }
        }
        if output {
            empty(&self.output, &mut self.to_screen);
        }
    }

    /// Shows what the container wrote before it ended.
    fn drain(&mut self) {
        let mut shown = 0;
        while shown < MOST_UNREAD && (self.master_open || !self.to_screen.is_empty()) {
            while !self.to_screen.is_empty() {
                let before = self.to_screen.len();
                empty(&self.output, &mut self.to_screen);
                if self.to_screen.len() == before {
                    return;
                }
            }
            self.master_open =
                fill(&self.master, &mut self.to_screen) && !self.to_screen.is_empty();
            shown += self.to_screen.len();
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(before) = &self.before
            && let Err(errno) = termios::tcsetattr(&self.input, SetArg::TCSANOW, before)
        {
            tracing::warn!("cannot restore the terminal's settings: {errno}");
        }
    }
}

/// Reads what is there; `false` at the end of the stream. EIO is the end of a terminal.
fn fill(from: &OwnedFd, buffer: &mut Vec<u8>) -> bool {
    let mut chunk = [0; CHUNK];
    match nix::unistd::read(from.as_raw_fd(), &mut chunk) {
        Ok(0) => false,
        Ok(length) => {
            buffer.extend_from_slice(&chunk[..length]);
            true
        }
        Err(Errno::EINTR | Errno::EAGAIN) => true,
        Err(_) => false,
    }
}

/// Writes what the other side takes; what cannot be written any more is dropped.
fn empty(to: &OwnedFd, buffer: &mut Vec<u8>) {
    match nix::unistd::write(to, &buffer[..buffer.len().min(CHUNK)]) {
        Ok(length) => drop(buffer.drain(..length)),
        Err(Errno::EINTR | Errno::EAGAIN) => {}
        Err(_) => buffer.clear(),
    }
}
