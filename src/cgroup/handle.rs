//! The handle to a container's cgroup, and what is kept of it in the state file.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use super::dir::Directory;
use super::error::CgroupError;
use super::{create, remove};

/// Which version of cgroups the container is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// cgroup v2: one directory.
    V2,
    /// cgroup v1: a directory in each hierarchy.
    V1,
    /// None: a rootless container that asked for no limits where cgroups are not ours to make.
    None,
}

/// The container's directory in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The controllers of the hierarchy (v1). Empty on v2; an empty name is the v2 hierarchy of a hybrid host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controllers: Vec<String>,
    pub path: PathBuf,
}

/// What the state file says of the cgroup, enough for every later command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub mode: Mode,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
    /// The directories that were made for this container, parents before children.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<PathBuf>,
}

/// A container's cgroup: on cgroup v1 one directory in each hierarchy, taken as one.
///
/// One that was just created and is dropped before [`keep`](Self::keep) is removed again, with the parents that were made
/// for it. One that was opened never is.
#[derive(Debug)]
pub struct Cgroup {
    pub(super) record: Record,
    pub(super) birth: Option<OwnedFd>,
    pub(super) armed: bool,
}

impl Cgroup {
    /// Makes the cgroup, writes its limits and its device rules.
    ///
    /// # Errors
    /// Nothing of the cgroup is left if any part of it fails.
    pub fn create(request: &create::Request<'_>) -> Result<Self, CgroupError> {
        create::create(request)
    }

    /// The cgroup of an earlier command, by what its state file says. Reads nothing yet.
    #[must_use]
    pub fn open(record: &Record) -> Self {
        Self {
            record: record.clone(),
            birth: None,
            armed: false,
        }
    }

    /// Leaves the cgroup in place when this handle is dropped.
    pub fn keep(&mut self) {
        self.armed = false;
    }

    /// For the state file.
    #[must_use]
    pub fn record(&self) -> Record {
        self.record.clone()
    }

    #[must_use]
    pub fn mode(&self) -> Mode {
        self.record.mode
    }

    /// The directory for clone3(2) with CLONE_INTO_CGROUP; there is one only on cgroup v2 and only after `create`. (A later
    /// command gets it from [`exec_target`](Self::exec_target).)
    #[must_use]
    pub fn birth_dir(&self) -> Option<BorrowedFd<'_>> {
        self.birth.as_ref().map(AsFd::as_fd)
    }

    /// The container's directory that has the files of `controller`; on cgroup v2 the only one.
    #[must_use]
    pub fn dir_of(&self, controller: &str) -> Option<&Path> {
        self.member_of(controller)
            .map(|member| member.path.as_path())
    }

    pub(super) fn member_of(&self, controller: &str) -> Option<&Member> {
        let has = |member: &&Member| {
            let mut controllers = member.controllers.iter();
            self.record.mode == Mode::V2 || controllers.any(|one| one == controller)
        };
        self.record.members.iter().find(has)
    }

    /// The directory that the processes are counted in. All hierarchies of v1 hold the same ones; runc takes `devices`, and
    /// the freezer has to be able to stop what is counted.
    pub(super) fn main_member(&self) -> Option<&Member> {
        let preferred = ["freezer", "devices"];
        preferred
            .iter()
            .find_map(|controller| self.member_of(controller))
            .or(self.record.members.first())
    }

    /// Moves `pid` into the cgroup: all hierarchies of v1, or the one of v2 where the process could not be born there.
    ///
    /// # Errors
    /// Those of writing cgroup.procs.
    pub fn add(&self, pid: i32) -> Result<(), CgroupError> {
        for member in &self.record.members {
            Directory::open(&member.path)?.adopt(pid)?;
        }
        Ok(())
    }

    /// All processes of the container, those of cgroups below its own too.
    ///
    /// # Errors
    /// Only if a cgroup that exists cannot be read.
    pub fn pids(&self) -> Result<Vec<i32>, CgroupError> {
        self.main_member()
            .map_or(Ok(Vec::new()), |member| pids_in(&member.path))
    }

    /// Whether the cgroup is still there.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.main_member()
            .is_some_and(|member| Directory::open(&member.path).is_ok())
    }

    /// How many processes the kernel killed here for want of memory, if it counts them.
    #[must_use]
    pub fn oom_kills(&self) -> Option<u64> {
        let file = match self.record.mode {
            Mode::V2 => "memory.events",
            Mode::V1 => "memory.oom_control",
            Mode::None => return None,
        };
        let directory = Directory::open(&self.member_of("memory")?.path).ok()?;
        let text = directory.read(file).ok()?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count?.trim().parse().ok()
    }

    /// Writes other limits; what `resources` leaves out stays as it is. Device rules are left alone, as in runc: callers of
    /// `update` send a deny-all rule along that was not meant to take the container's devices away.
    ///
    /// # Errors
    /// The limits before the one that failed stay written.
    pub fn update(&self, resources: &LinuxResources) -> Result<(), CgroupError> {
        create::update(self, resources)
    }

    /// Removes the cgroup with all below it, and the parents that were made for it if nothing else uses them. What still
    /// runs there is killed. That it is gone already is fine.
    ///
    /// # Errors
    /// Tells the cgroup that stays, and how many processes keep it.
    pub fn remove(&self) -> Result<(), CgroupError> {
        remove::remove(&self.record)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.armed {
            // Something failed, and that is what is told; a cgroup that cannot be removed either is only in the way.
            if let Err(error) = remove::undo(&self.record) {
                tracing::warn!("cannot undo: {error}");
            }
        }
    }
}

/// The processes in and below the cgroup at `path`, each once, in order. None if it is gone.
pub(super) fn pids_in(path: &Path) -> Result<Vec<i32>, CgroupError> {
    let mut pids = Vec::new();
    collect(path, &mut pids)?;
    pids.sort_unstable();
    // The threads of a threaded cgroup are listed one by one, and a process that moves is met twice.
    pids.dedup();
    Ok(pids)
}

fn collect(path: &Path, pids: &mut Vec<i32>) -> Result<(), CgroupError> {
    let directory = match Directory::open(path) {
        Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(()),
        opened => opened?,
    };
    pids.extend(directory.processes()?);
    for child in directory.children()? {
        collect(&path.join(child), pids)?;
    }
    Ok(())
}
