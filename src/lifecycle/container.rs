//! A container as the commands see it: its record, its process, its cgroup.

use std::fmt;
use std::path::Path;

use super::{ContainerId, Error, Result, Runtime, StateReport};
use crate::bundle;
use crate::cgroup::Cgroup;
use crate::state::{Entry, Liveness, Record, Store};

/// Where a container is in its life (runtime.md, "State"; `paused` is runc's).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    /// Why a container cannot be started, in the words of runc.
    pub(super) fn as_start_found_it(self) -> &'static str {
        match self {
            Self::Stopped => "a container that has stopped",
            Self::Running => "an already running container",
            Self::Paused => "a container in the paused state",
            Self::Created => "a container in the created state",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// A container that exists.
#[derive(Debug)]
pub struct Container {
    pub entry: Entry,
    pub record: Record,
    pub cgroup: Cgroup,
}

impl Container {
    /// Finds a container by its id.
    ///
    /// # Errors
    /// [`crate::state::StateError::NotFound`] when there is none.
    pub fn find(runtime: &Runtime, id: &ContainerId) -> Result<Self> {
        let (entry, record) = Store::new(&runtime.root).load(id)?;
        let cgroup = Cgroup::open(&record.cgroup);
        Ok(Self {
            entry,
            record,
            cgroup,
        })
    }

    /// What the container does now.
    #[must_use]
    pub fn status(&self) -> Status {
        if self.record.init.liveness() == Liveness::Dead {
            return Status::Stopped;
        }
        // A cgroup that cannot be asked is not frozen by us.
        if self.cgroup.is_frozen().unwrap_or(false) {
            return Status::Paused;
        }
        if self.entry.is_waiting_for_start() {
            Status::Created
        } else {
            Status::Running
        }
    }

    /// What `state` and `list` show.
    #[must_use]
    pub fn report(&self) -> StateReport {
        let (status, record) = (self.status(), &self.record);
        StateReport {
            oci_version: record.oci_version.clone(),
            id: record.id.clone(),
            pid: if status == Status::Stopped {
                0
            } else {
                record.init.pid
            },
            status: status.to_string(),
            bundle: record.bundle.clone(),
            rootfs: record.rootfs.clone(),
            created: record.created.clone(),
            annotations: record.annotations.clone(),
            owner: String::new(),
        }
    }

    /// The config that the container was made from.
    ///
    /// # Errors
    /// [`Error::Config`]
    pub fn spec(&self) -> Result<oci_spec::runtime::Spec> {
        let text = self.entry.config()?;
        bundle::parse(&text).map_err(|source| Error::Config {
            id: self.record.id.clone(),
            source,
        })
    }

    /// The bundle directory.
    #[must_use]
    pub fn bundle(&self) -> &Path {
        &self.record.bundle
    }
}
