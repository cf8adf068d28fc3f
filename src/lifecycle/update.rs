//! `update`: other limits for a container that exists.

use oci_spec::runtime::LinuxResources;

use super::{Container, ContainerId, Error, Result, Runtime, Status};

/// Sets the limits that `resources` has; the others stay.
///
/// # Errors
/// [`Error::NotRunning`] for a container that has stopped; those of writing the limits.
pub fn update(runtime: &Runtime, id: &ContainerId, resources: &LinuxResources) -> Result<()> {
    let container = Container::find(runtime, id)?;
    match container.status() {
        Status::Stopped => Err(Error::NotRunning),
        _ => container.cgroup.update(resources).map_err(Error::Limits),
    }
}
