//! Processes: clone3(2), pidfds, prctl(2), execveat(2), and what else a launch asks of the kernel for itself.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::{c_int, c_long, c_uint, c_ulong};

/// A failed call as the error it left in `errno`; everything else is its result.
fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn check_int(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// `struct clone_args` of clone3(2), as far as Linux 5.7.
#[repr(C)]
#[derive(Debug, Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Which side of a clone this is.
#[derive(Debug)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The caller, with the pid of the child in the caller's pid namespace.
    Parent(i32),
}

/// How the child of [`clone`] differs from a plain fork.
#[derive(Debug, Default)]
pub struct CloneOptions<'fd> {
    /// `CLONE_NEW…`
    pub namespaces: u64,
    /// Born in this cgroup v2 directory: no write to cgroup.procs, and so no RCU grace period (Linux 5.7).
    pub cgroup: Option<BorrowedFd<'fd>>,
    /// The child becomes a sibling, a child of the caller's parent.
    pub sibling: bool,
}

/// clone3(2) without shared memory: a fork with namespaces and a cgroup.
///
/// # Errors
/// Those of clone3(2); `ENOSYS` before Linux 5.3.
///
/// # Safety
/// The caller must have no other thread: the child goes on in ordinary Rust code, which may allocate.
pub unsafe fn clone(options: &CloneOptions<'_>) -> io::Result<Cloned> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut args = CloneArgs {
        flags: options.namespaces,
        ..CloneArgs::default()
    };
    if options.sibling {
        // With CLONE_PARENT the exit signal is that of the caller and must be 0 here.
        args.flags |= libc::CLONE_PARENT as u64;
    } else {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(dir) = options.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = dir.as_raw_fd() as u64;
    }
    // SAFETY: `args` is a valid clone_args of the size given, asks for no shared memory or stack, and the
    // caller promises to be alone in its process.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    Ok(match check(result)? {
        0 => Cloned::Child,
        pid => Cloned::Parent(pid as i32),
    })
}

/// Ends the process without unwinding or flushing: for the child of a clone.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) takes an integer and does not return.
    unsafe { libc::_exit(code) }
}

/// pidfd_open(2), Linux 5.3.
///
/// # Errors
/// `ESRCH` when there is no such process.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: only integers are passed.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// pidfd_send_signal(2), Linux 5.1. Signal 0 only asks whether the process is there.
///
/// # Errors
/// `ESRCH` when the process is gone, `EINVAL` for a number that is no signal.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: a null siginfo is allowed; the rest are integers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    check(result).map(drop)
}

/// pidfd_getfd(2), Linux 5.6: a copy of a descriptor of another process.
///
/// # Errors
/// `EPERM` for a process that the caller may not trace, `EBADF` for a number that is not open there.
pub fn pidfd_getfd(pidfd: BorrowedFd<'_>, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: only integers are passed.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) })?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// setns(2) with a namespace descriptor, or with a pidfd and several `CLONE_NEW…` at once (Linux 5.8).
///
/// # Errors
/// Those of setns(2).
pub fn setns(fd: BorrowedFd<'_>, kinds: c_int) -> io::Result<()> {
    // SAFETY: only integers are passed.
    check_int(unsafe { libc::setns(fd.as_raw_fd(), kinds) }).map(drop)
}

/// unshare(2).
///
/// # Errors
/// Those of unshare(2).
pub fn unshare(kinds: c_int) -> io::Result<()> {
    // SAFETY: only an integer is passed; descriptors or memory are not unshared by the namespace flags.
    check_int(unsafe { libc::unshare(kinds) }).map(drop)
}

fn prctl(option: c_int, args: [c_ulong; 4]) -> io::Result<c_int> {
    // SAFETY: used only with options whose arguments are integers.
    check_int(unsafe { libc::prctl(option, args[0], args[1], args[2], args[3]) })
}

/// PR_SET_NO_NEW_PRIVS.
///
/// # Errors
/// Those of prctl(2).
pub fn set_no_new_privs() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, [1, 0, 0, 0]).map(drop)
}

/// PR_SET_PDEATHSIG: the signal that this process gets when its parent ends; 0 for none.
///
/// # Errors
/// Those of prctl(2).
pub fn set_parent_death_signal(signal: i32) -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, [signal as c_ulong, 0, 0, 0]).map(drop)
}

/// PR_SET_CHILD_SUBREAPER.
///
/// # Errors
/// Those of prctl(2).
pub fn set_child_subreaper() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, [1, 0, 0, 0]).map(drop)
}

/// PR_SET_DUMPABLE: with `false` no other process can ptrace this one or reach it through /proc/PID.
///
/// # Errors
/// Those of prctl(2).
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, [c_ulong::from(dumpable), 0, 0, 0]).map(drop)
}

/// PR_SET_KEEPCAPS: permitted capabilities survive the change of all user ids from 0.
///
/// # Errors
/// Those of prctl(2).
pub fn set_keep_caps(keep: bool) -> io::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, [c_ulong::from(keep), 0, 0, 0]).map(drop)
}

/// PR_CAPBSET_DROP.
///
/// # Errors
/// `EINVAL` for a capability that the kernel does not know.
pub fn drop_bounding(capability: u32) -> io::Result<()> {
    prctl(libc::PR_CAPBSET_DROP, [c_ulong::from(capability), 0, 0, 0]).map(drop)
}

/// PR_CAPBSET_READ: whether the capability is in the bounding set.
///
/// # Errors
/// `EINVAL` for a capability that the kernel does not know.
pub fn has_bounding(capability: u32) -> io::Result<bool> {
    prctl(libc::PR_CAPBSET_READ, [c_ulong::from(capability), 0, 0, 0]).map(|set| set == 1)
}

/// PR_CAP_AMBIENT_CLEAR_ALL.
///
/// # Errors
/// `EINVAL` before Linux 4.3.
pub fn clear_ambient() -> io::Result<()> {
    prctl(
        libc::PR_CAP_AMBIENT,
        [libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong, 0, 0, 0],
    )
    .map(drop)
}

/// PR_CAP_AMBIENT_RAISE.
///
/// # Errors
/// `EPERM` when the capability is not both permitted and inheritable.
pub fn raise_ambient(capability: u32) -> io::Result<()> {
    prctl(
        libc::PR_CAP_AMBIENT,
        [
            libc::PR_CAP_AMBIENT_RAISE as c_ulong,
            c_ulong::from(capability),
            0,
            0,
        ],
    )
    .map(drop)
}

/// The three capability sets of capset(2), one bit a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapabilitySets {
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3` (linux/capability.h): two words a set.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// capget(2) of the calling thread.
///
/// # Errors
/// Those of capget(2).
pub fn capabilities() -> io::Result<CapabilitySets> {
    let mut header = CapHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let mut data = [CapData::default(); 2];
    // SAFETY: version 3 writes exactly two elements.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let join =
        |pick: fn(&CapData) -> u32| u64::from(pick(&data[0])) | u64::from(pick(&data[1])) << 32;
    Ok(CapabilitySets {
        effective: join(|d| d.effective),
        permitted: join(|d| d.permitted),
        inheritable: join(|d| d.inheritable),
    })
}

/// capset(2) of the calling thread.
///
/// # Errors
/// `EPERM` for a set that the thread may not have.
pub fn set_capabilities(sets: CapabilitySets) -> io::Result<()> {
    let header = CapHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let half = |shift: u32| CapData {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads exactly two elements.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}

/// close_range(2) with CLOSE_RANGE_CLOEXEC: every descriptor from `first` up is closed by the next execve.
///
/// # Errors
/// `ENOSYS` before Linux 5.9, `EINVAL` for the flag before 5.11.
pub fn cloexec_from(first: c_uint) -> io::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: only integers are passed, and marking a descriptor invalidates no memory.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, flags) }).map(drop)
}

/// close_range(2) of every descriptor from `first` up that is not in `keep`.
///
/// # Errors
/// `ENOSYS` before Linux 5.9.
///
/// # Safety
/// Nobody may use a closed descriptor again, and its owner may not be dropped.
pub unsafe fn close_all_but(first: c_uint, mut keep: Vec<RawFd>) -> io::Result<()> {
    keep.sort_unstable();
    let mut next = first;
    for kept in keep {
        let Ok(kept) = c_uint::try_from(kept) else {
            continue;
        };
        if kept > next {
            // SAFETY: the caller promises that nobody misses what is closed here.
            check(unsafe { libc::syscall(libc::SYS_close_range, next, kept - 1, 0) })?;
        }
        next = next.max(kept + 1);
    }
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_close_range, next, c_uint::MAX, 0) }).map(drop)
}

/// Makes the signals that ask a process to end do so with status 128 plus their number, until an execve.
///
/// # Errors
/// Those of sigaction(2).
pub fn end_on_signals() -> io::Result<()> {
    extern "C" fn end(signal: c_int) {
        // SAFETY: _exit(2) is async-signal-safe and runs nothing of this process.
        unsafe { libc::_exit(128 + signal) }
    }
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: the handler calls nothing but _exit.
        let before = unsafe { libc::signal(signal, end as *const () as libc::sighandler_t) };
        if before == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// strsignal(3): `Bad system call`.
#[must_use]
pub fn signal_words(signal: c_int) -> String {
    // SAFETY: this program has one thread, so nobody else asks meanwhile.
    let words = unsafe { libc::strsignal(signal) };
    if words.is_null() {
        return signal.to_string();
    }
    // SAFETY: strsignal gives a C string that lives until its next call.
    let words = unsafe { CStr::from_ptr(words) };
    words.to_string_lossy().into_owned()
}

/// Puts something harmless in the place of every open directory from number `first` up, but for those to `keep`.
/// The numbers stay open, so that whoever owns a descriptor can still close it.
///
/// A directory of the host that is open leads out of a container, although it is close-on-exec: an image names it as
/// /proc/self/fd/N, in a link, as its working directory, entrypoint or interpreter, and all of those are looked up
/// before execve(2) closes it (CVE-2024-21626). Other kinds of file lead nowhere.
///
/// # Errors
/// Those of reading /proc/self/fd, which has to be the host's still, and of dup3(2).
pub fn forget_directories(first: RawFd, keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    // SAFETY: only integers are passed.
    let fd = check_int(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
    // SAFETY: the kernel just made this descriptor for us.
    let harmless = unsafe { OwnedFd::from_raw_fd(fd) };
    let numbers: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in numbers {
        let kept = fd < first || keep.iter().any(|kept| kept.as_raw_fd() == fd);
        if kept || !is_directory(fd)? {
            continue;
        }
        // SAFETY: only integers are passed; an owner of the number finds an open descriptor behind it as before.
        check_int(unsafe { libc::dup3(harmless.as_raw_fd(), fd, libc::O_CLOEXEC) })?;
    }
    Ok(())
}

fn is_directory(fd: RawFd) -> io::Result<bool> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the call writes one stat.
    match check_int(unsafe { libc::fstat(fd, stat.as_mut_ptr()) }) {
        // The listing itself, closed by now.
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(false),
        Err(error) => Err(error),
        // SAFETY: the call succeeded, so the structure is filled.
        Ok(_) => Ok(unsafe { stat.assume_init() }.st_mode & libc::S_IFMT == libc::S_IFDIR),
    }
}

/// Lets a descriptor survive execve.
///
/// # Errors
/// Those of fcntl(2).
pub fn keep_on_exec(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: only integers are passed.
    check_int(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) }).map(drop)
}

/// Whether a descriptor of this number came from our caller: open, and not close-on-exec as all of ours are.
#[must_use]
pub fn is_inherited(fd: RawFd) -> bool {
    // SAFETY: only integers are passed.
    unsafe { libc::fcntl(fd, libc::F_GETFD) == 0 }
}

/// A null-terminated array of pointers into strings that outlive it.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|s| s.as_ptr())
        .chain([ptr::null()])
        .collect()
}

/// execve(2). Returns only when it failed.
pub fn exec(path: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both arrays are null-terminated and their strings live until the call ends.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// execveat(2) of an open file. Returns only when it failed.
pub fn exec_fd(file: BorrowedFd<'_>, args: &[CString], env: &[CString]) -> io::Error {
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: the path is empty and the arrays are null-terminated; their strings live until the call ends.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            args.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// setgroups(2), setresgid(2) and setresuid(2) of the process.
///
/// # Errors
/// Those of the calls; `EINVAL` for an id that the user namespace does not map.
pub fn set_groups(gids: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of one slice; the raw call has no thread broadcast, and
    // the process has one thread.
    check(unsafe { libc::syscall(libc::SYS_setgroups, gids.len(), gids.as_ptr()) }).map(drop)
}

/// setresgid(2), all three ids.
///
/// # Errors
/// `EINVAL` for an id that the user namespace does not map.
pub fn set_gid(gid: u32) -> io::Result<()> {
    // SAFETY: only integers are passed; see `set_groups` for the raw call.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// setresuid(2), all three ids.
///
/// # Errors
/// `EINVAL` for an id that the user namespace does not map.
pub fn set_uid(uid: u32) -> io::Result<()> {
    // SAFETY: only integers are passed; see `set_groups` for the raw call.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Joins a new session keyring of this name (keyctl(2), KEYCTL_JOIN_SESSION_KEYRING) and returns its serial.
///
/// # Errors
/// `ENOSYS` in a kernel without keys, `EDQUOT` when the user has too many.
pub fn join_session_keyring(name: &CStr) -> io::Result<i32> {
    // SAFETY: the name is a C string that lives until the call ends.
    let serial = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_JOIN_SESSION_KEYRING,
            name.as_ptr(),
        )
    };
    Ok(check(serial)? as i32)
}

/// Lets the user of a keyring search it, as runc does, so that a container's later processes find its keys.
///
/// # Errors
/// Those of keyctl(2).
pub fn allow_keyring_search(serial: i32) -> io::Result<()> {
    const USER_SEARCH: u32 = 0x0008_0000; // KEY_USR_SEARCH (keyutils.h)
    const POSSESSOR_ALL: u32 = 0x3f00_0000; // KEY_POS_ALL
    const USER_VIEW: u32 = 0x0001_0000; // KEY_USR_VIEW
    const USER_READ: u32 = 0x0002_0000; // KEY_USR_READ
    let bits = POSSESSOR_ALL | USER_VIEW | USER_READ | USER_SEARCH;
    // SAFETY: only integers are passed.
    check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, serial, bits) }).map(drop)
}

/// personality(2).
///
/// # Errors
/// Those of personality(2).
pub fn set_personality(domain: c_ulong) -> io::Result<()> {
    // SAFETY: only an integer is passed.
    check_int(unsafe { libc::personality(domain) }).map(drop)
}

/// ioprio_set(2) of this process.
///
/// # Errors
/// `EPERM` for a class that the process may not have.
pub fn set_io_priority(class: u32, level: u32) -> io::Result<()> {
    const WHO_PROCESS: c_int = 1; // IOPRIO_WHO_PROCESS (linux/ioprio.h)
    const CLASS_SHIFT: u32 = 13;
    // SAFETY: only integers are passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ioprio_set,
            WHO_PROCESS,
            0,
            class << CLASS_SHIFT | level,
        )
    };
    check(result).map(drop)
}

/// `struct sched_attr` (sched_setattr(2)), version 0.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct SchedulerAttributes {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// sched_setattr(2) of this process.
///
/// # Errors
/// Those of sched_setattr(2).
pub fn set_scheduler(mut attributes: SchedulerAttributes) -> io::Result<()> {
    attributes.size = size_of::<SchedulerAttributes>() as u32;
    // SAFETY: the structure says its own size, and the kernel reads no more.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) }).map(drop)
}

/// Gives this process every CPU that its cpuset allows: a caller's affinity is not the container's (runc 1.3.1).
///
/// # Errors
/// Those of sched_setaffinity(2).
pub fn reset_cpu_affinity() -> io::Result<()> {
    // More bits than CPUs are allowed; the kernel keeps those that the cpuset has. 8192 is NR_CPUS at its largest.
    let every = [u8::MAX; 1024];
    // SAFETY: the length is that of the array.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, every.len(), every.as_ptr()) })
        .map(drop)
}

/// Ends the inheritance of signal handling: all signals back to their default and none blocked.
///
/// # Errors
/// Those of sigprocmask(2).
pub fn reset_signals() -> io::Result<()> {
    // `struct sigaction` of the kernel (rt_sigaction(2)): SIG_DFL, no flags, no restorer, an empty mask.
    let default = [0_u64; 4];
    for signal in 1..=64_i32 {
        // The system call, for the C library does not let go of 32 and 33, which a caller can have ignored as any other.
        // SIGKILL and SIGSTOP can't be changed: those calls fail and may.
        // SAFETY: SIG_DFL runs no code of ours, and the kernel reads one structure and a mask of eight bytes.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null_mut::<u64>(),
                8_usize,
            )
        };
    }
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initializes the whole set.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: the set was initialized above and a null old set is allowed.
    check_int(unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) })
        .map(drop)
}

/// prlimit(2) of another process, in the kernel's units.
///
/// # Errors
/// `EPERM` to raise a hard limit without CAP_SYS_RESOURCE.
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the new limit is a valid structure and a null old limit is allowed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            resource,
            &raw const limit,
            ptr::null_mut::<libc::rlimit64>(),
        )
    };
    check(result).map(drop)
}

/// Makes a terminal the controlling one of this session (TIOCSCTTY).
///
/// # Errors
/// `EPERM` when the process leads no session, or the terminal controls another.
pub fn set_controlling_terminal(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the argument is an integer.
    check_int(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// Opens the slave of a pty by its master, without a path (TIOCGPTPEER, Linux 4.13).
///
/// # Errors
/// Those of ioctl_tty(2).
pub fn open_pty_peer(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the argument is an integer.
    let fd = check_int(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Unlocks the slave of a pty (TIOCSPTLCK).
///
/// # Errors
/// `ENOTTY` when it is no pty master.
pub fn unlock_pty(master: BorrowedFd<'_>) -> io::Result<()> {
    let unlock: c_int = 0;
    // SAFETY: the kernel reads one int.
    check_int(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) })
        .map(drop)
}

/// Sets the size of a terminal in characters (TIOCSWINSZ).
///
/// # Errors
/// `ENOTTY` when it is no terminal.
pub fn set_window_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel reads one winsize.
    check_int(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) })
        .map(drop)
}

/// The size of a terminal in characters, rows first (TIOCGWINSZ).
///
/// # Errors
/// `ENOTTY` when it is no terminal.
pub fn window_size(terminal: BorrowedFd<'_>) -> io::Result<(u16, u16)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel writes one winsize.
    check_int(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok((size.ws_row, size.ws_col))
}

/// Brings the loopback device of the current network namespace up (netdevice(7), SIOCSIFFLAGS).
///
/// # Errors
/// Those of socket(2) and of the ioctl.
pub fn raise_loopback() -> io::Result<()> {
    // SAFETY: only integers are passed.
    let fd = check_int(unsafe {
        libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)
    })?;
    // SAFETY: the kernel just made this descriptor for us.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zeroes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the kernel reads one ifreq that names the device.
    check_int(unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        )
    })
    .map(drop)
}

/// setdomainname(2).
///
/// # Errors
/// `EINVAL` for a name that is too long.
pub fn set_domain_name(name: &str) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of one string.
    check_int(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// access(2) with the effective ids (faccessat2(2), Linux 5.8): whether `path` may be executed.
///
/// # Errors
/// `EACCES` when it may not.
pub fn may_execute(path: &CStr) -> io::Result<()> {
    // SAFETY: the path is a C string that lives until the call ends.
    let result = unsafe {
        libc::syscall(
            libc::SYS_faccessat2,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::X_OK,
            libc::AT_EACCESS,
        )
    };
    check(result).map(drop)
}

/// The working directory as the kernel names it: starts with `(unreachable)` when it is outside of the root.
///
/// # Errors
/// `ENOENT` when the directory was removed.
pub fn working_directory() -> io::Result<Vec<u8>> {
    let mut buffer = vec![0_u8; libc::PATH_MAX as usize];
    // The system call, since the C library hides an unreachable path behind ENOENT.
    // SAFETY: the length is that of the buffer.
    let length =
        check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })?
            as usize;
    buffer.truncate(length.saturating_sub(1)); // without the final null byte
    Ok(buffer)
}

/// Whether the file behind `path` is on a mount that is read-only (statvfs(3), ST_RDONLY).
///
/// # Errors
/// Those of statfs(2).
pub fn is_on_read_only_mount(path: &CStr) -> io::Result<bool> {
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path is a C string and the call writes one statvfs.
    check_int(unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) })?;
    // SAFETY: the call succeeded, so the structure is filled.
    let stat = unsafe { stat.assume_init() };
    Ok(stat.f_flag & libc::ST_RDONLY != 0)
}

/// Takes over a descriptor that the kernel has just given us as a number (SCM_RIGHTS, unix(7)).
#[must_use]
pub fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: called only with numbers that recvmsg(2) has just installed and nobody else has seen.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
