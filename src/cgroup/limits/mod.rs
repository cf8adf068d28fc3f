//! Limits: from `linux.resources` to a list of writes, and the list carried out.
//!
//! `v1` and `v2` are pure: they turn what config.json says into the files and values of their version, so that every
//! conversion is tested without a kernel. Here is the only place that writes them.

use std::borrow::Cow;

use super::dir::Directory;
use super::error::CgroupError;

pub(super) mod convert;
pub(super) mod v1;
pub(super) mod v2;

/// One value for one file of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    /// What config.json calls it, for messages: `linux.resources.memory.limit`.
    pub limit: Cow<'static, str>,
    /// The controller that brings the file; `cgroup` for the files of the core.
    pub controller: Cow<'static, str>,
    pub file: Cow<'static, str>,
    pub value: String,
    pub absent: Absent,
    /// The kernel may refuse the value (EINVAL) until a later one of the list holds; then it is written again at the end.
    pub again: bool,
}

/// What to do where the controller is there but the file is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Absent {
    Fail,
    /// The kernel has no such limit, and without it the outcome is what the value asks for.
    Skip,
    Instead(Box<Write>),
}

impl Write {
    pub(super) fn new(
        limit: &'static str,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
    ) -> Self {
        let file = file.into();
        let controller = match &file {
            Cow::Borrowed(name) => Cow::Borrowed(controller_of(name)),
            Cow::Owned(name) => Cow::Owned(controller_of(name).to_owned()),
        };
        Self {
            limit: limit.into(),
            controller,
            file,
            value: value.to_string(),
            absent: Absent::Fail,
            again: false,
        }
    }

    pub(super) fn or(mut self, absent: Absent) -> Self {
        self.absent = absent;
        self
    }

    pub(super) fn again(mut self) -> Self {
        self.again = true;
        self
    }
}

/// The part of a file's name before the first dot.
pub(super) fn controller_of(file: &str) -> &str {
    file.split_once('.')
        .map_or(file, |(controller, _)| controller)
}

/// Carries `writes` out in order. `find` gives the directory that has a controller's files, or the error that says that
/// the controller is not there.
pub(super) fn apply<'a>(
    writes: &[Write],
    find: impl Fn(&Write) -> Result<&'a Directory, CgroupError>,
) -> Result<(), CgroupError> {
    let mut refused = Vec::new();
    for write in writes {
        let directory = find(write)?;
        match apply_one(directory, write) {
            Err(error) if write.again && error.errno() == Some(libc::EINVAL) => {
                refused.push((directory, write));
            }
            result => result?,
        }
    }
    for (directory, write) in refused {
        apply_one(directory, write)?;
    }
    Ok(())
}

fn apply_one(directory: &Directory, write: &Write) -> Result<(), CgroupError> {
    let source = match directory.try_write(&write.file, &write.value) {
        Ok(()) => return Ok(()),
        Err(source) => source,
    };
    let absent = source.raw_os_error() == Some(libc::ENOENT);
    match &write.absent {
        Absent::Skip if absent => Ok(()),
        Absent::Instead(other) if absent => apply_one(directory, other),
        _ => Err(CgroupError::Set {
            limit: write.limit.clone().into_owned(),
            value: write.value.clone(),
            path: directory.path().join(write.file.as_ref()),
            source,
        }),
    }
}
