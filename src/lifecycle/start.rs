//! `start`: the word that a created container waits for.

use std::io::Write;
use std::os::fd::AsFd;

use nix::fcntl::FlockArg;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Container, ContainerId, Error, Result, Runtime, Status};
use crate::launch::hooks::{self, HookState, Place};
use crate::launch::notify::{self, NotifySocket};

/// Starts the container's program.
///
/// # Errors
/// [`Error::NotCreated`] for a container that was started already or has stopped; those of the poststart hooks, after
/// which the container is stopped (runtime.md, "Lifecycle", step 9).
pub fn start(runtime: &Runtime, id: &ContainerId) -> Result<()> {
    let container = Container::find(runtime, id)?;
    // One start at a time: of two, the second has to see what the first has done.
    let lock = container.entry.lock(FlockArg::LockExclusive)?;
    let not_created = |status| Error::NotCreated {
        id: id.to_string(),
        status,
    };
    match container.status() {
        Status::Created => {}
        Status::Paused if container.entry.is_waiting_for_start() => {}
        status => return Err(not_created(status)),
    }
    let notify = notify_socket(&container)?;
    let mut fifo = container
        .entry
        .open_start()?
        .ok_or_else(|| not_created(Status::Stopped))?;
    fifo.write_all(b"s").map_err(|source| Error::Signal {
        id: id.to_string(),
        source,
    })?;
    container.entry.remove_start()?;
    // A hook may take its time, and so may the container until it is ready; `delete --force` must be able to end that.
    drop(lock);
    run_poststart_hooks(&container, &fifo)?;
    notify.map_or(Ok(()), |notify| wait_until_ready(&container, &notify))
}

/// The container's notify socket, if it was created with a place for one and our caller wants to hear of it.
fn notify_socket(container: &Container) -> Result<Option<NotifySocket>> {
    let directory = container.entry.notify_directory();
    match notify::wanted() {
        Some(host) if directory.is_dir() => Ok(Some(NotifySocket::bind(&directory, host)?)),
        _ => Ok(None),
    }
}

/// Waits until the container is ready or over, and tells the caller's service manager.
pub(super) fn wait_until_ready(container: &Container, notify: &NotifySocket) -> Result<()> {
    let init = &container.record.init;
    let observe = |source| Error::Observe {
        pid: init.pid,
        source,
    };
    match init.open().map_err(observe)? {
        Some(pidfd) => Ok(notify.wait_until_ready(pidfd.as_fd(), init.pid)?),
        None => Ok(()),
    }
}

fn run_poststart_hooks(container: &Container, fifo: &std::fs::File) -> Result<()> {
    let spec = container.spec()?;
    let Some(hooks) = spec
        .hooks()
        .as_ref()
        .and_then(|hooks| hooks.poststart().as_ref())
    else {
        return Ok(());
    };
    wait_for_exec(fifo);
    run_poststart(container, hooks)
}

/// Runs the poststart hooks of a container whose program runs; the container is ended if one fails, as in runc.
pub(super) fn run_poststart(
    container: &Container,
    hooks: &Vec<oci_spec::runtime::Hook>,
) -> Result<()> {
    let record = &container.record;
    let state = HookState {
        oci_version: &record.oci_version,
        id: &record.id,
        status: "running",
        pid: Some(record.init.pid),
        bundle: container.bundle(),
        annotations: (!record.annotations.is_empty()).then_some(&record.annotations),
    };
    let place = Place {
        directory: Some(container.bundle()),
        ..Place::default()
    };
    hooks::run("poststart", Some(hooks), &state, place).map_err(|error| {
        if let Err(error) = record.init.signal(libc::SIGKILL) {
            tracing::debug!("cannot end the container after its poststart hook failed: {error}");
        }
        error.into()
    })
}

/// poststart comes after the program was executed: the FIFO's reader, close-on-exec in the container's process, is gone
/// then. The hooks get their turn also when the program could not be executed and the process has ended.
fn wait_for_exec(fifo: &std::fs::File) {
    let mut fds = [PollFd::new(fifo.as_fd(), PollFlags::empty())];
    while let Err(nix::errno::Errno::EINTR) = poll(&mut fds, PollTimeout::NONE) {}
}
