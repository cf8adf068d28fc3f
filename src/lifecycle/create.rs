//! `create` and `run`: a new container.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use wasm_handler::choice::{self, Choice};

use super::{Container, CreateRequest, Error, Result, RunRequest, Runtime, delete, start};
use crate::bundle::{Bundle, SpecExt};
use crate::cgroup::{self, Cgroup};
use crate::launch::activation;
use crate::launch::console;
use crate::launch::namespaces::Namespaces;
use crate::launch::notify::{self, NotifySocket};
use crate::launch::relay::Foreground;
use crate::launch::rootfs::{CgroupView, Sources};
use crate::launch::{Console, Launch, Launched, seal};
use crate::seccomp;
use crate::state::{InitProcess, Record, Reservation, Store};
use crate::sys::process as sys;

/// Makes a container whose program waits for `start`.
///
/// # Errors
/// Whatever is in the way; nothing is left behind then: no process, cgroup, mount or directory.
pub fn create(runtime: &Runtime, request: &CreateRequest) -> Result<()> {
    seal::ensure(&runtime.name)?;
    let mut bundle = Bundle::load(&request.bundle)?;
    let console = choose_console(runtime, request, &bundle, true)?;
    let made = make(runtime, request, &mut bundle, console, Start::OnCommand)?;
    made.commit(request)?;
    Ok(())
}

/// Makes a container, starts it, and stays with it until it ends unless `detach` is asked for; gives its exit code.
///
/// # Errors
/// Whatever is in the way; nothing is left behind then.
pub fn run(runtime: &Runtime, request: &RunRequest) -> Result<u8> {
    seal::ensure(&runtime.name)?;
    let mut bundle = Bundle::load(&request.create.bundle)?;
    let console = choose_console(runtime, &request.create, &bundle, request.detach)?;
    let foreground = (!request.detach).then(Foreground::prepare).transpose()?;
    if !request.detach && !request.no_subreaper {
        sys::set_child_subreaper().map_err(Error::Subreaper)?;
    }
    let mut made = make(
        runtime,
        &request.create,
        &mut bundle,
        console,
        Start::AtOnce,
    )?;
    let notify = made.notify.take();
    let mut launched = made.commit_unreleased(&request.create)?;
    let terminal = launched.init.take_terminal();
    let started = launched
        .init
        .start()
        .map_err(Error::from)
        .and_then(|()| launched.run_poststart(&bundle));
    let pid = match started {
        Ok(()) => launched.init.release(),
        Err(error) => {
            drop(launched.init);
            undo(&launched.container);
            return Err(error);
        }
    };
    let Some(foreground) = foreground else {
        if let Some(notify) = notify {
            start::wait_until_ready(&launched.container, &notify)?;
        }
        return Ok(0);
    };
    let code = foreground.with_notify(notify).follow(pid, terminal);
    if !request.keep {
        delete::destroy(&launched.container)?;
    }
    Ok(code?)
}

/// When the program of a new container starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// `start` says so.
    OnCommand,
    /// We do.
    AtOnce,
}

/// A container's process that is set up, with all that will be undone unless it is committed.
struct Made {
    reservation: Reservation,
    cgroup: Cgroup,
    init: Launched,
    record: Record,
    notify: Option<NotifySocket>,
}

fn make(
    runtime: &Runtime,
    request: &CreateRequest,
    bundle: &mut Bundle,
    console: Console,
    start: Start,
) -> Result<Made> {
    let listen_fds = activation::listen_fds();
    let preserve_fds = listen_fds.saturating_add(request.preserve_fds);
    check_preserved(preserve_fds)?;
    let reservation = Store::new(&runtime.root).reserve(&request.id)?;
    let notify = add_notify_socket(&reservation, bundle, start)?;
    let bundle = &*bundle;
    let spec = &bundle.spec;
    let linux = spec.linux().as_ref().expect("checked by bundle::validate");
    let choice = choose_handler(request, bundle)?;
    let seccomp = linux.seccomp().as_ref().map(seccomp::compile).transpose()?;
    let namespaces = Namespaces::open(spec)?;
    let sources = Sources::open(spec, &bundle.path)?;

    reservation.keep_config(&bundle.text)?;
    let fifo = (start == Start::OnCommand)
        .then(|| reservation.make_start())
        .transpose()?;
    let cgroup = Cgroup::create(&cgroup::Request {
        id: request.id.as_str(),
        path: linux.cgroups_path().as_deref(),
        resources: linux.resources().as_ref(),
        driver: if runtime.systemd_cgroup {
            cgroup::Driver::Systemd
        } else {
            cgroup::Driver::Cgroupfs
        },
        owner: None,
    })?;
    reservation.keep_cgroup(&cgroup.record())?;
    protect_from_container()?;
    let annotations = sorted_annotations(bundle);
    let init = Launch {
        id: request.id.as_str(),
        bundle,
        cgroup_view: cgroup_view(&cgroup),
        namespaces,
        cgroup: &cgroup,
        sources,
        seccomp,
        choice,
        console,
        start: fifo,
        no_pivot: request.no_pivot,
        no_new_keyring: request.no_new_keyring,
        preserve_fds,
        listen_fds,
        annotations: &annotations,
    }
    .run()?;
    let observed = InitProcess::observe(init.pid()).map_err(|source| Error::Observe {
        pid: init.pid(),
        source,
    })?;
    let record = Record {
        version: Record::VERSION,
        oci_version: spec.version().clone(),
        id: request.id.to_string(),
        init: observed,
        bundle: bundle.path.clone(),
        rootfs: bundle.rootfs.clone(),
        created: crate::report::timestamp_nanos(),
        owner: nix::unistd::geteuid().as_raw(),
        annotations,
        cgroup: cgroup.record(),
        no_new_keyring: request.no_new_keyring,
    };
    Ok(Made {
        reservation,
        cgroup,
        init,
        record,
        notify,
    })
}

/// Gives the container a notify socket if our caller has one. With `create` it is made by `start`, which listens to it.
fn add_notify_socket(
    reservation: &Reservation,
    bundle: &mut Bundle,
    start: Start,
) -> Result<Option<NotifySocket>> {
    let Some(host) = notify::wanted() else {
        return Ok(None);
    };
    let directory = reservation.notify_directory();
    notify::make_directory(&directory)?;
    notify::add_to(&mut bundle.spec, &directory);
    match start {
        Start::OnCommand => Ok(None),
        Start::AtOnce => Ok(Some(NotifySocket::bind(&directory, host)?)),
    }
}

/// A process of a container that is committed and not yet released.
struct Committed {
    container: Container,
    init: Launched,
}

impl Made {
    fn commit(self, request: &CreateRequest) -> Result<()> {
        let committed = self.commit_unreleased(request)?;
        committed.init.confirm();
        committed.init.release();
        Ok(())
    }

    /// What the caller asked to be told comes first, the record last: once it is there, the container exists.
    fn commit_unreleased(mut self, request: &CreateRequest) -> Result<Committed> {
        if let Some(path) = &request.pidfd_socket {
            send_pidfd(path, self.init.pid())?;
        }
        if let Some(path) = &request.pid_file {
            write_pid_file(path, self.init.pid())?;
        }
        let entry = self.reservation.commit(&self.record).inspect_err(|_| {
            request
                .pid_file
                .iter()
                .for_each(|path| forget_pid_file(path))
        })?;
        self.cgroup.keep();
        let container = Container {
            entry,
            record: self.record,
            cgroup: self.cgroup,
        };
        Ok(Committed {
            container,
            init: self.init,
        })
    }
}

impl Committed {
    fn run_poststart(&self, bundle: &Bundle) -> Result<()> {
        let hooks = bundle
            .spec
            .hooks()
            .as_ref()
            .and_then(|hooks| hooks.poststart().as_ref());
        hooks.map_or(Ok(()), |hooks| start::run_poststart(&self.container, hooks))
    }
}

/// The container of this pid file will not exist.
fn forget_pid_file(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!("cannot remove the pid file {path:?}: {error}");
    }
}

/// Removes a container whose program could not be started. The error that led here is the one to report.
fn undo(container: &Container) {
    if let Err(error) = delete::destroy(container) {
        tracing::warn!("cannot undo: {}", crate::report::one_line(&error));
    }
}

/// Which version of cgroups the container's mounts of type cgroup show.
fn cgroup_view(cgroup: &Cgroup) -> CgroupView<'_> {
    let unified_file = Path::new("/sys/fs/cgroup/cgroup.controllers");
    match cgroup.mode() {
        cgroup::Mode::V2 => CgroupView::Unified {
            path: cgroup.dir_of(""),
        },
        cgroup::Mode::None if unified_file.exists() => CgroupView::Unified { path: None },
        cgroup::Mode::V1 | cgroup::Mode::None => CgroupView::Legacy,
    }
}

fn choose_handler(request: &CreateRequest, bundle: &Bundle) -> Result<Choice> {
    choice::from_annotations(|key| bundle.spec.annotation(key)).map_err(|source| Error::Choice {
        id: request.id.to_string(),
        source,
    })
}

fn sorted_annotations(bundle: &Bundle) -> BTreeMap<String, String> {
    bundle
        .spec
        .annotations()
        .iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The rules of runc: who detaches cannot relay, who relays needs no socket.
fn choose_console(
    runtime: &Runtime,
    request: &CreateRequest,
    bundle: &Bundle,
    detach: bool,
) -> Result<Console> {
    let terminal = bundle.process().terminal().unwrap_or(false);
    choose(runtime, terminal, request.console_socket.as_deref(), detach)
}

pub(super) fn choose(
    runtime: &Runtime,
    terminal: bool,
    socket: Option<&Path>,
    detach: bool,
) -> Result<Console> {
    let name = || runtime.name.clone();
    match socket {
        Some(path) if terminal && detach => Ok(Console::Socket(console::connect(path)?)),
        Some(_) => Err(Error::SocketWithoutTerminal { name: name() }),
        None if terminal && detach => Err(Error::TerminalWithoutSocket { name: name() }),
        None => Ok(Console::Relay),
    }
}

/// Each descriptor that the container is to keep must be there: a gap would be filled by one of ours. All others that
/// the caller has left open are closed by every execve, also those of hooks and helpers.
pub(super) fn check_preserved(count: u32) -> Result<()> {
    let end = count.saturating_add(3);
    match (3..end).find(|fd| !sys::is_inherited(*fd as i32)) {
        Some(fd) => Err(Error::NotOpen { fd }),
        None => sys::cloexec_from(end).map_err(Error::Inherited),
    }
}

/// No process of a container may trace the one that enters it, or reach our descriptors through /proc. A user who is
/// not root has to reach his own child to write its id maps; it protects itself afterwards.
pub(super) fn protect_from_container() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        sys::set_dumpable(false).map_err(Error::Dumpable)?;
    }
    Ok(())
}

/// Replaced by rename: who waits for the file must never read half a number.
pub(super) fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let write = || {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let staged = path.with_file_name(format!(".{name}"));
        // What lies there was left by a command that was killed, or put there by somebody else who may write to the
        // directory: a FIFO would hold us up, a link would lead elsewhere.
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o666)
            .open(&staged)?;
        file.write_all(pid.to_string().as_bytes())?;
        fs::rename(&staged, path)
    };
    write().map_err(|source| Error::PidFile {
        path: path.into(),
        source,
    })
}

/// Sends a pidfd of the process over a Unix socket, as runc's `--pidfd-socket` does.
pub(super) fn send_pidfd(path: &Path, pid: i32) -> Result<()> {
    let send = || {
        let socket = UnixStream::connect(path)?;
        let pidfd = sys::pidfd_open(pid)?;
        let fds = [pidfd.as_raw_fd()];
        let name = [std::io::IoSlice::new(b"pidfd")];
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(
            socket.as_fd().as_raw_fd(),
            &name,
            &rights,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )?;
        Ok(())
    };
    send().map_err(|source| Error::PidfdSocket {
        path: path.into(),
        source,
    })
}
