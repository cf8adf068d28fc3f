//! `delete`: the end of a container, with all that it has left.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::fcntl::FlockArg;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Container, ContainerId, Error, Result, Runtime, Status, kill};
use crate::cgroup::Cgroup;
use crate::launch::hooks::{self, HookState, Place};
use crate::state::{StateError, Store};

/// How long a killed process may take to end: it can be in the middle of a disk access.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Removes a stopped or created container; with `force` also a running one, and what an interrupted create has left.
///
/// # Errors
/// [`Error::NotStopped`] without `force`; [`StateError::NotFound`] for an unknown id without `force`.
pub fn delete(runtime: &Runtime, id: &ContainerId, force: bool) -> Result<()> {
    let container = match Container::find(runtime, id) {
        Ok(container) => container,
        Err(Error::State(error)) if force => return remove_remains(runtime, id, error),
        Err(error) => return Err(error),
    };
    let _lock = container.entry.lock(FlockArg::LockExclusive)?;
    match container.status() {
        Status::Stopped => {}
        Status::Created => end(&container)?,
        _ if force => end(&container)?,
        status => {
            return Err(Error::NotStopped {
                id: id.to_string(),
                status,
            });
        }
    }
    destroy(&container)
}

/// Removes the cgroup, runs the poststop hooks and forgets the container.
pub(super) fn destroy(container: &Container) -> Result<()> {
    // With it go the processes that have outlived the first one (a shared pid namespace).
    container.cgroup.remove()?;
    // Before the state goes, so that a failed hook can be seen, and after the processes are gone (runtime.md,
    // "Lifecycle", step 13). A failure is a warning: the container must be deleted all the same.
    if let Err(error) = run_poststop_hooks(container) {
        tracing::warn!("{}", crate::report::one_line(&error));
    }
    Ok(container.entry.remove()?)
}

fn run_poststop_hooks(container: &Container) -> Result<()> {
    let spec = container.spec()?;
    let hooks = spec
        .hooks()
        .as_ref()
        .and_then(|hooks| hooks.poststop().as_ref());
    let record = &container.record;
    let state = HookState {
        oci_version: &record.oci_version,
        id: &record.id,
        status: "stopped",
        pid: None,
        bundle: container.bundle(),
        annotations: (!record.annotations.is_empty()).then_some(&record.annotations),
    };
    let place = Place {
        directory: Some(container.bundle()),
        ..Place::default()
    };
    Ok(hooks::run("poststop", hooks, &state, place)?)
}

/// Kills the first process, and with its pid namespace all others, and waits until it is gone.
pub(super) fn end(container: &Container) -> Result<()> {
    let gone = |error: &Error| matches!(error, Error::NotRunning);
    let Ok(Some(pidfd)) = container.record.init.open() else {
        return Ok(());
    };
    match kill::signal_init(container, libc::SIGKILL) {
        Err(error) if !gone(&error) => return Err(error),
        _ => {}
    }
    let deadline = Instant::now() + END_LIMIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        match poll(
            &mut fds,
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
        ) {
            Ok(0) => {
                return Err(Error::Unkillable {
                    id: container.record.id.clone(),
                });
            }
            Err(nix::errno::Errno::EINTR) => {}
            _ => return Ok(()),
        }
    }
}

/// What is left of a create that was killed, or of a damaged record: the directory alone tells nothing of a cgroup.
fn remove_remains(runtime: &Runtime, id: &ContainerId, error: StateError) -> Result<()> {
    let entry = Store::new(&runtime.root).entry(id);
    match error {
        // A create that is still at work holds the lock and will remove its directory itself if it fails.
        StateError::NotFound { .. } | StateError::Parse { .. } | StateError::Version { .. }
            if entry.exists() =>
        {
            let _lock = entry.lock(FlockArg::LockExclusiveNonblock)?;
            if let Some(record) = entry.unfinished_cgroup() {
                Cgroup::open(&record).remove()?;
            }
            Ok(entry.remove()?)
        }
        StateError::NotFound { .. } => Ok(()),
        error => Err(error.into()),
    }
}
