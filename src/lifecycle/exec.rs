//! `exec`: one more process in a container that exists.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use nix::unistd::Pid;
use oci_spec::runtime::{Capability, LinuxCapabilities, Process, Spec};
use wasm_handler::choice;

use super::create::{check_preserved, choose, protect_from_container, send_pidfd, write_pid_file};
use super::{Container, Error, ExecRequest, Result, Runtime, Status};
use crate::bundle::{self, SpecExt};
use crate::launch::identity;
use crate::launch::joining::Joining;
use crate::launch::listener::ListenerState;
use crate::launch::relay::Foreground;
use crate::launch::seal;
use crate::seccomp;

/// Runs a process in the container; waits for its end unless `detach` is asked for, and gives its exit code.
///
/// # Errors
/// Whatever is in the way; no process is left behind then.
pub fn exec(runtime: &Runtime, request: &ExecRequest) -> Result<u8> {
    seal::ensure(&runtime.name)?;
    let container = Container::find(runtime, &request.id)?;
    match container.status() {
        Status::Stopped => {
            return Err(Error::ExecStopped {
                id: request.id.to_string(),
            });
        }
        Status::Paused if !request.ignore_paused => {
            return Err(Error::ExecPaused {
                id: request.id.to_string(),
            });
        }
        _ => {}
    }
    let spec = container.spec()?;
    let process = describe(request, &spec)?;
    bundle::check_process(&process)?;
    check_preserved(request.preserve_fds)?;
    let terminal = process.terminal().unwrap_or(false);
    let console = choose(
        runtime,
        terminal,
        request.console_socket.as_deref(),
        request.detach,
    )?;
    let foreground = (!request.detach).then(Foreground::prepare).transpose()?;

    let linux = spec
        .linux()
        .as_ref()
        .expect("checked when the container was made");
    let stopped = || Error::ExecStopped {
        id: request.id.to_string(),
    };
    let observe = |source| Error::Observe {
        pid: container.record.init.pid,
        source,
    };
    let init = container
        .record
        .init
        .open()
        .map_err(observe)?
        .ok_or_else(stopped)?;
    set_initial_affinity(&process)?;
    protect_from_container()?;
    let joined = Joining {
        spec: &spec,
        process: &process,
        init: init.as_fd(),
        keyring_of: (!container.record.no_new_keyring).then_some(request.id.as_str()),
        target: container.cgroup.exec_target(&request.cgroups)?,
        named_cgroup: !request.cgroups.is_empty(),
        cgroup: &container.cgroup,
        init_pid: container.record.init.pid,
        seccomp: linux.seccomp().as_ref().map(seccomp::compile).transpose()?,
        choice: choice::from_annotations(|key| spec.annotation(key)).map_err(|source| {
            Error::Choice {
                id: request.id.to_string(),
                source,
            }
        })?,
        console,
        preserve_fds: request.preserve_fds,
    }
    .run(|listener: BorrowedFd<'_>, pid| {
        ListenerState {
            id: request.id.as_str(),
            spec: &spec,
            bundle: container.bundle(),
            status: "running",
            pid,
        }
        .send(listener)
    })?;
    if let Some(path) = &request.pidfd_socket {
        send_pidfd(path, joined.pid())?;
    }
    if let Some(path) = &request.pid_file {
        write_pid_file(path, joined.pid())?;
    }
    let pid = joined.pid();
    let terminal = joined.start()?;
    match foreground {
        Some(foreground) => Ok(foreground.follow(pid, terminal)?),
        None => Ok(0),
    }
}

/// The process to run: that of `--process` as it stands, or the container's own with what the options change. What a
/// process.json leaves open is taken from the container's process, as runc does.
fn describe(request: &ExecRequest, spec: &Spec) -> Result<Process> {
    let own = spec
        .process()
        .as_ref()
        .expect("checked when the container was made");
    match &request.process {
        Some(path) => Ok(complete(read_process(path)?, own)),
        None => change(own.clone(), request),
    }
}

fn read_process(path: &PathBuf) -> Result<Process> {
    let text = fs::read(path).map_err(|source| Error::ProcessFile {
        path: path.clone(),
        source,
    })?;
    bundle::parse_process(&text).map_err(|source| Error::ProcessSyntax {
        path: path.clone(),
        source,
    })
}

fn complete(mut process: Process, own: &Process) -> Process {
    if process.capabilities().is_none() {
        process.set_capabilities(own.capabilities().clone());
    }
    if process.rlimits().is_none() {
        process.set_rlimits(own.rlimits().clone());
    }
    if process
        .apparmor_profile()
        .as_ref()
        .is_none_or(String::is_empty)
    {
        process.set_apparmor_profile(own.apparmor_profile().clone());
    }
    if process
        .selinux_label()
        .as_ref()
        .is_none_or(String::is_empty)
    {
        process.set_selinux_label(own.selinux_label().clone());
    }
    if process.no_new_privileges().is_none() {
        process.set_no_new_privileges(own.no_new_privileges());
    }
    if process.scheduler().is_none() {
        process.set_scheduler(own.scheduler().clone());
    }
    if process.io_priority().is_none() {
        process.set_io_priority(*own.io_priority());
    }
    if process.exec_cpu_affinity().is_none() {
        process.set_exec_cpu_affinity(own.exec_cpu_affinity().clone());
    }
    process
}

fn change(mut process: Process, request: &ExecRequest) -> Result<Process> {
    process.set_args(Some(request.args.clone()));
    process.set_terminal(Some(request.tty));
    if let Some(cwd) = &request.cwd {
        process.set_cwd(cwd.into());
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(request.env.iter().cloned());
    process.set_env(Some(env));
    if let Some(label) = &request.process_label {
        process.set_selinux_label(Some(label.clone()));
    }
    if let Some(profile) = &request.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if request.no_new_privs.is_some() {
        process.set_no_new_privileges(request.no_new_privs);
    }
    if let Some(text) = &request.user {
        let (uid, gid) = parse_user(text)?;
        process.user_mut().set_uid(uid);
        if let Some(gid) = gid {
            process.user_mut().set_gid(gid);
        }
    }
    if !request.additional_gids.is_empty() {
        let mut gids = process.user().additional_gids().clone().unwrap_or_default();
        gids.extend(&request.additional_gids);
        process.user_mut().set_additional_gids(Some(gids));
    }
    if !request.caps.is_empty() {
        let sets = add_capabilities(
            process
                .capabilities()
                .clone()
                .unwrap_or_else(identity::no_capabilities),
            &request.caps,
        )?;
        process.set_capabilities(Some(sets));
    }
    Ok(process)
}

/// `UID[:GID]`, each a whole number: a name or half a number must never become some other user (CVE-2026-30892).
fn parse_user(text: &str) -> Result<(u32, Option<u32>)> {
    let error = || Error::User { text: text.into() };
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        digits
            .then(|| part.parse::<u32>().ok())
            .flatten()
            .ok_or_else(error)
    };
    match text.split_once(':') {
        None => Ok((number(text)?, None)),
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
    }
}

/// As runc: bounding, effective and permitted; ambient only where the config has inheritable ones, for the
/// inheritable set must not grow by an exec (CVE-2022-29162).
fn add_capabilities(mut sets: LinuxCapabilities, names: &[String]) -> Result<LinuxCapabilities> {
    let mut added = Vec::new();
    for name in names {
        let full = name.to_ascii_uppercase();
        let full = if full.starts_with("CAP_") {
            full
        } else {
            format!("CAP_{full}")
        };
        let parsed: std::result::Result<Capability, _> = serde_json::from_value(full.into());
        added.push(parsed.map_err(|_unknown| Error::Capability { name: name.clone() })?);
    }
    let grown = |set: &Option<_>| -> Option<oci_spec::runtime::Capabilities> {
        let mut set: oci_spec::runtime::Capabilities = set.clone().unwrap_or_default();
        set.extend(added.iter().copied());
        Some(set)
    };
    let (bounding, effective, permitted, ambient) = (
        grown(sets.bounding()),
        grown(sets.effective()),
        grown(sets.permitted()),
        grown(sets.ambient()),
    );
    sets.set_bounding(bounding)
        .set_effective(effective)
        .set_permitted(permitted);
    if sets
        .inheritable()
        .as_ref()
        .is_some_and(|set| !set.is_empty())
    {
        sets.set_ambient(ambient);
    }
    Ok(sets)
}

/// config.md, execCPUAffinity, "initial": the affinity of the runtime, which the new process inherits.
fn set_initial_affinity(process: &Process) -> Result<()> {
    let initial = process
        .exec_cpu_affinity()
        .as_ref()
        .and_then(|affinity| affinity.initial().as_deref());
    let Some(cpus) = initial else { return Ok(()) };
    libcontainer::process::cpu_affinity::set_cpuset_affinity_from_string(Pid::from_raw(0), cpus)
        .map_err(Error::Affinity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_exactly_what_was_written_or_an_error() {
        assert_eq!(parse_user("1").unwrap(), (1, None));
        assert_eq!(parse_user("1:2").unwrap(), (1, Some(2)));
        for bad in [
            "",
            ":2",
            "1x",
            "1:",
            "+1",
            "-1",
            "root",
            "1:2:3",
            "4294967296",
            " 1",
        ] {
            assert!(parse_user(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_added_capability_is_never_inheritable() {
        let sets = add_capabilities(identity::no_capabilities(), &["net_admin".into()]).unwrap();
        let has = |set: &Option<oci_spec::runtime::Capabilities>| {
            set.as_ref()
                .is_some_and(|set| set.contains(&Capability::NetAdmin))
        };
        assert!(has(sets.bounding()) && has(sets.effective()) && has(sets.permitted()));
        assert!(sets.inheritable().is_none() && !has(sets.ambient()));
        assert!(add_capabilities(LinuxCapabilities::default(), &["CAP_NOPE".into()]).is_err());
    }
}
