//! The container's first process, from its birth in the new namespaces to its `execve`: a list of steps.

use std::convert::Infallible;
use std::fs::DirBuilder;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;

use oci_spec::runtime::{Linux, LinuxNamespaceType as Kind, Process};

use super::activation;
use super::console::{self, ConsoleError};
use super::environment;
use super::hooks::{self, HookError, Place};
use super::identity::{self, IdentityError};
use super::namespaces::NamespaceError;
use super::program::ProgramError;
use super::rootfs::{self, ProcError, ProcHandle, Rootfs, RootfsError, SysctlError, write_sysctl};
use super::sync::{ProcessEnd, Report, SyncError};
use super::workload::{self, WorkloadError};
use super::{Console, Launch};
use crate::seccomp::SeccompError;
use crate::sys::process as sys;

/// The step that failed, and why.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error(transparent)]
    Sync(#[from] SyncError),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error(transparent)]
    Console(#[from] ConsoleError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    #[error("unable to init seccomp")]
    Seccomp(#[from] SeccompError),
    #[error("cannot set the memory policy")]
    MemoryPolicy(#[from] libcontainer::process::memory_policy::MemoryPolicyError),
    #[error("cannot set {what}")]
    Set {
        what: &'static str,
        source: io::Error,
    },
    #[error("cannot set the CPU affinity")]
    Affinity {
        source: libcontainer::process::cpu_affinity::CPUAffinityError,
    },
    #[error(transparent)]
    Proc(#[from] ProcError),
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    #[error("cannot make the working directory {path:?}")]
    Cwd {
        path: std::path::PathBuf,
        source: io::Error,
    },
    #[error("cannot wait for the start")]
    Wait { source: io::Error },
    #[error("exec {name}")]
    Exec { name: String, source: io::Error },
}

fn set(what: &'static str) -> impl FnOnce(io::Error) -> InitError {
    move |source| InitError::Set { what, source }
}

/// Takes every step up to `execve`.
///
/// # Errors
/// The first step that failed. Nothing is undone here: the runtime ends this process, and the kernel takes what
/// belongs to its namespaces.
pub fn run(launch: &Launch<'_>, channel: &ProcessEnd) -> Result<Infallible, InitError> {
    let spec = &launch.bundle.spec;
    let linux = spec.linux().as_ref().expect("checked by bundle::validate");
    let process = launch.bundle.process();
    let init = Init {
        launch,
        linux,
        process,
        channel,
    };

    init.enter_namespaces()?;
    init.own_a_session()?;
    init.name_the_host()?;
    let host_proc = ProcHandle::open()?;
    let plan = init.rootfs_plan();
    let rootfs = Rootfs::mount(&plan)?;
    init.run_hooks_before_pivot()?;
    let mut own = rootfs.directories();
    own.push(host_proc.as_fd());
    forget_directories(launch.preserve_fds, &own)?;
    rootfs.pivot()?;
    init.set_kernel_parameters(&host_proc)?;
    identity::set_exec_labels(process, &host_proc)?;
    // With it goes the last way to the host, before the first path of the image is looked up.
    drop(host_proc);
    init.make_working_directory()?;
    init.open_terminal(&rootfs)?;
    rootfs.finish()?;
    init.set_limits()?;
    init.set_scheduling()?;
    let mut env = environment::build(process);
    if launch.listen_fds > 0 {
        env.extend(activation::variables(launch.listen_fds, std::process::id()));
    }
    let workload = workload::classify(launch.choice, process, &env, channel)?;
    // What was opened on the host must not be within reach of the container's user.
    drop(rootfs);
    let fifo = launch.start.as_ref().map(AsFd::as_fd);
    close_the_rest(fifo.as_slice(), launch.preserve_fds, channel, &workload)?;
    if !is_no_new_privs(process) {
        // Loading a filter needs CAP_SYS_ADMIN here, which the next step gives up.
        install_seccomp(launch.seccomp.as_ref(), channel)?;
    }
    init.own_stdio()?;
    identity::become_user(process, process.cwd())?;
    let program = workload.prepare(spec, process, &env)?;
    if is_no_new_privs(process) {
        sys::set_no_new_privs().map_err(set("PR_SET_NO_NEW_PRIVS"))?;
        // As late as can be: the fewer system calls of ours a profile has to allow.
        install_seccomp(launch.seccomp.as_ref(), channel)?;
    }
    init.wait_for_start()?;
    init.run_start_hooks(&env)?;
    keep_descriptors(&program)?;
    Err(program.exec())
}

struct Init<'a> {
    launch: &'a Launch<'a>,
    linux: &'a Linux,
    process: &'a Process,
    channel: &'a ProcessEnd,
}

impl Init<'_> {
    fn enter_namespaces(&self) -> Result<(), InitError> {
        let namespaces = &self.launch.namespaces;
        if !namespaces.need_two_steps() {
            namespaces.prepare()?;
        }
        if namespaces.has_user() {
            become_root()?;
        }
        namespaces.enter_cgroup_namespace()?;
        if namespaces.is_new(Kind::Network) {
            sys::raise_loopback().map_err(set("up the loopback device"))?;
        }
        Ok(())
    }

    fn own_a_session(&self) -> Result<(), InitError> {
        nix::unistd::setsid().map_err(|errno| set("a session of its own")(errno.into()))?;
        if !self.launch.no_new_keyring {
            identity::join_session_keyring(self.launch.id)?;
        }
        Ok(())
    }

    fn name_the_host(&self) -> Result<(), InitError> {
        let spec = &self.launch.bundle.spec;
        if let Some(name) = spec.hostname().as_deref().filter(|name| !name.is_empty()) {
            nix::unistd::sethostname(name).map_err(|errno| set("the hostname")(errno.into()))?;
        }
        if let Some(name) = spec.domainname().as_deref().filter(|name| !name.is_empty()) {
            sys::set_domain_name(name).map_err(set("the domainname"))?;
        }
        Ok(())
    }

    fn rootfs_plan(&self) -> rootfs::Plan<'_> {
        rootfs::Plan {
            spec: &self.launch.bundle.spec,
            bundle: &self.launch.bundle.path,
            rootfs: &self.launch.bundle.rootfs,
            sources: &self.launch.sources,
            no_pivot: self.launch.no_pivot,
            cgroup: self.launch.cgroup_view,
            in_userns: self.launch.namespaces.has_user(),
            mount_label: self.linux.mount_label().as_deref(),
        }
    }

    fn set_kernel_parameters(&self, proc: &ProcHandle) -> Result<(), InitError> {
        for (name, value) in self.linux.sysctl().iter().flatten() {
            write_sysctl(proc, name, value)?;
        }
        Ok(())
    }

    /// createRuntime by the runtime, createContainer here: both after the mounts and before the pivot (runtime.md,
    /// "Lifecycle").
    fn run_hooks_before_pivot(&self) -> Result<(), InitError> {
        let Some(hooks) = self.launch.bundle.spec.hooks() else {
            return Ok(());
        };
        if self.launch.has_runtime_hooks() {
            self.channel.ask(&Report::Hooks)?;
        }
        let state = self
            .launch
            .hook_state("creating", Some(std::process::id() as i32));
        // Where the hook finds what is mounted for the container, by paths relative to it (as in runc).
        let place = Place {
            directory: Some(&self.launch.bundle.rootfs),
            ..Place::default()
        };
        let create_container = hooks.create_container().as_ref();
        Ok(hooks::run(
            "createContainer",
            create_container,
            &state,
            place,
        )?)
    }

    /// As runc does: a working directory that is missing is made.
    fn make_working_directory(&self) -> Result<(), InitError> {
        let path = self.process.cwd();
        if path.is_dir() {
            return Ok(());
        }
        // After the pivot and `forget_directories` a path cannot lead out of the container any more.
        match DirBuilder::new().recursive(true).mode(0o755).create(path) {
            Ok(()) => Ok(()),
            // A file in the way or a read-only file system: entering the directory will say so.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EEXIST | libc::EROFS | libc::ENOTDIR)
                ) =>
            {
                Ok(())
            }
            Err(source) => Err(InitError::Cwd {
                path: path.clone(),
                source,
            }),
        }
    }

    fn open_terminal(&self, rootfs: &Rootfs<'_>) -> Result<(), InitError> {
        if !self.process.terminal().unwrap_or(false) {
            return Ok(());
        }
        let terminal = console::open(self.process)?;
        rootfs.dev_console(terminal.slave.as_fd())?;
        hand_over_terminal(terminal, &self.launch.console, self.channel)
    }

    fn set_limits(&self) -> Result<(), InitError> {
        if self.process.rlimits().as_ref().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        if self.launch.namespaces.has_user() {
            // In a user namespace nobody may raise a hard limit: the runtime does it from outside.
            self.channel.ask(&Report::Limits)?;
            return Ok(());
        }
        Ok(identity::set_rlimits(self.process, 0)?)
    }

    fn set_scheduling(&self) -> Result<(), InitError> {
        // A failure leaves the affinity of the caller, as runc (1.3.1) does: it is only about speed.
        if let Err(error) = sys::reset_cpu_affinity() {
            tracing::debug!("cannot reset the CPU affinity: {error}");
        }
        identity::set_scheduling(self.process, Some(self.linux))?;
        if self.linux.memory_policy().is_some() {
            let syscall = libcontainer::syscall::syscall::create_syscall();
            libcontainer::process::memory_policy::setup_memory_policy(
                self.linux.memory_policy(),
                syscall.as_ref(),
            )?;
        }
        Ok(())
    }

    fn own_stdio(&self) -> Result<(), InitError> {
        let uid = self.process.user().uid();
        if uid != 0 || self.launch.namespaces.has_user() {
            identity::own_stdio(uid)?;
        }
        Ok(())
    }

    fn wait_for_start(&self) -> Result<(), InitError> {
        outlive_the_runtime()?;
        self.channel.send(&Report::Ready)?;
        match &self.launch.start {
            None => Ok(self.channel.wait_for_start()?),
            Some(fifo) => {
                // First for the word that the container is recorded: if the runtime is killed before that, nobody
                // knows of this process, and on the FIFO alone it would wait for ever.
                self.channel.wait_for_start()?;
                wait_for_byte(fifo.as_fd())
            }
        }
    }

    fn run_start_hooks(&self, env: &[String]) -> Result<(), InitError> {
        let Some(hooks) = self.launch.bundle.spec.hooks() else {
            return Ok(());
        };
        let state = self
            .launch
            .hook_state("created", Some(std::process::id() as i32));
        let place = Place {
            directory: None,
            env,
        };
        let start_container = hooks.start_container().as_ref();
        Ok(hooks::run(
            "startContainer",
            start_container,
            &state,
            place,
        )?)
    }
}

/// Leaves no directory open but the preserved ones and those to `keep`: see [`sys::forget_directories`].
pub(super) fn forget_directories(preserved: u32, keep: &[BorrowedFd<'_>]) -> Result<(), InitError> {
    let first = i32::try_from(preserved.saturating_add(3)).unwrap_or(i32::MAX);
    sys::forget_directories(first, keep).map_err(set("open directories out of reach"))
}

/// From here on the runtime may end before this process: it is set up.
pub(super) fn outlive_the_runtime() -> Result<(), InitError> {
    sys::set_parent_death_signal(0).map_err(set("PR_SET_PDEATHSIG"))
}

/// Takes the ids of root in a user namespace whose maps are written.
///
/// # Errors
/// `EINVAL` where the maps have no id 0.
pub(super) fn become_root() -> Result<(), InitError> {
    sys::set_gid(0).map_err(set("group 0 of the user namespace (is it mapped?)"))?;
    sys::set_uid(0).map_err(set("user 0 of the user namespace (is it mapped?)"))?;
    // The maps are written, so nobody outside has to reach this process through /proc any more.
    sys::set_dumpable(false).map_err(set("PR_SET_DUMPABLE"))
}

/// Gives the master away and keeps the slave as stdio.
pub(super) fn hand_over_terminal(
    terminal: console::Terminal,
    to: &Console,
    channel: &ProcessEnd,
) -> Result<(), InitError> {
    match to {
        Console::Socket(socket) => console::send(socket.as_fd(), terminal.master.as_fd())?,
        Console::Relay => {
            // Standard output is still that of the runtime. A file or a pipe gets lines, as from any other program; only a
            // screen wants the cursor returned.
            if !io::stdout().is_terminal() {
                console::end_lines_plainly(terminal.slave.as_fd())?;
            }
            channel.ask(&Report::Terminal(terminal.master))?;
        }
    }
    Ok(console::attach(terminal.slave.as_fd())?)
}

pub(super) fn is_no_new_privs(process: &Process) -> bool {
    process.no_new_privileges().unwrap_or(false)
}

/// Installs the filter, and hands its listener to the runtime when it has one.
pub(super) fn install_seccomp(
    program: Option<&crate::seccomp::Program>,
    channel: &ProcessEnd,
) -> Result<(), InitError> {
    let Some(program) = program else {
        return Ok(());
    };
    if let Some(listener) = program.install()? {
        channel.send(&Report::Listener(listener.as_raw_fd()))?;
        channel.wait_for_start()?;
    }
    Ok(())
}

/// Closes what the last steps do not need: descriptors of the runtime, and those that its caller left open. Before the
/// seccomp filter, which need not allow it.
pub(super) fn close_the_rest(
    own: &[BorrowedFd<'_>],
    preserved: u32,
    channel: &ProcessEnd,
    workload: &workload::Workload,
) -> Result<(), InitError> {
    let log = crate::report::log_descriptor();
    let mut keep: Vec<i32> = own.iter().map(AsRawFd::as_raw_fd).collect();
    keep.push(channel.as_fd().as_raw_fd());
    keep.extend(workload.descriptors().map(|fd| fd.as_raw_fd()));
    keep.extend(log);
    #[expect(
        unsafe_code,
        reason = "descriptors are closed behind the backs of their owners"
    )]
    // SAFETY: this process only takes the steps below, and those use nothing but what is kept: the other owners of
    // descriptors are in frames that it never returns to, for it ends by an execve or an exit.
    let closed = unsafe { sys::close_all_but(3 + preserved, keep) };
    closed.map_err(set("close the descriptors of the runtime"))
}

/// Lets the descriptors that the program itself needs survive the execve; all others of ours do not.
pub(super) fn keep_descriptors(program: &workload::Program) -> Result<(), InitError> {
    for fd in program.inherited() {
        sys::keep_on_exec(fd).map_err(set("a descriptor of the Wasm handler"))?;
    }
    Ok(())
}

fn wait_for_byte(fifo: BorrowedFd<'_>) -> Result<(), InitError> {
    let mut byte = [0; 1];
    loop {
        match nix::unistd::read(fifo.as_raw_fd(), &mut byte) {
            Ok(1) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => {
                return Err(InitError::Wait {
                    source: io::ErrorKind::UnexpectedEof.into(),
                });
            }
            Err(errno) => {
                return Err(InitError::Wait {
                    source: errno.into(),
                });
            }
        }
    }
}
