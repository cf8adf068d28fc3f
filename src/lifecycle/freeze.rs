//! `pause` and `resume`, by the freezer of the cgroup.

use super::{Container, ContainerId, Error, Result, Runtime, Status};

/// `pause`
///
/// # Errors
/// [`Error::CannotPause`] for a container that is neither running nor created.
pub fn pause(runtime: &Runtime, id: &ContainerId) -> Result<()> {
    let container = Container::find(runtime, id)?;
    match container.status() {
        Status::Running | Status::Created => Ok(container.cgroup.freeze()?),
        status => Err(Error::CannotPause {
            id: id.to_string(),
            status,
        }),
    }
}

/// `resume`
///
/// # Errors
/// [`Error::CannotResume`] for a container that is not paused.
pub fn resume(runtime: &Runtime, id: &ContainerId) -> Result<()> {
    let container = Container::find(runtime, id)?;
    match container.status() {
        Status::Paused => Ok(container.cgroup.thaw()?),
        status => Err(Error::CannotResume {
            id: id.to_string(),
            status,
        }),
    }
}
