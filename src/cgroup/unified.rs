//! Making a container's cgroup on cgroup v2.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::lchown;

use oci_spec::runtime::LinuxResources;

use super::create::{Request, device_rules, no_controller, refuse_a_used_one};
use super::devices::attach::attach_rules;
use super::dir::{Directory, Made};
use super::error::CgroupError;
use super::handle::{Cgroup, Member, Mode, Record};
use super::limits::{self, Write, v2};
use super::path::Relative;

pub(super) fn create(
    root: &Directory,
    path: &Relative,
    request: &Request<'_>,
) -> Result<Cgroup, CgroupError> {
    // What is wrong with the request is told before anything is made.
    let nothing_there_yet = |_: &str| None;
    let writes = match request.resources {
        Some(resources) => v2::plan(resources, nothing_there_yet)?,
        None => Vec::new(),
    };
    let rules = device_rules(request.resources)?;

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
    apply(&writes, &directory, &available)?;
    attach_rules(&directory, &rules, fresh)?;
    if let Some(owner) = request.owner {
        delegate(&directory, owner)?;
    }
    cgroup.birth = Some(directory.into_fd());
    Ok(cgroup)
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

/// Lets `owner` manage the cgroup from inside: the directory and the files that the kernel lists for it
/// (Documentation/admin-guide/cgroup-v2.rst, "Delegation").
fn delegate(directory: &Directory, owner: u32) -> Result<(), CgroupError> {
    // Linux 4.15; the list is what it said then.
    let listed = fs::read_to_string("/sys/kernel/cgroup/delegate")
        .unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".into());
    let files = listed.lines().filter(|name| !name.contains('/'));
    for name in std::iter::once(".").chain(files) {
        let path = directory.path().join(name);
        match lchown(&path, Some(owner), None) {
            Ok(()) => {}
            // Some files belong to controllers that are not enabled.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(CgroupError::Delegate {
                    path,
                    owner,
                    source,
                });
            }
        }
    }
    Ok(())
}

pub(super) fn update(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), CgroupError> {
    let Some(member) = cgroup.main_member() else {
        return Ok(());
    };
    let directory = Directory::open(&member.path)?;
    let writes = v2::plan(resources, |file| directory.read(file).ok())?;
    let available = words(&directory.read("cgroup.controllers")?);
    apply(&writes, &directory, &available)
}

fn apply(
    writes: &[Write],
    directory: &Directory,
    available: &BTreeSet<String>,
) -> Result<(), CgroupError> {
    limits::apply(writes, |write| {
        match write.controller == "cgroup" || available.contains(write.controller.as_ref()) {
            true => Ok(directory),
            false => Err(no_controller(write, directory.path(), available)),
        }
    })
}

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(String::from).collect()
}
