//! From a checked bundle to a process in its namespaces, one step from `execve`.
//!
//! `launch` is the runtime's side, `init` the container process's; `sync` is the line between them. `joining` is the
//! same for a process that enters a container which exists (`exec`).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::PathBuf;

use wasm_handler::choice::Choice;

use crate::bundle::Bundle;
use crate::cgroup::{Cgroup, CgroupError};
use crate::seccomp::Program;
use crate::sys::process::{self as sys, CloneOptions, Cloned};

pub mod activation;
pub mod console;
mod environment;
mod handler;
pub mod hooks;
pub mod identity;
mod init;
pub mod joining;
pub mod listener;
pub mod namespaces;
pub mod notify;
mod program;
pub mod relay;
pub mod rootfs;
pub mod seal;
pub mod sync;
mod usermap;
mod workload;

use hooks::{HookError, HookState, Place};
use identity::IdentityError;
use listener::ListenerState;
use namespaces::{NamespaceError, Namespaces};
use sync::{Order, ProcessEnd, Report, RuntimeEnd, SyncError};
use usermap::UserMapError;

/// Why a container's process did not come up.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error(transparent)]
    Sync(#[from] SyncError),
    #[error("cannot put the container's process into its cgroup")]
    Cgroup(#[from] CgroupError),
    #[error("cannot map the ids of the user namespace")]
    UserMap(#[from] UserMapError),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Handler(#[from] handler::HandlerError),
    #[error("cannot hand the seccomp listener to {path:?}")]
    Listener {
        path: PathBuf,
        source: crate::seccomp::SeccompError,
    },
    #[error(
        "cannot fetch the seccomp listener from the container's process (Linux 5.6 or later is needed)"
    )]
    FetchListener { source: io::Error },
    /// The container process's own words; the wording around them is runc's.
    #[error("unable to start container process: error during container init: {text}")]
    Init { text: String },
    #[error("unable to start container process: {text}")]
    Joined { text: String },
    #[error("the container's process ended before it was set up ({how})")]
    Died { how: String },
}

/// Where the container's terminal goes.
#[derive(Debug)]
pub enum Console {
    /// To the caller, over `--console-socket`.
    Socket(OwnedFd),
    /// To this program, which stands between it and the terminal that it was called on.
    Relay,
}

/// Everything that the launch of a container needs, opened and checked.
#[derive(Debug)]
pub struct Launch<'a> {
    pub id: &'a str,
    pub bundle: &'a Bundle,
    pub namespaces: Namespaces,
    pub cgroup: &'a Cgroup,
    pub cgroup_view: rootfs::CgroupView<'a>,
    pub sources: rootfs::Sources,
    pub seccomp: Option<Program>,
    pub choice: Choice,
    pub console: Console,
    /// The FIFO to wait on for `start`; without it the runtime gives the word itself.
    pub start: Option<OwnedFd>,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    /// Descriptors from 3 on that the container's process keeps, those of LISTEN_FDS first.
    pub preserve_fds: u32,
    /// How many of them are sockets for it to listen on.
    pub listen_fds: u32,
    pub annotations: &'a BTreeMap<String, String>,
}

impl Launch<'_> {
    fn has_runtime_hooks(&self) -> bool {
        let filled = |hooks: &Option<Vec<_>>| hooks.as_ref().is_some_and(|hooks| !hooks.is_empty());
        self.bundle
            .spec
            .hooks()
            .as_ref()
            .is_some_and(|hooks| filled(hooks.prestart()) || filled(hooks.create_runtime()))
    }

    fn hook_state(&self, status: &'static str, pid: Option<i32>) -> HookState<'_> {
        HookState {
            oci_version: self.bundle.spec.version(),
            id: self.id,
            status,
            pid,
            bundle: &self.bundle.path,
            annotations: (!self.annotations.is_empty()).then_some(self.annotations),
        }
    }

    fn run_runtime_hooks(&self, pid: i32) -> Result<(), HookError> {
        let Some(hooks) = self.bundle.spec.hooks() else {
            return Ok(());
        };
        let state = self.hook_state("creating", Some(pid));
        // The bundle: what a hook's config names is written with it in mind.
        let place = Place {
            directory: Some(&self.bundle.path),
            ..Place::default()
        };
        hooks::run("prestart", hooks.prestart().as_ref(), &state, place)?;
        let create_runtime = hooks.create_runtime().as_ref();
        hooks::run("createRuntime", create_runtime, &state, place)
    }

    /// Clones the container's process and goes with it through its set-up until only the start is missing.
    ///
    /// # Errors
    /// See [`LaunchError`]; the process is gone then.
    pub fn run(self) -> Result<Launched, LaunchError> {
        let (runtime, process) = sync::channel()?;
        let two_steps = self.namespaces.need_two_steps();
        let maps = self
            .namespaces
            .is_new(oci_spec::runtime::LinuxNamespaceType::User);
        let birth = self.cgroup.birth_dir();
        let moved = birth.is_none();
        let first = CloneOptions {
            namespaces: if two_steps {
                0
            } else {
                self.namespaces.clone_flags()
            },
            cgroup: birth,
            sibling: false,
        };
        #[expect(
            unsafe_code,
            reason = "the one place where a container's process is made"
        )]
        // SAFETY: this program never starts a thread.
        let cloned = unsafe { sys::clone(&first) };
        let pid = match cloned.map_err(|source| self.namespaces.clone_error(source))? {
            Cloned::Parent(pid) => pid,
            Cloned::Child => {
                drop(runtime);
                self.become_container(&process, two_steps, maps, moved);
            }
        };
        drop(process);
        // The words of these events are runc's: its tests look for them.
        tracing::debug!("nsexec container setup: process {pid} is made");
        let mut launched = Launched {
            pid,
            channel: runtime,
            terminal: None,
            released: false,
        };
        if moved {
            launched.give_up_on_error(|_| Ok(self.cgroup.add(pid)?))?;
        }
        // Before a second step, which inherits it: the process may be out of reach for a user without privileges then.
        launched.give_up_on_error(|launched| {
            let whose = launched.pid.to_string();
            Ok(identity::set_oom_score(self.bundle.process(), &whose)?)
        })?;
        if two_steps {
            launched.channel.send(&Order::Go)?;
            launched.follow_second_step()?;
        }
        launched.give_up_on_error(|launched| {
            if maps {
                usermap::write(&self.bundle.spec, launched.pid)?;
            }
            Ok(())
        })?;
        if maps || moved || two_steps {
            launched.channel.send(&Order::Go)?;
        }
        tracing::debug!("child process in init(): steps begin");
        launched.serve(&self)?;
        tracing::debug!("init: closing the pipe to signal completion");
        Ok(launched)
    }

    /// The child's side of `run`: never returns.
    fn become_container(self, channel: &ProcessEnd, two_steps: bool, maps: bool, moved: bool) -> ! {
        let prepared = prepare_child(&self, channel, two_steps, maps || moved || two_steps);
        let outcome = match prepared {
            Ok(()) => init::run(&self, channel).map(|never| match never {}),
            Err(error) => Err(error),
        };
        report_failure(channel, outcome)
    }
}

/// What comes before the steps of `init`: the second clone where one is needed, and waiting for the runtime.
fn prepare_child(
    launch: &Launch<'_>,
    channel: &ProcessEnd,
    two_steps: bool,
    waits: bool,
) -> Result<(), init::InitError> {
    reset_inherited()?;
    if two_steps {
        channel.receive()?;
        launch.namespaces.prepare()?;
        if launch
            .namespaces
            .is_joined(oci_spec::runtime::LinuxNamespaceType::User)
        {
            // There are others in it, who must not trace the child that is born among them. A new user namespace is
            // empty, and the runtime has to reach its maps.
            sys::set_dumpable(false).map_err(|source| init::InitError::Set {
                what: "PR_SET_DUMPABLE",
                source,
            })?;
        }
        let second = CloneOptions {
            namespaces: launch.namespaces.clone_flags(),
            cgroup: None,
            sibling: true,
        };
        #[expect(
            unsafe_code,
            reason = "a pid or time namespace takes only children of who joined it"
        )]
        // SAFETY: this process is a fresh copy of a program that never starts a thread.
        let cloned = unsafe { sys::clone(&second) };
        if let Cloned::Parent(pid) =
            cloned.map_err(|source| launch.namespaces.clone_error(source))?
        {
            channel.send(&Report::Pid(pid))?;
            sys::exit_now(0);
        }
        reset_inherited()?;
    }
    if waits {
        channel.receive()?;
    }
    if std::process::id() == 1 {
        // The first process of a pid namespace has no default action for signals (pid_namespaces(7)): a container
        // that is not started yet could be ended by SIGKILL alone.
        sys::end_on_signals().map_err(|source| init::InitError::Set {
            what: "signal handling",
            source,
        })?;
    }
    Ok(())
}

/// A fresh process keeps nothing of the runtime's signal handling, and does not outlive the runtime while it is
/// being set up.
fn reset_inherited() -> Result<(), init::InitError> {
    let set = |what| move |source| init::InitError::Set { what, source };
    sys::reset_signals().map_err(set("default signal handling"))?;
    sys::set_parent_death_signal(libc::SIGKILL).map_err(set("PR_SET_PDEATHSIG"))
}

/// Tells the runtime what failed, or whoever reads the container's stderr: when the runtime has gone, and when the program
/// cannot be executed. The container has been started then, and its output is where its user looks, whether this was `run` or
/// `start` (as in runc).
fn report_failure(channel: &ProcessEnd, outcome: Result<(), init::InitError>) -> ! {
    if let Err(error) = outcome {
        let text = crate::report::one_line(&error);
        let started = matches!(error, init::InitError::Exec { .. });
        if started || channel.send(&Report::Failed(text.clone())).is_err() {
            let line = format!("{text}\n");
            // Nobody else is left to tell; if stderr is closed as well, the exit status has to do.
            let _written = nix::unistd::write(io::stderr(), line.as_bytes());
        }
    }
    // As runc: what could not be executed ends with 255.
    sys::exit_now(255)
}

/// A container's process that is set up. Dropped without [`Launched::release`], it is killed.
#[derive(Debug)]
pub struct Launched {
    pid: i32,
    channel: RuntimeEnd,
    terminal: Option<OwnedFd>,
    released: bool,
}

impl Launched {
    /// The process, in our pid namespace.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The master of its terminal, if this program relays it.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Gives the word to start, for a process that does not wait on a FIFO, and waits until its program runs.
    ///
    /// # Errors
    /// [`LaunchError::Init`] when the program could not be executed.
    pub fn start(&self) -> Result<(), LaunchError> {
        self.channel.send(&Order::Go)?;
        // The other end closes at the execve.
        match self.channel.receive()? {
            None => Ok(()),
            Some(Report::Failed(text)) => Err(LaunchError::Init { text }),
            Some(_) => Err(SyncError::Unknown.into()),
        }
    }

    /// Lets a process that waits on a FIFO know that its container is recorded.
    pub fn confirm(&self) {
        if let Err(error) = self.channel.send(&Order::Go) {
            tracing::debug!("the process that was set up is gone: {error}");
        }
    }

    /// From here on the process is the container's own and outlives this program.
    pub fn release(mut self) -> i32 {
        self.released = true;
        self.pid
    }

    /// Runs one of the runtime's own steps; if it fails, the process hears of it and stops.
    fn give_up_on_error(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<(), LaunchError>,
    ) -> Result<(), LaunchError> {
        let outcome = step(self);
        if outcome.is_err()
            && let Err(error) = self.channel.send(&Order::Stop)
        {
            tracing::debug!("the process to stop is gone: {error}");
        }
        outcome
    }

    fn follow_second_step(&mut self) -> Result<(), LaunchError> {
        match self.channel.receive()? {
            Some(Report::Pid(pid)) => {
                let first = std::mem::replace(&mut self.pid, pid);
                reap(first);
                Ok(())
            }
            Some(Report::Failed(text)) => Err(LaunchError::Init { text }),
            Some(_) => Err(SyncError::Unknown.into()),
            None => Err(self.died()),
        }
    }

    /// The process has ended and is waited for here: its pid is anybody's from now on.
    fn died(&mut self) -> LaunchError {
        self.released = true;
        died(self.pid)
    }

    /// Does what the process asks for until it is ready.
    fn serve(&mut self, launch: &Launch<'_>) -> Result<(), LaunchError> {
        loop {
            match self.channel.receive()? {
                None => return Err(self.died()),
                Some(Report::Failed(text)) => return Err(LaunchError::Init { text }),
                Some(Report::Ready) => return Ok(()),
                Some(request) => {
                    let order = self.answer(launch, request);
                    let order = order.inspect_err(|_| {
                        if let Err(error) = self.channel.send(&Order::Stop) {
                            tracing::debug!("the process to stop is gone: {error}");
                        }
                    })?;
                    self.channel.send(&order)?;
                }
            }
        }
    }

    fn answer(&mut self, launch: &Launch<'_>, request: Report) -> Result<Order, LaunchError> {
        match request {
            Report::Hooks => launch.run_runtime_hooks(self.pid)?,
            Report::Limits => identity::set_rlimits(launch.bundle.process(), self.pid)?,
            Report::Terminal(master) => {
                relay::fit_to_ours(master.as_fd());
                self.terminal = Some(master);
            }
            Report::Listener(number) => {
                let listener = fetch(self.pid, number)?;
                let (spec, bundle) = (&launch.bundle.spec, launch.bundle.path.as_path());
                ListenerState {
                    id: launch.id,
                    spec,
                    bundle,
                    status: "creating",
                    pid: self.pid,
                }
                .send(listener.as_fd())?;
            }
            Report::Wasm(module) => {
                let name = workload::entrypoint(launch.bundle.process());
                let (program, artifact) = handler::find(launch.choice, name, module.as_fd())?;
                return Ok(Order::Handler { program, artifact });
            }
            Report::Pid(_) | Report::Ready | Report::Failed(_) => {
                return Err(SyncError::Unknown.into());
            }
        }
        Ok(Order::Go)
    }
}

/// Takes over a copy of a descriptor of the process.
fn fetch(pid: i32, number: RawFd) -> Result<OwnedFd, LaunchError> {
    let fetched = sys::pidfd_open(pid).and_then(|pidfd| sys::pidfd_getfd(pidfd.as_fd(), number));
    fetched.map_err(|source| LaunchError::FetchListener { source })
}

/// Waits for a process that has closed its end without a word, and tells how it ended.
fn died(pid: i32) -> LaunchError {
    let pid = nix::unistd::Pid::from_raw(pid);
    let how = match nix::sys::wait::waitpid(pid, None) {
        Ok(nix::sys::wait::WaitStatus::Signaled(_, signal, _)) => format!("killed by {signal}"),
        Ok(nix::sys::wait::WaitStatus::Exited(_, code)) => format!("exit status {code}"),
        Ok(status) => format!("{status:?}"),
        Err(errno) => format!("{errno}"),
    };
    LaunchError::Died { how }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        let pid = nix::unistd::Pid::from_raw(self.pid);
        // It is our child and was not waited for, so the pid is still its own.
        match nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL) {
            Ok(()) => reap(self.pid),
            Err(errno) => tracing::debug!("the process {pid} is gone: {errno}"),
        }
    }
}

fn reap(pid: i32) {
    let pid = nix::unistd::Pid::from_raw(pid);
    loop {
        match nix::sys::wait::waitpid(pid, None) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return tracing::debug!("cannot wait for process {pid}: {errno}"),
            Ok(_) => return,
        }
    }
}
