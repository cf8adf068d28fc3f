//! `state`, `list` and `ps`: what there is, changed by nothing.

use super::{Container, ContainerId, Result, Runtime, StateReport};
use crate::state::Store;

/// `state`
///
/// # Errors
/// [`crate::state::StateError::NotFound`] when there is no such container.
pub fn state(runtime: &Runtime, id: &ContainerId) -> Result<StateReport> {
    Ok(Container::find(runtime, id)?.report())
}

/// `list`: every container, in the order of the ids, with the name of its owner.
///
/// # Errors
/// Those of reading the state root. A container that is being created or deleted meanwhile is left out, and one with
/// a damaged record is, too, with a warning.
pub fn list(runtime: &Runtime) -> Result<Vec<StateReport>> {
    let mut reports = Vec::new();
    for id in Store::new(&runtime.root).ids()? {
        match Container::find(runtime, &id) {
            Ok(container) => {
                let owner = owner_name(container.record.owner);
                reports.push(StateReport {
                    owner,
                    ..container.report()
                });
            }
            Err(super::Error::State(crate::state::StateError::NotFound { .. })) => {}
            Err(error) => tracing::warn!("{}", crate::report::one_line(&error)),
        }
    }
    Ok(reports)
}

/// The user's name as runc shows it, `#UID` for one without a name.
fn owner_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut entries = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let own = entries.find(|fields| fields.get(2).and_then(|text| text.parse().ok()) == Some(uid));
    own.map_or_else(|| format!("#{uid}"), |fields| fields[0].to_owned())
}

/// `ps`: the pids of the container's processes in our pid namespace.
///
/// # Errors
/// Those of reading the cgroup.
pub fn pids(runtime: &Runtime, id: &ContainerId) -> Result<Vec<i32>> {
    Ok(Container::find(runtime, id)?.cgroup.pids()?)
}
