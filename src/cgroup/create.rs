//! Making a container's cgroup with its limits, and changing the limits later: what both versions share.

use std::collections::BTreeSet;
use std::path::Path;

use oci_spec::runtime::LinuxResources;

use super::devices::Rules;
use super::error::CgroupError;
use super::handle::{Cgroup, Mode, Record};
use super::hierarchy::{self, Hierarchies};
use super::limits::{Write, v2};
use super::path::Place;
use super::rootless::is_rootless;
use super::{legacy, unified};

/// Who makes the cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// We do, in the cgroup file system.
    Cgroupfs,
    /// systemd does, as a scope.
    Systemd,
}

/// What `create` needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The container's id: the name of the cgroup where `path` gives none.
    pub id: &'a str,
    /// `linux.cgroupsPath`
    pub path: Option<&'a Path>,
    /// `linux.resources`
    pub resources: Option<&'a LinuxResources>,
    pub driver: Driver,
    /// The host's user id that may make cgroups below this one (v2): that of the container's process, where the container
    /// has its own cgroup namespace and a writable cgroup mount (runtime specification, "Cgroup ownership").
    pub owner: Option<u32>,
}

impl Request<'_> {
    /// Whether a cgroup was asked for by name. Only where it was not, a rootless container can do without one.
    pub(super) fn is_named(&self) -> bool {
        self.path.is_some_and(|path| !path.as_os_str().is_empty())
    }
}

pub(super) fn create(request: &Request<'_>) -> Result<Cgroup, CgroupError> {
    if request.driver == Driver::Systemd {
        return Err(CgroupError::SystemdDriver);
    }
    let place = Place::of(request.path, request.id)?;
    warn_of_kernel_memory(request.resources);
    match create_at(request, &place) {
        Err(error) => without_permission(request, error),
        created => created,
    }
}

fn create_at(request: &Request<'_>, place: &Place) -> Result<Cgroup, CgroupError> {
    // Only a relative path needs to know where we are.
    let own = match place {
        Place::Absolute(_) => String::new(),
        Place::Own(_) => hierarchy::read_own()?,
    };
    match Hierarchies::find()? {
        Hierarchies::Unified(root) => {
            let path = hierarchy::unified_path(place, &own)?;
            unified::create(&root, &path, request)
        }
        Hierarchies::Legacy(mounts) => legacy::create(&mounts, place, &own, request),
    }
}

/// A rootless container need not have a cgroup, if it neither asks for a limit nor names a cgroup (as runc).
fn without_permission(request: &Request<'_>, error: CgroupError) -> Result<Cgroup, CgroupError> {
    let refused = error.is_permission() || matches!(error, CgroupError::NotMounted { .. });
    if !refused || request.is_named() || !is_rootless() {
        return Err(error);
    }
    if asks_for_limits(request.resources) {
        return Err(CgroupError::Rootless {
            source: Box::new(error),
        });
    }
    tracing::debug!("no permission to make a cgroup and no limits asked for: going on without");
    Ok(Cgroup {
        record: Record {
            mode: Mode::None,
            members: Vec::new(),
            made: Vec::new(),
        },
        birth: None,
        armed: false,
    })
}

fn asks_for_limits(resources: Option<&LinuxResources>) -> bool {
    // What no version takes counts as a limit too: it is then told as what it is.
    resources.is_some_and(|resources| {
        let planned = v2::plan(resources, |_| None);
        !planned.is_ok_and(|writes| writes.is_empty())
    })
}

/// Two containers must not share a cgroup, and a process born into a frozen one would never run.
pub(super) fn refuse_a_used_one(cgroup: &Cgroup) -> Result<(), CgroupError> {
    let path = || {
        let member = cgroup.main_member();
        member.map(|member| member.path.clone()).unwrap_or_default()
    };
    let count = cgroup.pids()?.len();
    if count > 0 {
        return Err(CgroupError::NotEmpty {
            path: path(),
            count,
        });
    }
    if cgroup.is_frozen()? {
        return Err(CgroupError::AlreadyFrozen { path: path() });
    }
    Ok(())
}

/// A limit for which the controller is missing.
pub(super) fn no_controller(
    write: &Write,
    path: &Path,
    available: &BTreeSet<String>,
) -> CgroupError {
    let available: Vec<_> = available.iter().map(String::as_str).collect();
    CgroupError::Controller {
        limit: write.limit.clone().into_owned(),
        controller: write.controller.clone().into_owned(),
        path: path.to_owned(),
        available: available.join(" "),
    }
}

pub(super) fn device_rules(resources: Option<&LinuxResources>) -> Result<Rules, CgroupError> {
    let given = resources.and_then(|resources| resources.devices().as_deref());
    Rules::of(given.unwrap_or_default())
}

pub(super) fn update(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), CgroupError> {
    warn_of_kernel_memory(Some(resources));
    match cgroup.record.mode {
        Mode::V2 => unified::update(cgroup, resources),
        Mode::V1 => legacy::update(cgroup, resources),
        Mode::None => Err(CgroupError::NoCgroup {
            action: "setting limits",
        }),
    }
}

/// Kernel memory has no limit of its own since Linux 5.4: it counts as memory. Engines still send one, and runc ignores it
/// with a warning too.
fn warn_of_kernel_memory(resources: Option<&LinuxResources>) {
    let memory = resources.and_then(|resources| resources.memory().as_ref());
    let kernel = memory.and_then(|memory| memory.kernel());
    if kernel.is_some_and(|bytes| bytes > 0) {
        tracing::warn!(
            "linux.resources.memory.kernel is ignored: kernel memory counts as memory since Linux 5.4, use memory.limit"
        );
    }
}
