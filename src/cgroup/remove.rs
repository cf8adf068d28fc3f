//! Removing a container's cgroup.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::dir::Directory;
use super::error::CgroupError;
use super::handle::{Cgroup, Mode, Record, pids_in};
use super::kill::signal_each;
use super::wait::{Deadline, Events};

/// How long the processes may take to end after SIGKILL.
const LIMIT: Duration = Duration::from_secs(5);

/// The container's cgroup in every hierarchy, then the parents that were made for it.
pub(super) fn remove(record: &Record) -> Result<(), CgroupError> {
    let deadline = Deadline::after(LIMIT);
    let mut failed = None;
    for member in &record.members {
        if let Err(error) = remove_tree(record, &member.path, deadline) {
            failed.get_or_insert(error);
        }
    }
    remove_parents(record);
    failed.map_or(Ok(()), Err)
}

/// What `create` made, and nothing that was there before.
pub(super) fn undo(record: &Record) -> Result<(), CgroupError> {
    let made = |path: &Path| record.made.iter().any(|made| made == path);
    let mut ours = record.clone();
    ours.members.retain(|member| made(&member.path));
    remove(&ours)
}

/// A parent that holds another container by now stays, and is its concern (EBUSY).
fn remove_parents(record: &Record) {
    let member = |path: &Path| record.members.iter().any(|member| member.path == path);
    for path in record.made.iter().rev().filter(|path| !member(path)) {
        drop(fs::remove_dir(path));
    }
}

fn remove_tree(record: &Record, path: &Path, deadline: Deadline) -> Result<(), CgroupError> {
    // Nearly always there is nothing below and nobody inside.
    let busy = match remove_one(path)? {
        None => return Ok(()),
        Some(busy) => busy,
    };
    tracing::debug!("cgroup {path:?} is still in use ({busy}): killing what is left");
    let mut pause = Duration::from_millis(1);
    loop {
        kill_rest(record, path)?;
        wait_until_empty(path, deadline);
        match remove_children_and(path)? {
            None => return Ok(()),
            Some(_) if deadline.sleep(&mut pause) => {}
            Some(source) => {
                let left = pids_in(path)?.len();
                return Err(match left {
                    0 => CgroupError::Remove {
                        path: path.into(),
                        source,
                    },
                    count => CgroupError::RemoveBusy {
                        path: path.into(),
                        count,
                    },
                });
            }
        }
    }
}

fn kill_rest(record: &Record, path: &Path) -> Result<(), CgroupError> {
    let cgroup = Cgroup::open(record);
    if !cgroup.pids()?.is_empty() {
        cgroup.kill(libc::SIGKILL)?;
    }
    // On v1 a process may have been put into this hierarchy alone.
    signal_each(&pids_in(path)?, libc::SIGKILL)
}

/// On v1 the kernel tells nobody; there the caller's pauses are the wait.
fn wait_until_empty(path: &Path, deadline: Deadline) {
    let events = Directory::open(path).and_then(|directory| Events::open(&directory));
    if let Ok(mut events) = events {
        events.wait("populated", false, deadline);
    }
}

/// Bottom up. Returns the error that says that something still uses the cgroup.
fn remove_children_and(path: &Path) -> Result<Option<std::io::Error>, CgroupError> {
    let children = match Directory::open(path) {
        Ok(directory) => directory.children()?,
        Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    for child in children {
        if let Some(busy) = remove_children_and(&path.join(child))? {
            return Ok(Some(busy));
        }
    }
    remove_one(path)
}

fn remove_one(path: &Path) -> Result<Option<std::io::Error>, CgroupError> {
    match fs::remove_dir(path) {
        Ok(()) => Ok(None),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT) => Ok(None),
            Some(libc::EBUSY | libc::ENOTEMPTY) => Ok(Some(error)),
            // A read-only mount says so even of what is not there.
            Some(libc::EROFS) if !path.exists() => Ok(None),
            _ => Err(CgroupError::Remove {
                path: path.into(),
                source: error,
            }),
        },
    }
}

impl Mode {
    /// Whether there is anything to remove, freeze or count.
    #[must_use]
    pub fn is_some(self) -> bool {
        self != Self::None
    }
}
