//! Making a container's cgroup with its limits, and changing the limits later.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::unistd::{Uid, chown};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};

use super::devices::{Rules, list, program};
use super::dir::{Directory, Made};
use super::error::CgroupError;
use super::handle::{Cgroup, Member, Mode, Record};
use super::hierarchy::{self, Hierarchies, Mount};
use super::limits::{self, Write, v1, v2};
use super::path::{Place, Relative};
use crate::sys::bpf;

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

/// The name that our device programs carry, by which `bpftool prog` and we know them again.
const PROGRAM_NAME: bpf::Name = *b"tandem_devices\0\0";

pub(super) fn create(request: &Request<'_>) -> Result<Cgroup, CgroupError> {
    match request.driver {
        Driver::Systemd => Err(CgroupError::SystemdDriver),
        Driver::Cgroupfs => {
            let place = Place::of(request.path, request.id)?;
            let created = Hierarchies::find()
                .and_then(|hierarchies| create_in(&hierarchies, request, &place));
            match created {
                Err(error) => without_permission(request, &place, error),
                created => created,
            }
        }
    }
}

/// A rootless container need not have a cgroup, if it neither asks for a limit nor names a cgroup (as runc).
fn without_permission(
    request: &Request<'_>,
    place: &Place,
    error: CgroupError,
) -> Result<Cgroup, CgroupError> {
    let refused = error.is_permission() || matches!(error, CgroupError::NotMounted { .. });
    let named = request
        .path
        .is_some_and(|path| !path.as_os_str().is_empty());
    if !refused || named || !is_rootless() {
        return Err(error);
    }
    debug_assert!(matches!(place, Place::Own(_)));
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
        let v2 = v2::plan(resources, || None);
        !v2.is_ok_and(|writes| writes.is_empty())
    })
}

/// Not root, or root of a user namespace only.
fn is_rootless() -> bool {
    !Uid::effective().is_root() || in_user_namespace()
}

/// Whether our user namespace is not the first one, which alone maps all ids to themselves (user_namespaces(7)).
fn in_user_namespace() -> bool {
    let Ok(map) = fs::read_to_string("/proc/self/uid_map") else {
        // A kernel without user namespaces.
        return false;
    };
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}

pub(super) fn create_in(
    hierarchies: &Hierarchies,
    request: &Request<'_>,
    place: &Place,
) -> Result<Cgroup, CgroupError> {
    // Only a relative path needs to know where we are.
    let own = match place {
        Place::Absolute(_) => String::new(),
        Place::Own(_) => hierarchy::read_own()?,
    };
    match hierarchies {
        Hierarchies::Unified(root) => {
            let path = hierarchy::unified_path(place, &own)?;
            create_unified(root, &path, request)
        }
        Hierarchies::Legacy(mounts) => create_legacy(mounts, place, &own, request),
    }
}

fn create_unified(
    root: &Directory,
    path: &Relative,
    request: &Request<'_>,
) -> Result<Cgroup, CgroupError> {
    // Refused before anything is made.
    let no_usage_yet = || None;
    let writes = match request.resources {
        Some(resources) => v2::plan(resources, no_usage_yet)?,
        None => Vec::new(),
    };
    let rules = device_rules(request.resources)?;
    warn_of_kernel_memory(request.resources);

    let Made {
        directory,
        new,
        fresh,
    } = root.make(path)?;
    let mut cgroup = Cgroup {
        record: Record {
            mode: Mode::V2,
            members: vec![Member {
                controllers: Vec::new(),
                path: directory.path().to_owned(),
            }],
            made: new,
        },
        birth: None,
        armed: true,
    };
    if !fresh {
        refuse_a_used_one(&cgroup)?;
    }
    let available = enable_controllers(root, path, &directory, &writes)?;
    limits::apply(&writes, |write| {
        match write.controller == "cgroup" || available.contains(write.controller.as_ref()) {
            true => Ok(&directory),
            false => Err(no_controller(write, directory.path(), &available)),
        }
    })?;
    attach_device_rules(&directory, &rules, fresh)?;
    if let Some(owner) = request.owner {
        delegate(&directory, owner)?;
    }
    cgroup.birth = Some(directory.into_fd());
    Ok(cgroup)
}

/// Two containers must not share a cgroup, and a process born into a frozen one would never run.
fn refuse_a_used_one(cgroup: &Cgroup) -> Result<(), CgroupError> {
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

/// Makes every controller that the host has available in the new cgroup, and returns those that are.
///
/// All of them, not only those of the limits: `docker stats` and the like read memory.current and pids.current, which are
/// there only where their controller is enabled; runc enables all for the same reason. One that cannot be enabled is left
/// out silently here. If a limit needs it, the caller names both.
fn enable_controllers(
    root: &Directory,
    path: &Relative,
    directory: &Directory,
    writes: &[Write],
) -> Result<BTreeSet<String>, CgroupError> {
    let available = words(&directory.read("cgroup.controllers")?);
    let wanted = words(&root.read("cgroup.controllers")?);
    if wanted.is_subset(&available) {
        return Ok(available);
    }
    for level in std::iter::once(".").chain(path.ancestors()) {
        let enabled = match root.read(&format!("{level}/cgroup.subtree_control")) {
            Ok(text) => words(&text),
            // Not ours to read: then not ours to change either.
            Err(error) if error.is_permission() => continue,
            Err(error) => return Err(error),
        };
        enable(root, level, wanted.difference(&enabled));
    }
    leave_invalid_mode(directory, writes)?;
    Ok(words(&directory.read("cgroup.controllers")?))
}

/// All at once, which the kernel takes or refuses as a whole; refused, each on its own.
fn enable<'a>(root: &Directory, level: &str, missing: impl Iterator<Item = &'a String>) {
    let missing: Vec<_> = missing.map(|controller| format!("+{controller}")).collect();
    if missing.is_empty() {
        return;
    }
    let file = format!("{level}/cgroup.subtree_control");
    if root.write(&file, &missing.join(" ")).is_err() {
        for controller in missing {
            // EBUSY where the parent holds processes, ENOENT where it lacks the controller itself, EACCES where it is not
            // ours: which of them matters is seen by what the new cgroup has in the end.
            drop(root.write(&file, &controller));
        }
    }
}

/// Below a threaded cgroup a new one is in the mode "domain invalid" and takes no process. It is made a threaded one if no
/// limit needs a controller that only domains have (cgroups(7), as runc).
fn leave_invalid_mode(directory: &Directory, writes: &[Write]) -> Result<(), CgroupError> {
    const THREADED: [&str; 5] = ["cpu", "cpuset", "perf_event", "pids", "cgroup"];
    let kind = directory.read("cgroup.type")?;
    let kind = kind.trim();
    if kind == "domain" {
        return Ok(());
    }
    let needs_domain = |write: &&Write| !THREADED.contains(&write.controller.as_ref());
    if let Some(write) = writes.iter().find(needs_domain) {
        return Err(CgroupError::Threaded {
            path: directory.path().to_owned(),
            kind: kind.to_owned(),
            limit: write.limit.clone().into_owned(),
        });
    }
    match kind {
        "domain invalid" => directory.write("cgroup.type", "threaded"),
        _ => Ok(()),
    }
}

fn no_controller(write: &Write, path: &Path, available: &BTreeSet<String>) -> CgroupError {
    let available: Vec<_> = available.iter().map(String::as_str).collect();
    CgroupError::Controller {
        limit: write.limit.clone().into_owned(),
        controller: write.controller.clone().into_owned(),
        path: path.to_owned(),
        available: available.join(" "),
    }
}

fn device_rules(resources: Option<&LinuxResources>) -> Result<Rules, CgroupError> {
    let given: Option<&Vec<LinuxDeviceCgroup>> =
        resources.and_then(|resources| resources.devices().as_ref());
    Rules::of(given.map_or(&[], Vec::as_slice))
}

/// Loads the program of `rules` and attaches it.
///
/// In a user namespace bpf(2) is not ours to use. Devices are not either: a node that is made there cannot be opened, so
/// that going on is what runc does. Everywhere else no rules means no container.
fn attach_device_rules(
    directory: &Directory,
    rules: &Rules,
    fresh: bool,
) -> Result<(), CgroupError> {
    let path = || directory.path().to_owned();
    let loaded = bpf::load_device_program(&program::compile(rules), PROGRAM_NAME);
    let attached = match loaded {
        Err(source) => Err(CgroupError::DeviceProgramLoad {
            path: path(),
            source,
        }),
        Ok(program) => {
            attach(directory, &program, fresh).map_err(|source| CgroupError::DeviceProgramAttach {
                path: path(),
                source,
            })
        }
    };
    match attached {
        Err(error) if error.is_permission() && is_rootless() => {
            tracing::debug!("no device rules in a user namespace: {error}");
            Ok(())
        }
        result => result,
    }
}

fn attach(directory: &Directory, program: &OwnedFd, fresh: bool) -> io::Result<()> {
    let program = program.as_fd();
    if fresh {
        return bpf::attach_device_program(directory.fd(), program);
    }
    let attached = bpf::attached_device_programs(directory.fd())?;
    let ours = attached.iter().find(|(_, name)| *name == PROGRAM_NAME);
    match ours {
        Some((old, _)) => bpf::replace_device_program(directory.fd(), old.as_fd(), program),
        None => bpf::attach_device_program(directory.fd(), program),
    }
}

/// Lets `owner` manage the cgroup from inside: the directory and the files that the kernel lists for it
/// (Documentation/admin-guide/cgroup-v2.rst, "Delegation").
fn delegate(directory: &Directory, owner: u32) -> Result<(), CgroupError> {
    // Linux 4.15; the list is what it said then.
    let listed = fs::read_to_string("/sys/kernel/cgroup/delegate")
        .unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".into());
    let files = listed
        .lines()
        .filter(|name| !name.contains('/') && *name != "memory.reclaim");
    for name in std::iter::once(".").chain(files) {
        let path = directory.path().join(name);
        match chown(&path, Some(Uid::from_raw(owner)), None) {
            // Some files belong to controllers that are not enabled.
            Ok(()) | Err(nix::Error::ENOENT) => {}
            Err(errno) => {
                return Err(CgroupError::Delegate {
                    path,
                    owner,
                    source: errno.into(),
                });
            }
        }
    }
    Ok(())
}

fn create_legacy(
    mounts: &[Mount],
    place: &Place,
    own: &str,
    request: &Request<'_>,
) -> Result<Cgroup, CgroupError> {
    if let Some(resources) = request.resources {
        v1::plan(resources, v1::MemoryNow::default)?;
    }
    let list = list::compile(&device_rules(request.resources)?)?;
    warn_of_kernel_memory(request.resources);

    let mut cgroup = Cgroup {
        record: Record {
            mode: Mode::V1,
            members: Vec::new(),
            made: Vec::new(),
        },
        birth: None,
        armed: true,
    };
    let mut fresh = false;
    for mount in mounts {
        match make_member(mount, place, own, request, &mut cgroup) {
            Ok(new) => fresh |= new,
            // A hierarchy that is not ours is left out of a rootless container; a limit there is an error below.
            Err(error)
                if error.is_permission() && matches!(place, Place::Own(_)) && is_rootless() => {}
            Err(error) => return Err(error),
        }
    }
    if cgroup.record.members.is_empty() {
        return match asks_for_limits(request.resources) {
            true => Err(CgroupError::Rootless {
                source: Box::new(CgroupError::NotMounted {
                    path: mounts[0].point.clone(),
                }),
            }),
            false => {
                cgroup.armed = false;
                cgroup.record.mode = Mode::None;
                Ok(cgroup)
            }
        };
    }
    if !fresh {
        refuse_a_used_one(&cgroup)?;
    }
    write_device_list(&cgroup, &list)?;
    if let Some(resources) = request.resources {
        update_legacy(&cgroup, resources)?;
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
fn write_device_list(cgroup: &Cgroup, list: &list::List) -> Result<(), CgroupError> {
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
    warn_of_kernel_memory(Some(resources));
    match cgroup.record.mode {
        Mode::V2 => update_unified(cgroup, resources),
        Mode::V1 => update_legacy(cgroup, resources),
        Mode::None => Err(CgroupError::NoCgroup {
            action: "setting limits",
        }),
    }
}

fn update_unified(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), CgroupError> {
    let Some(member) = cgroup.main_member() else {
        return Ok(());
    };
    let directory = Directory::open(&member.path)?;
    let usage = || directory.read("memory.current").ok()?.trim().parse().ok();
    let writes = v2::plan(resources, usage)?;
    let available = words(&directory.read("cgroup.controllers")?);
    limits::apply(&writes, |write| {
        match write.controller == "cgroup" || available.contains(write.controller.as_ref()) {
            true => Ok(&directory),
            false => Err(no_controller(write, directory.path(), &available)),
        }
    })
}

fn update_legacy(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), CgroupError> {
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
    let number =
        |file: &str| -> Option<u64> { find("memory")?.read(file).ok()?.trim().parse().ok() };
    let now = || v1::MemoryNow {
        limit: number("memory.limit_in_bytes").unwrap_or(u64::MAX),
        usage: number("memory.usage_in_bytes").unwrap_or(0),
    };
    let writes = v1::plan(resources, now)?;
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
            let number = |file| number(file).map_or("unknown".into(), |bytes| bytes.to_string());
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
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(CgroupError::CpuShares {
            bound: "maximum",
            allowed,
        }),
        std::cmp::Ordering::Greater => Err(CgroupError::CpuShares {
            bound: "minimum",
            allowed,
        }),
    }
}

/// Kernel memory has no limit of its own since Linux 5.4: it counts as memory.
fn warn_of_kernel_memory(resources: Option<&LinuxResources>) {
    let memory = resources.and_then(|resources| resources.memory().as_ref());
    let kernel = memory.and_then(|memory| memory.kernel());
    if kernel.is_some_and(|bytes| bytes > 0) {
        tracing::warn!(
            "linux.resources.memory.kernel is ignored: kernel memory counts as memory since Linux 5.4, use memory.limit"
        );
    }
}

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(String::from).collect()
}
