//! Who the container's process is: ids, capabilities, limits, labels, scheduling. The same for `create` and `exec`.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, fstat, umask};
use oci_spec::runtime::{
    Capabilities, IOPriorityClass, Linux, LinuxCapabilities, LinuxPersonalityDomain,
    LinuxSchedulerFlag, LinuxSchedulerPolicy, Process, Scheduler,
};

use super::rootfs::{ProcError, ProcHandle};
use crate::sys::process as sys;

/// Why the process could not become what the config says.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("cannot set rlimit {kind}")]
    Rlimit { kind: String, source: io::Error },
    #[error("cannot set oom_score_adj to {score}")]
    OomScore { score: i32, source: io::Error },
    #[error("unable to apply apparmor profile {profile:?}")]
    AppArmor { profile: String, source: ProcError },
    #[error("cannot set the SELinux label {label:?}")]
    Selinux { label: String, source: ProcError },
    #[error("cannot set {what}")]
    Set {
        what: &'static str,
        source: io::Error,
    },
    #[error("cannot change the owner of standard descriptor {fd}")]
    Stdio { fd: i32, source: io::Error },
    #[error("cannot set additional groups {gids:?}")]
    Groups { gids: Vec<u32>, source: io::Error },
    #[error("cannot become {what} {id} (is it mapped in the user namespace?)")]
    Id {
        what: &'static str,
        id: u32,
        source: io::Error,
    },
    #[error("chdir to cwd ({cwd:?}) set in config.json failed")]
    Cwd { cwd: PathBuf, source: io::Error },
    #[error(
        "current working directory {cwd:?} is outside of container mount namespace root -- possible container breakout detected"
    )]
    CwdOutside { cwd: PathBuf },
    #[error("personality flag {flag:?} is not supported (no flag is)")]
    PersonalityFlag { flag: String },
    /// The words are runc's, and AllowedCPUs is systemd's name for it.
    #[error("process scheduler can't be used together with AllowedCPUs (linux.resources.cpu.cpus)")]
    SchedulerCpus { source: io::Error },
    #[error("scheduler {what} is not supported")]
    Scheduler { what: String },
    #[error("invalid ioPriority {priority} (0 to 7)")]
    IoPriority { priority: i64 },
}

fn set(what: &'static str) -> impl FnOnce(io::Error) -> IdentityError {
    move |source| IdentityError::Set { what, source }
}

/// Sets the resource limits of a process: 0 for the calling one.
///
/// # Errors
/// `EPERM` where a hard limit is raised without CAP_SYS_RESOURCE.
pub fn set_rlimits(process: &Process, pid: i32) -> Result<(), IdentityError> {
    for limit in process.rlimits().iter().flatten() {
        // The variants stand in the order of the specification, not of the kernel's numbers.
        let kind = limit.typ();
        sys::set_rlimit(
            pid,
            rlimit_number(&kind.to_string()),
            limit.soft(),
            limit.hard(),
        )
        .map_err(|source| IdentityError::Rlimit {
            kind: kind.to_string(),
            source,
        })?;
    }
    Ok(())
}

/// The numbers of getrlimit(2) by the names of the specification.
fn rlimit_number(name: &str) -> u32 {
    match name {
        "RLIMIT_CPU" => libc::RLIMIT_CPU,
        "RLIMIT_FSIZE" => libc::RLIMIT_FSIZE,
        "RLIMIT_DATA" => libc::RLIMIT_DATA,
        "RLIMIT_STACK" => libc::RLIMIT_STACK,
        "RLIMIT_CORE" => libc::RLIMIT_CORE,
        "RLIMIT_RSS" => libc::RLIMIT_RSS,
        "RLIMIT_NPROC" => libc::RLIMIT_NPROC,
        "RLIMIT_NOFILE" => libc::RLIMIT_NOFILE,
        "RLIMIT_MEMLOCK" => libc::RLIMIT_MEMLOCK,
        "RLIMIT_AS" => libc::RLIMIT_AS,
        "RLIMIT_LOCKS" => libc::RLIMIT_LOCKS,
        "RLIMIT_SIGPENDING" => libc::RLIMIT_SIGPENDING,
        "RLIMIT_MSGQUEUE" => libc::RLIMIT_MSGQUEUE,
        "RLIMIT_NICE" => libc::RLIMIT_NICE,
        "RLIMIT_RTPRIO" => libc::RLIMIT_RTPRIO,
        "RLIMIT_RTTIME" => libc::RLIMIT_RTTIME,
        // Every variant of PosixRlimitType is above; a new one must not become another limit.
        other => unreachable!("the parser let the unknown rlimit {other} through"),
    }
}

/// Writes oom_score_adj of a process, named as in /proc. To be done with the rights of the host: a lower score needs
/// one that a process in a user namespace does not have.
///
/// # Errors
/// `EACCES` for a score below what the caller may give.
pub fn set_oom_score(process: &Process, whose: &str) -> Result<(), IdentityError> {
    let Some(score) = process.oom_score_adj() else {
        return Ok(());
    };
    std::fs::write(format!("/proc/{whose}/oom_score_adj"), score.to_string())
        .map_err(|source| IdentityError::OomScore { score, source })
}

/// What the next execve will run as, for the security modules.
///
/// # Errors
/// Asking for a module that the kernel does not have is an error: less protection than asked for.
pub fn set_exec_labels(process: &Process, proc: &ProcHandle) -> Result<(), IdentityError> {
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some(profile) = filled(process.apparmor_profile()) {
        let text = format!("exec {profile}");
        // The module's own directory since Linux 5.8; before that there is one file for all modules.
        let own = proc.write(Path::new("self/attr/apparmor/exec"), &text);
        let written = match own {
            Err(ProcError::File { .. }) => proc.write(Path::new("self/attr/exec"), &text),
            written => written,
        };
        written.map_err(|source| IdentityError::AppArmor { profile, source })?;
    }
    if let Some(label) = filled(process.selinux_label()) {
        proc.write(Path::new("self/attr/exec"), &label)
            .map_err(|source| IdentityError::Selinux { label, source })?;
    }
    Ok(())
}

/// Joins a session keyring of the container's own, so that keys of the caller stay with the caller.
///
/// # Errors
/// Those of keyctl(2); a kernel without keys has none to leak, and a quota of the user is no reason not to start.
pub fn join_session_keyring(id: &str) -> Result<(), IdentityError> {
    let name = CString::new(format!("_ses.{id}")).expect("an id has no null byte");
    match sys::join_session_keyring(&name) {
        Ok(serial) => match sys::allow_keyring_search(serial) {
            // The container has changed the rights of its keyring, which is no reason to keep an exec out.
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => Ok(()),
            allowed => allowed.map_err(set("the rights of the session keyring")),
        },
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOSYS | libc::EDQUOT | libc::EPERM)
            ) =>
        {
            tracing::warn!("no session keyring of the container's own: {error}");
            Ok(())
        }
        Err(source) => Err(IdentityError::Set {
            what: "a session keyring",
            source,
        }),
    }
}

/// Scheduling, I/O priority, personality, NUMA policy and CPU affinity.
///
/// # Errors
/// Those of the calls; what is not supported is named.
pub fn set_scheduling(process: &Process, linux: Option<&Linux>) -> Result<(), IdentityError> {
    if let Some(scheduler) = process.scheduler() {
        let attributes = scheduler_attributes(scheduler)?;
        sys::set_scheduler(attributes).map_err(|source| scheduler_error(source, linux))?;
    }
    if let Some(priority) = process.io_priority() {
        let level = u32::try_from(priority.priority())
            .ok()
            .filter(|level| *level < 8);
        let level = level.ok_or(IdentityError::IoPriority {
            priority: priority.priority(),
        })?;
        let class = match priority.class() {
            IOPriorityClass::IoprioClassRt => 1,
            IOPriorityClass::IoprioClassBe => 2,
            IOPriorityClass::IoprioClassIdle => 3,
        };
        sys::set_io_priority(class, level).map_err(set("the I/O priority"))?;
    }
    if let Some(personality) = linux.and_then(|linux| linux.personality().as_ref()) {
        if let Some(flag) = personality.flags().iter().flatten().next() {
            return Err(IdentityError::PersonalityFlag { flag: flag.clone() });
        }
        let domain = match personality.domain() {
            LinuxPersonalityDomain::PerLinux => 0,
            LinuxPersonalityDomain::PerLinux32 => 8, // PER_LINUX32 (linux/personality.h)
        };
        sys::set_personality(domain).map_err(set("the personality"))?;
    }
    Ok(())
}

/// sched_setattr(2): EPERM also where a deadline is asked for and not every CPU may be used.
fn scheduler_error(source: io::Error, linux: Option<&Linux>) -> IdentityError {
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let cpus = resources
        .and_then(|resources| resources.cpu().as_ref())
        .and_then(|cpu| cpu.cpus().as_deref());
    match source.raw_os_error() {
        Some(libc::EPERM) if cpus.is_some_and(|cpus| !cpus.is_empty()) => {
            IdentityError::SchedulerCpus { source }
        }
        _ => set("the scheduler")(source),
    }
}

fn scheduler_attributes(scheduler: &Scheduler) -> Result<sys::SchedulerAttributes, IdentityError> {
    let unsupported = |what: String| IdentityError::Scheduler { what };
    // sched(7); SCHED_ISO was never in the kernel.
    let policy = match scheduler.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
        policy @ LinuxSchedulerPolicy::SchedIso => {
            return Err(unsupported(format!("policy {policy}")));
        }
    };
    let mut flags = 0;
    for flag in scheduler.flags().iter().flatten() {
        flags |= match flag {
            LinuxSchedulerFlag::SchedResetOnFork => 0x01,
            LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
            LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
            LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
            LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
            // The clamp values have no place in the specification.
            flag => return Err(unsupported(format!("flag {flag}"))),
        };
    }
    Ok(sys::SchedulerAttributes {
        policy,
        flags,
        nice: scheduler.nice().unwrap_or(0),
        priority: scheduler.priority().unwrap_or(0).unsigned_abs(),
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
        ..sys::SchedulerAttributes::default()
    })
}

/// Gives the standard descriptors to the container's user, so that a process without root can open /dev/stdout
/// again (a pipe or a terminal is opened with the rights of its inode).
///
/// # Errors
/// Those of fchown(2), except where the file system cannot or the owner may not.
pub fn own_stdio(uid: u32) -> Result<(), IdentityError> {
    // By its number: what the container has at /dev/null can be anything, and the caller's is the host's.
    const NULL: u64 = libc::makedev(1, 3);
    let stdio = [
        (0, io::stdin().as_fd().try_clone_to_owned()),
        (1, io::stdout().as_fd().try_clone_to_owned()),
        (2, io::stderr().as_fd().try_clone_to_owned()),
    ];
    for (fd, handle) in stdio {
        let Ok(handle) = handle else { continue }; // closed by the caller: nothing to own
        let Ok(stat) = fstat(std::os::fd::AsRawFd::as_raw_fd(&handle)) else {
            continue;
        };
        let is_null = stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == NULL;
        if stat.st_uid == uid || is_null {
            continue;
        }
        match std::os::unix::fs::fchown(&handle, Some(uid), None) {
            Ok(()) => {}
            // An id that is not mapped, a file system without owners, a user without the right: as runc, go on.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EINVAL | libc::EPERM | libc::EROFS)
                ) => {}
            Err(source) => return Err(IdentityError::Stdio { fd, source }),
        }
    }
    Ok(())
}

/// Becomes the user of the config, in his working directory, with no more capabilities than the config gives.
///
/// # Errors
/// Those of the calls. A process that failed half-way must end: it has lost rights that it would need.
pub fn become_user(process: &Process, cwd: &Path) -> Result<(), IdentityError> {
    let user = process.user();
    // A process that asks for no capabilities gets none, as in runc and crun: ours are not for it.
    let none = no_capabilities();
    let sets = process.capabilities().as_ref().unwrap_or(&none);
    drop_bounding(mask(sets.bounding().as_ref()))?;
    // Permitted capabilities have to survive the change of the user until the config's own sets are in place.
    sys::set_keep_caps(true).map_err(set("PR_SET_KEEPCAPS"))?;
    // As in runc and crun; the caller's is not the container's.
    umask(Mode::from_bits_truncate(user.umask().unwrap_or(0o022)));
    set_groups(user.additional_gids().as_deref().unwrap_or_default())?;
    sys::set_gid(user.gid()).map_err(|source| IdentityError::Id {
        what: "group",
        id: user.gid(),
        source,
    })?;
    // First as root of the container: a user namespace may keep the user out of a directory on the way.
    let entered = enter(cwd);
    sys::set_uid(user.uid()).map_err(|source| IdentityError::Id {
        what: "user",
        id: user.uid(),
        source,
    })?;
    if entered.is_err() {
        enter(cwd).map_err(|source| IdentityError::Cwd {
            cwd: cwd.into(),
            source,
        })?;
    }
    verify_cwd()?;
    // The change of ids has set it to what fs.suid_dumpable says (proc_sys_fs(5)).
    sys::set_dumpable(false).map_err(set("PR_SET_DUMPABLE"))?;
    sys::set_keep_caps(false).map_err(set("PR_SET_KEEPCAPS"))?;
    apply_capabilities(sets)
}

/// Empty sets; `LinuxCapabilities::default()` is not empty.
#[must_use]
pub fn no_capabilities() -> LinuxCapabilities {
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(None)
        .set_effective(None)
        .set_permitted(None)
        .set_inheritable(None)
        .set_ambient(None);
    sets
}

fn enter(cwd: &Path) -> io::Result<()> {
    nix::unistd::chdir(cwd).map_err(Into::into)
}

/// A working directory like /proc/self/fd/7 leads out of the container when the descriptor does (CVE-2024-21626).
fn verify_cwd() -> Result<(), IdentityError> {
    let bytes = sys::working_directory().map_err(set("the working directory"))?;
    if bytes.starts_with(b"/") {
        return Ok(());
    }
    let cwd = PathBuf::from(String::from_utf8_lossy(&bytes).into_owned());
    Err(IdentityError::CwdOutside { cwd })
}

fn set_groups(gids: &[u32]) -> Result<(), IdentityError> {
    match sys::set_groups(gids) {
        Ok(()) => Ok(()),
        // A user namespace made without privileges denies setgroups(2) (user_namespaces(7)). To ask for no groups
        // is no demand there; to ask for some is.
        Err(error) if gids.is_empty() && error.raw_os_error() == Some(libc::EPERM) => Ok(()),
        Err(source) => Err(IdentityError::Groups {
            gids: gids.into(),
            source,
        }),
    }
}

/// One bit a capability, by the kernel's numbers.
fn mask(set: Option<&Capabilities>) -> u64 {
    let number = |capability: &oci_spec::runtime::Capability| {
        let name = format!("CAP_{capability}");
        // caps has the numbers; every name of oci-spec is a name of the kernel.
        name.parse::<caps::Capability>()
            .map_or(0, |capability| 1_u64 << capability.index())
    };
    set.into_iter()
        .flatten()
        .fold(0, |bits, capability| bits | number(capability))
}

/// The name of a capability's number, for messages.
fn capability_name(number: u32) -> String {
    let known = caps::all()
        .into_iter()
        .find(|capability| u32::from(capability.index()) == number);
    known.map_or_else(|| number.to_string(), |known| known.to_string())
}

fn drop_bounding(keep: u64) -> Result<(), IdentityError> {
    for capability in (0..64).filter(|capability| keep & 1 << capability == 0) {
        match sys::drop_bounding(capability) {
            Ok(()) => {}
            // Numbers go up to the last one that the kernel knows (/proc/sys/kernel/cap_last_cap).
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(source) => {
                return Err(IdentityError::Set {
                    what: "the bounding set",
                    source,
                });
            }
        }
    }
    Ok(())
}

fn apply_capabilities(sets: &LinuxCapabilities) -> Result<(), IdentityError> {
    let wanted = sys::CapabilitySets {
        effective: mask(sets.effective().as_ref()),
        permitted: mask(sets.permitted().as_ref()),
        inheritable: mask(sets.inheritable().as_ref()),
    };
    // What a user without all capabilities cannot have anyway is left out, as runc does for rootless containers.
    let have = sys::capabilities().map_err(set("capabilities"))?;
    let possible = sys::CapabilitySets {
        effective: wanted.effective & have.permitted,
        permitted: wanted.permitted & have.permitted,
        inheritable: wanted.inheritable & (have.permitted | have.inheritable),
    };
    if possible != wanted {
        tracing::debug!("capabilities outside of our own permitted set are left out");
    }
    sys::set_capabilities(possible).map_err(set("capabilities"))?;
    sys::clear_ambient().map_err(set("the ambient set"))?;
    let ambient = mask(sets.ambient().as_ref());
    for capability in (0..64).filter(|capability| ambient & 1 << capability != 0) {
        // As runc: an ambient capability that is not permitted and inheritable is a warning, not an error.
        if let Err(error) = sys::raise_ambient(capability) {
            tracing::warn!(
                "can't raise ambient capability {}: {}",
                capability_name(capability),
                crate::report::one_line(&error)
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::Capability;

    #[test]
    fn capabilities_become_the_kernels_bits() {
        let set: Capabilities = [
            Capability::Chown,
            Capability::SysAdmin,
            Capability::CheckpointRestore,
        ]
        .into();
        assert_eq!(mask(Some(&set)), 1 | 1 << 21 | 1 << 40);
    }

    #[test]
    fn no_capabilities_are_none_in_any_set() {
        let sets = no_capabilities();
        let all = [
            sets.bounding(),
            sets.effective(),
            sets.permitted(),
            sets.inheritable(),
            sets.ambient(),
        ];
        assert!(all.into_iter().all(|set| mask(set.as_ref()) == 0));
    }

    #[test]
    fn every_rlimit_of_the_specification_has_a_number() {
        let names = [
            "CPU",
            "FSIZE",
            "DATA",
            "STACK",
            "CORE",
            "RSS",
            "NPROC",
            "NOFILE",
            "MEMLOCK",
            "AS",
            "LOCKS",
            "SIGPENDING",
            "MSGQUEUE",
            "NICE",
            "RTPRIO",
            "RTTIME",
        ];
        for (number, name) in (0..).zip(names) {
            assert_eq!(rlimit_number(&format!("RLIMIT_{name}")), number, "{name}");
            let kind: oci_spec::runtime::PosixRlimitType =
                serde_json::from_str(&format!("\"RLIMIT_{name}\"")).unwrap();
            assert_eq!(kind.to_string(), format!("RLIMIT_{name}"));
        }
    }
}
