//! `kill`: a signal for the container's first process, or for all.

use oci_spec::runtime::LinuxNamespaceType;

use super::{Container, ContainerId, Error, Result, Runtime, Status};
use crate::bundle::SpecExt;

/// Sends `signal` (0 only asks whether somebody is there).
///
/// # Errors
/// [`Error::NotRunning`] for a container that has stopped, unless `all` is given, as in runc.
pub fn kill(runtime: &Runtime, id: &ContainerId, signal: i32, all: bool) -> Result<()> {
    let container = Container::find(runtime, id)?;
    if all {
        return Ok(container.cgroup.kill(signal)?);
    }
    if container.status() == Status::Stopped {
        // In a shared pid namespace the others outlive the first process, and SIGKILL means all of them.
        if signal == libc::SIGKILL
            && shares_pids(&container)?
            && !container.cgroup.pids()?.is_empty()
        {
            return Ok(container.cgroup.kill(signal)?);
        }
        return Err(Error::NotRunning);
    }
    // Asked before the signal: `run` in the foreground may forget the container as soon as it ends.
    let all_of_them = signal == libc::SIGKILL && shares_pids(&container)?;
    signal_init(&container, signal)?;
    if all_of_them {
        container.cgroup.kill(signal)?;
    }
    Ok(())
}

fn shares_pids(container: &Container) -> Result<bool> {
    let spec = container.spec()?;
    Ok(!matches!(
        spec.namespaces().get(&LinuxNamespaceType::Pid),
        Some(None)
    ))
}

/// Signals the first process; a SIGKILL also reaches one that is frozen by cgroup v1.
pub(super) fn signal_init(container: &Container, signal: i32) -> Result<()> {
    match container.record.init.signal(signal) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Err(Error::NotRunning),
        Err(source) => {
            return Err(Error::Signal {
                id: container.record.id.clone(),
                source,
            });
        }
    }
    // A task in the v1 freezer does not die before it is thawed; in v2 it does, and thawing it is harmless.
    if signal == libc::SIGKILL && container.cgroup.is_frozen().unwrap_or(false) {
        container.cgroup.thaw()?;
    }
    Ok(())
}
