//! A process that enters a container which exists: `exec`.

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::wait::waitpid;
use oci_spec::runtime::{LinuxNamespaceType as Kind, Process, Spec};
use wasm_handler::choice::Choice;

use super::console;
use super::environment;
use super::handler;
use super::identity;
use super::init::{self, InitError};
use super::namespaces::NamespaceError;
use super::relay;
use super::rootfs::ProcHandle;
use super::sync::{self, Order, ProcessEnd, Report, RuntimeEnd, SyncError};
use super::workload;
use super::{Console, LaunchError, report_failure};
use crate::bundle::SpecExt;
use crate::cgroup::{Cgroup, Target};
use crate::seccomp::Program;
use crate::sys::process::{self as sys, CloneOptions, Cloned};

/// Everything that a process needs to enter a container.
#[derive(Debug)]
pub struct Joining<'a> {
    /// The config that the container was made from.
    pub spec: &'a Spec,
    pub process: &'a Process,
    /// The container's first process: its namespaces are joined.
    pub init: BorrowedFd<'a>,
    /// The container whose session keyring is joined; `None` keeps the caller's (`--no-new-keyring`).
    pub keyring_of: Option<&'a str>,
    pub target: Target,
    /// The caller named the target (`exec --cgroup`): no other one will do.
    pub named_cgroup: bool,
    pub cgroup: &'a Cgroup,
    pub init_pid: i32,
    pub seccomp: Option<Program>,
    pub choice: Choice,
    pub console: Console,
    pub preserve_fds: u32,
}

impl Joining<'_> {
    /// The `CLONE_NEW…` flags of the namespaces that the container has of its own. A pidfd joins them by these flags
    /// in one call (setns(2), Linux 5.8).
    fn kinds(&self) -> i32 {
        self.spec
            .namespaces()
            .keys()
            .fold(0, |kinds, kind| kinds | *kind as i32)
    }

    fn has(&self, kind: Kind) -> bool {
        self.kinds() & kind as i32 != 0
    }

    /// Whether the new process has to be moved into its cgroup is the second part.
    fn clone_into_cgroup(&mut self) -> Result<(Cloned, bool), LaunchError> {
        let error = |source| NamespaceError::Make {
            kinds: "joined".into(),
            source,
        };
        match clone_into(&self.target) {
            // The container has made cgroups of its own below this one, which takes no process any more.
            Err(failure) if failure.raw_os_error() == Some(libc::EBUSY) => {
                if self.named_cgroup {
                    return Err(self.target.refused(failure).into());
                }
                self.target = self.cgroup.target_beside(self.init_pid)?;
                let cloned =
                    clone_into(&self.target).map_err(|source| self.target.refused(source))?;
                Ok((cloned, self.target.birth_dir().is_none()))
            }
            outcome => Ok((outcome.map_err(error)?, self.target.birth_dir().is_none())),
        }
    }

    /// Makes the process and goes with it until its program runs; `None` for the terminal unless it is relayed.
    ///
    /// # Errors
    /// See [`LaunchError`]; the process is gone then.
    pub fn run(
        mut self,
        listener: impl Fn(BorrowedFd<'_>, i32) -> Result<(), LaunchError>,
    ) -> Result<Joined, LaunchError> {
        let (runtime, process) = sync::channel()?;
        // Only children are in a pid namespace that was joined. With the right to, we join it here, and the one
        // clone below is in it; without (rootless), a process in between joins the user namespace first.
        let own = File::open("/proc/self/ns/pid").map_err(pid_namespace)?;
        let joins = self.has(Kind::Pid) && sys::setns(self.init, Kind::Pid as i32).is_ok();
        let two_steps = self.has(Kind::Pid) && !joins;
        let (cloned, moved) = self.clone_into_cgroup()?;
        let pid = match cloned {
            Cloned::Parent(pid) => pid,
            Cloned::Child => {
                drop(runtime);
                let outcome = enter(&self, &process, two_steps, moved);
                report_failure(&process, outcome.map(|never| match never {}))
            }
        };
        drop(process);
        // The words of these events are runc's: its tests look for them.
        tracing::debug!(
            "nsexec container setup: process {pid} is made: affinity: {}",
            own_affinity()
        );
        let mut joined = Joined {
            pid,
            terminal: None,
            channel: runtime,
            released: false,
        };
        if moved {
            joined.or_stop(self.target.add(pid).map_err(LaunchError::from))?;
            joined.channel.send(&Order::Go)?;
        }
        if joins {
            // Whatever else we start, a compiler for one, is no business of the container: in there it would be
            // signalled, traced, and its /proc/PID/root would be the host's root.
            let back = sys::setns(own.as_fd(), Kind::Pid as i32).map_err(pid_namespace);
            joined.or_stop(back.map_err(LaunchError::from))?;
        }
        tracing::debug!("child process in init(): steps begin");
        joined.serve(&self, listener)?;
        tracing::debug!("setns_init: about to exec");
        Ok(joined)
    }
}

fn pid_namespace(source: std::io::Error) -> NamespaceError {
    NamespaceError::Join {
        kind: Kind::Pid,
        path: "/proc/self/ns/pid".into(),
        source,
    }
}

fn clone_into(target: &Target) -> std::io::Result<Cloned> {
    let options = CloneOptions {
        namespaces: 0,
        cgroup: target.birth_dir(),
        sibling: false,
    };
    #[expect(
        unsafe_code,
        reason = "the one place where a process of `exec` is made"
    )]
    // SAFETY: this program never starts a thread.
    unsafe {
        sys::clone(&options)
    }
}

/// The process's side: the steps from its birth to its `execve`.
fn enter(
    joining: &Joining<'_>,
    channel: &ProcessEnd,
    two_steps: bool,
    moved: bool,
) -> Result<Infallible, InitError> {
    let process = joining.process;
    super::reset_inherited()?;
    if moved {
        channel.receive()?;
    }
    let host_proc = ProcHandle::open()?;
    // While this process still has the rights of the host, and before it becomes one that others cannot reach: its
    // files in /proc are no longer its user's then.
    identity::set_oom_score(process, "self")?;
    sys::set_dumpable(false).map_err(|source| InitError::Set {
        what: "PR_SET_DUMPABLE",
        source,
    })?;
    init::forget_directories(joining.preserve_fds, &[host_proc.as_fd()])?;
    let kinds = joining.kinds();
    sys::setns(joining.init, kinds).map_err(|source| InitError::Set {
        what: "the namespaces of the container",
        source,
    })?;
    if two_steps {
        fork_into_pid_namespace(channel)?;
    }
    if joining.has(Kind::User) {
        init::become_root()?;
    }
    nix::unistd::setsid().map_err(|errno| InitError::Set {
        what: "a session of its own",
        source: errno.into(),
    })?;
    // As runc: the caller's keys are not for the container, whose keyring is found by its name.
    if let Some(id) = joining.keyring_of {
        identity::join_session_keyring(id)?;
    }
    identity::set_exec_labels(process, &host_proc)?;
    // With it goes the last way to the host, before the first path of the container is looked up.
    drop(host_proc);
    open_terminal(joining, channel)?;
    set_limits(joining, channel)?;
    set_affinity(process)?;
    let env = environment::build(process);
    identity::set_scheduling(process, joining.spec.linux().as_ref())?;
    let workload = workload::classify(joining.choice, process, &env, channel)?;
    // What was opened on the host must not be within reach of the container's user.
    init::close_the_rest(&[], joining.preserve_fds, channel, &workload)?;
    if !init::is_no_new_privs(process) {
        init::install_seccomp(joining.seccomp.as_ref(), channel)?;
    }
    if process.user().uid() != 0 || joining.has(Kind::User) {
        identity::own_stdio(process.user().uid())?;
    }
    identity::become_user(process, process.cwd())?;
    let program = workload.prepare(joining.spec, process, &env)?;
    if init::is_no_new_privs(process) {
        sys::set_no_new_privs().map_err(|source| InitError::Set {
            what: "PR_SET_NO_NEW_PRIVS",
            source,
        })?;
        init::install_seccomp(joining.seccomp.as_ref(), channel)?;
    }
    init::outlive_the_runtime()?;
    channel.send(&Report::Ready)?;
    channel.wait_for_start()?;
    init::keep_descriptors(&program)?;
    Err(program.exec())
}

fn fork_into_pid_namespace(channel: &ProcessEnd) -> Result<(), InitError> {
    let options = CloneOptions {
        sibling: true,
        ..CloneOptions::default()
    };
    #[expect(
        unsafe_code,
        reason = "a pid namespace takes only children of who joined it"
    )]
    // SAFETY: this process is a fresh copy of a program that never starts a thread.
    let cloned = unsafe { sys::clone(&options) };
    match cloned.map_err(|source| InitError::Set {
        what: "the pid namespace of the container",
        source,
    })? {
        Cloned::Child => super::reset_inherited(),
        Cloned::Parent(pid) => {
            channel.send(&Report::Pid(pid))?;
            sys::exit_now(0)
        }
    }
}

fn open_terminal(joining: &Joining<'_>, channel: &ProcessEnd) -> Result<(), InitError> {
    if !joining.process.terminal().unwrap_or(false) {
        return Ok(());
    }
    let terminal = console::open(joining.process)?;
    init::hand_over_terminal(terminal, &joining.console, channel)
}

fn set_limits(joining: &Joining<'_>, channel: &ProcessEnd) -> Result<(), InitError> {
    if joining.process.rlimits().as_ref().is_none_or(Vec::is_empty) {
        return Ok(());
    }
    if joining.has(Kind::User) {
        channel.ask(&Report::Limits)?;
        return Ok(());
    }
    Ok(identity::set_rlimits(joining.process, 0)?)
}

/// The CPUs that this process, and with it each new one, may run on: a mask in hexadecimal digits.
fn own_affinity() -> String {
    let Ok(set) = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)) else {
        return "unknown".into();
    };
    let digit = |first: usize| {
        let bits = (first..first + 4).rev();
        bits.fold(0, |digit, cpu| {
            digit << 1 | u8::from(set.is_set(cpu).unwrap_or(false))
        })
    };
    let digits = (0..nix::sched::CpuSet::count()).step_by(4).rev().map(digit);
    let text: String = digits.map(|digit| format!("{digit:x}")).collect();
    format!("0x{}", text.trim_start_matches('0'))
}

/// config.md, execCPUAffinity: `initial` was set by the runtime before the process was made, `final` is set once it
/// is in its cgroup. Without `final` the process gets every CPU of its cgroup, but for what `initial` says.
fn set_affinity(process: &Process) -> Result<(), InitError> {
    let affinity = process.exec_cpu_affinity().as_ref();
    let own = nix::unistd::Pid::from_raw(0);
    if let Some(cpus) = affinity.and_then(|affinity| affinity.cpu_affinity_final().as_deref()) {
        return libcontainer::process::cpu_affinity::set_cpuset_affinity_from_string(own, cpus)
            .map_err(|source| InitError::Affinity { source });
    }
    if affinity
        .and_then(|affinity| affinity.initial().as_ref())
        .is_none()
        && let Err(error) = sys::reset_cpu_affinity()
    {
        tracing::debug!("cannot reset the CPU affinity: {error}");
    }
    Ok(())
}

/// A process of `exec` that is set up. Dropped without [`Joined::start`], it is killed.
#[derive(Debug)]
pub struct Joined {
    pid: i32,
    terminal: Option<OwnedFd>,
    channel: RuntimeEnd,
    released: bool,
}

impl Joined {
    /// The process, in our pid namespace.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Gives the word to start and waits until the program runs. Gives the master of its terminal, if this program
    /// relays it.
    ///
    /// # Errors
    /// [`LaunchError::Joined`] when the program could not be executed.
    pub fn start(mut self) -> Result<Option<OwnedFd>, LaunchError> {
        self.channel.send(&Order::Go)?;
        match self.channel.receive()? {
            None => {}
            Some(Report::Failed(text)) => return Err(LaunchError::Joined { text }),
            Some(_) => return Err(SyncError::Unknown.into()),
        }
        self.released = true;
        Ok(self.terminal.take())
    }

    fn or_stop<T>(&self, outcome: Result<T, LaunchError>) -> Result<T, LaunchError> {
        if outcome.is_err()
            && let Err(error) = self.channel.send(&Order::Stop)
        {
            tracing::debug!("the process to stop is gone: {error}");
        }
        outcome
    }

    fn serve(
        &mut self,
        joining: &Joining<'_>,
        listener: impl Fn(BorrowedFd<'_>, i32) -> Result<(), LaunchError>,
    ) -> Result<(), LaunchError> {
        loop {
            let order = match self.channel.receive()? {
                None => {
                    // Waited for here: the pid is anybody's from now on.
                    self.released = true;
                    return Err(super::died(self.pid));
                }
                Some(Report::Failed(text)) => return Err(LaunchError::Joined { text }),
                Some(Report::Ready) => return Ok(()),
                Some(Report::Pid(pid)) => {
                    super::reap(std::mem::replace(&mut self.pid, pid));
                    continue;
                }
                Some(Report::Limits) => self.or_stop(
                    identity::set_rlimits(joining.process, self.pid)
                        .map(|()| Order::Go)
                        .map_err(LaunchError::from),
                )?,
                Some(Report::Terminal(master)) => {
                    relay::fit_to_ours(master.as_fd());
                    self.terminal = Some(master);
                    Order::Go
                }
                Some(Report::Listener(number)) => {
                    let fd = self.or_stop(super::fetch(self.pid, number))?;
                    self.or_stop(listener(fd.as_fd(), self.pid).map(|()| Order::Go))?
                }
                Some(Report::Wasm(module)) => {
                    let found = handler::find(
                        joining.choice,
                        workload::entrypoint(joining.process),
                        module.as_fd(),
                    )
                    .map_err(LaunchError::from);
                    let (program, artifact) = self.or_stop(found)?;
                    Order::Handler { program, artifact }
                }
                Some(Report::Hooks) => return Err(SyncError::Unknown.into()),
            };
            self.channel.send(&order)?;
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        if !self.released {
            let pid = nix::unistd::Pid::from_raw(self.pid);
            // It is our child and was not waited for, so the pid is still its own.
            if nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).is_ok()
                && let Err(errno) = waitpid(pid, None)
            {
                tracing::debug!("cannot wait for process {pid}: {errno}");
            }
        }
    }
}
