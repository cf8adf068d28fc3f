//! Making a container's cgroup on cgroup v1: a directory in each hierarchy.

use std::cmp::Ordering;
use std::path::Path;

use oci_spec::runtime::LinuxResources;

use super::create::{Request, device_rules, no_controller, refuse_a_used_one};
use super::devices::list::{self, List};
use super::dir::Directory;
use super::error::CgroupError;
use super::handle::{Cgroup, Member, Mode, Record};
use super::hierarchy::{self, Mount};
use super::limits::{self, controller_of, v1};
use super::path::{Place, Relative};
use super::rootless::{in_user_namespace, is_rootless};

pub(super) fn create(
    mounts: &[Mount],
    place: &Place,
    own: &str,
    request: &Request<'_>,
) -> Result<Cgroup, CgroupError> {
    // What is wrong with the request is told before anything is made.
    let nothing_there_yet = |_: &str| None;
    if let Some(resources) = request.resources {
        v1::plan(resources, nothing_there_yet)?;
    }
    let list = list::compile(&device_rules(request.resources)?)?;

    let mut cgroup = Cgroup {
        record: Record {
            mode: Mode::V1,
            members: Vec::new(),
            made: Vec::new(),
        },
        birth: None,
        armed: true,
    };
    let may_leave_out = !request.is_named() && is_rootless();
    let mut fresh = true;
    let mut left_out = None;
    for mount in mounts {
        match make_member(mount, place, own, request, &mut cgroup) {
            Ok(new) => fresh &= new,
            // A limit that needs the hierarchy is an error below.
            Err(error) if may_leave_out && error.is_permission() => left_out = Some(error),
            Err(error) => return Err(error),
        }
    }
    if let (true, Some(error)) = (cgroup.record.members.is_empty(), left_out) {
        return Err(error);
    }
    if !fresh {
        refuse_a_used_one(&cgroup)?;
    }
    write_device_list(&cgroup, &list)?;
    if let Some(resources) = request.resources {
        update(&cgroup, resources)?;
    }
    Ok(cgroup)
}

/// Makes the directory in one hierarchy and notes it in `cgroup`. Tells whether it is new.
fn make_member(
    mount: &Mount,
    place: &Place,
    own: &str,
    request: &Request<'_>,
    cgroup: &mut Cgroup,
) -> Result<bool, CgroupError> {
    let path = hierarchy::legacy_path(place, own, mount)?;
    let root = Directory::open(&mount.point)?;
    let made = root.make(&path)?;
    cgroup.record.made.extend(made.new);
    cgroup.record.members.push(Member {
        controllers: mount.controllers.clone(),
        path: made.directory.path().to_owned(),
    });
    if mount.controllers.iter().any(|one| one == "cpuset") {
        fill_cpuset(&root, &path, &made.directory, request.resources)?;
    }
    Ok(made.fresh)
}

/// A new cpuset of cgroup v1 is empty, and an empty one takes no process: each level gets what its parent has, and the
/// container what was asked for.
fn fill_cpuset(
    root: &Directory,
    path: &Relative,
    directory: &Directory,
    resources: Option<&LinuxResources>,
) -> Result<(), CgroupError> {
    let mut writes = Vec::new();
    if let Some(cpu) = resources.and_then(|resources| resources.cpu().as_ref()) {
        v1::plan_cpuset(cpu, &mut writes);
    }
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let mut parent = root.read(file)?;
        for level in path.ancestors() {
            let file = format!("{level}/{file}");
            let value = root.read(&file)?;
            if !value.trim().is_empty() {
                parent = value;
                continue;
            }
            root.write(&file, parent.trim())?;
        }
        let asked = writes.iter().any(|write| write.file == file);
        if !asked && directory.read(file)?.trim().is_empty() {
            directory.write(file, parent.trim())?;
        }
    }
    limits::apply(&writes, |_| Ok(directory))
}

/// Puts the list of v1 in place: everything denied (or allowed) first, which also empties what was inherited.
fn write_device_list(cgroup: &Cgroup, list: &List) -> Result<(), CgroupError> {
    const ALL: &str = "a *:* rwm";
    let Some(member) = cgroup.member_of("devices") else {
        return match is_rootless() {
            true => Ok(()),
            false => Err(CgroupError::Controller {
                limit: "linux.resources.devices".into(),
                controller: "devices".into(),
                path: "/sys/fs/cgroup".into(),
                available: String::new(),
            }),
        };
    };
    if in_user_namespace() {
        return Ok(());
    }
    let directory = Directory::open(&member.path)?;
    let (default, exceptions) = match list.allow {
        true => ("devices.allow", "devices.deny"),
        false => ("devices.deny", "devices.allow"),
    };
    directory.write(default, ALL)?;
    let failed = |value: &str, source| CgroupError::Write {
        path: directory.path().join(exceptions),
        value: value.to_owned(),
        source,
    };
    let mut writer = directory
        .try_writer(exceptions)
        .map_err(|source| failed("", source))?;
    for line in &list.exceptions {
        writer.put(line).map_err(|source| failed(line, source))?;
    }
    Ok(())
}

pub(super) fn update(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), CgroupError> {
    let mut open = Vec::new();
    for member in &cgroup.record.members {
        open.push((member, Directory::open(&member.path)?));
    }
    let find = |controller: &str| {
        let has = |one: &String| one == controller;
        let found = open
            .iter()
            .find(|(member, _)| member.controllers.iter().any(has));
        found.map(|(_, directory)| directory)
    };
    let read = |file: &str| find(controller_of(file))?.read(file).ok();
    let writes = v1::plan(resources, read)?;
    let applied = limits::apply(&writes, |write| {
        find(&write.controller).ok_or_else(|| {
            let controllers = open.iter().flat_map(|(member, _)| &member.controllers);
            let available = controllers.filter(|name| !name.is_empty()).cloned();
            no_controller(write, Path::new("/sys/fs/cgroup"), &available.collect())
        })
    });
    match applied {
        // The limit is below what is in use and cannot be swapped out: say what is.
        Err(CgroupError::Set {
            value,
            path,
            source,
            ..
        }) if source.raw_os_error() == Some(libc::EBUSY)
            && path.ends_with("memory.limit_in_bytes") =>
        {
            let number = |file| read(file).map_or("unknown".into(), |text| text.trim().to_owned());
            Err(CgroupError::MemoryInUse {
                limit: value,
                usage: number("memory.usage_in_bytes"),
                peak: number("memory.max_usage_in_bytes"),
            })
        }
        result => result.and_then(|()| check_shares(find("cpu"), resources)),
    }
}

/// The kernel cuts shares to its own range without a word.
fn check_shares(cpu: Option<&Directory>, resources: &LinuxResources) -> Result<(), CgroupError> {
    let asked = resources.cpu().as_ref().and_then(|cpu| cpu.shares());
    let (Some(cpu), Some(asked)) = (cpu, asked.filter(|&shares| shares != 0)) else {
        return Ok(());
    };
    let allowed = cpu.read("cpu.shares")?.trim().parse().unwrap_or(asked);
    match allowed.cmp(&asked) {
        Ordering::Equal => Ok(()),
        Ordering::Less => Err(CgroupError::CpuShares {
            bound: "maximum",
            allowed,
        }),
        Ordering::Greater => Err(CgroupError::CpuShares {
            bound: "minimum",
            allowed,
        }),
    }
}
