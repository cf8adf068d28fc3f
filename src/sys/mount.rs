//! The mount API of Linux 5.2 and later: fsopen(2), open_tree(2), mount_setattr(2), move_mount(2), and openat2(2).
//!
//! One safe function a call. Descriptors are the only way to name something inside a container's root file
//! system; a call that takes a directory and a name says in its comment who may choose that name. Every
//! descriptor made here is close-on-exec.

use std::ffi::{CStr, CString, OsStr};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::NixPath;
use nix::errno::Errno;

/// The current directory, where a descriptor of a directory is asked for: what openat(2) calls `AT_FDCWD`.
// SAFETY: the kernel takes this number for the current directory; it is no descriptor that could be closed.
pub const CWD: BorrowedFd<'static> = unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) };

/// openat2(2): symbolic links are refused.
pub const RESOLVE_NO_SYMLINKS: u64 = libc::RESOLVE_NO_SYMLINKS;
/// openat2(2): links such as `/proc/self/fd/3`, which lead anywhere, are refused.
pub const RESOLVE_NO_MAGICLINKS: u64 = libc::RESOLVE_NO_MAGICLINKS;
/// openat2(2): no mount point is crossed.
pub const RESOLVE_NO_XDEV: u64 = libc::RESOLVE_NO_XDEV;
/// openat2(2): the path may not leave the directory.
pub const RESOLVE_BENEATH: u64 = libc::RESOLVE_BENEATH;
/// openat2(2): the directory is the root of absolute paths, absolute links and `..`.
pub const RESOLVE_IN_ROOT: u64 = libc::RESOLVE_IN_ROOT;

/// mount_setattr(2): read-only.
pub const ATTR_RDONLY: u64 = 0x1;
/// mount_setattr(2): set-user-id bits and file capabilities have no effect.
pub const ATTR_NOSUID: u64 = 0x2;
/// mount_setattr(2): device nodes cannot be opened.
pub const ATTR_NODEV: u64 = 0x4;
/// mount_setattr(2): nothing can be executed.
pub const ATTR_NOEXEC: u64 = 0x8;
/// mount_setattr(2): the bits of the access time setting, which is a value, not a set of flags.
pub const ATTR_ATIME: u64 = 0x70;
/// mount_setattr(2): access times are updated now and then (the default).
pub const ATTR_RELATIME: u64 = 0x0;
/// mount_setattr(2): access times are not updated.
pub const ATTR_NOATIME: u64 = 0x10;
/// mount_setattr(2): access times are always updated.
pub const ATTR_STRICTATIME: u64 = 0x20;
/// mount_setattr(2): access times of directories are not updated.
pub const ATTR_NODIRATIME: u64 = 0x80;
/// mount_setattr(2): the ids of files are mapped through a user namespace.
pub const ATTR_IDMAP: u64 = 0x10_0000;
/// mount_setattr(2): symbolic links are not followed (Linux 5.14).
pub const ATTR_NOSYMFOLLOW: u64 = 0x20_0000;

const OPEN_TREE_CLONE: u32 = 1;
const OPEN_TREE_CLOEXEC: u32 = libc::O_CLOEXEC as u32;
const AT_RECURSIVE: u32 = 0x8000;
const AT_EMPTY_PATH: u32 = libc::AT_EMPTY_PATH as u32;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
const MOVE_MOUNT_T_SYMLINKS: u32 = 0x10;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
const FSOPEN_CLOEXEC: u32 = 1;
const FSPICK_CLOEXEC: u32 = 1;
const FSPICK_EMPTY_PATH: u32 = 8;
const FSMOUNT_CLOEXEC: u32 = 1;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const FSCONFIG_CMD_RECONFIGURE: u32 = 7;

/// What mount_setattr(2) shall change of a mount; the layout is the kernel's `struct mount_attr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// `ATTR_*` bits to set.
    pub set: u64,
    /// `ATTR_*` bits to clear, before the others are set.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` or `MS_UNBINDABLE`, or 0 to leave the propagation alone.
    pub propagation: u64,
    /// The user namespace of [`ATTR_IDMAP`].
    pub userns_fd: u64,
}

impl MountAttr {
    /// Nothing but a change of propagation.
    pub fn propagation(kind: u64) -> MountAttr {
        MountAttr {
            propagation: kind,
            ..MountAttr::default()
        }
    }

    /// Nothing but flags that are set.
    pub fn setting(set: u64) -> MountAttr {
        MountAttr {
            set,
            ..MountAttr::default()
        }
    }

    /// Whether the kernel would have nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == MountAttr::default()
    }
}

/// How far a call on a mount reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// That mount alone.
    One,
    /// That mount and all that is mounted below.
    Tree,
}

impl Reach {
    fn flag(self) -> u32 {
        match self {
            Reach::One => 0,
            Reach::Tree => AT_RECURSIVE,
        }
    }
}

fn checked(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 {
        return Err(Errno::last());
    }
    Ok(result)
}

fn descriptor(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let raw = checked(result)? as RawFd;
    // SAFETY: the kernel has just made this descriptor, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn c_string(text: &OsStr) -> Result<CString, Errno> {
    CString::new(text.as_bytes()).or(Err(Errno::EINVAL))
}

/// openat2(2), Linux 5.6: opens `path` below `dir` with every restriction of `resolve`.
///
/// With `RESOLVE_IN_ROOT` or `RESOLVE_BENEATH` the kernel answers EAGAIN when something is renamed or mounted
/// elsewhere at the same moment and `..` is in play; that is retried a bounded number of times.
pub fn openat2(
    dir: BorrowedFd,
    path: &Path,
    flags: i32,
    mode: u32,
    resolve: u64,
) -> Result<OwnedFd, Errno> {
    const ATTEMPTS: usize = 128;
    // SAFETY: an all-zero open_how is valid, it asks for nothing.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.mode = u64::from(mode);
    how.resolve = resolve;
    let mut last = Errno::EAGAIN;
    for _ in 0..ATTEMPTS {
        let result = path.with_nix_path(|path: &CStr| {
            // SAFETY: the path ends in NUL and `how` is of the size given; both outlive the call, which keeps neither.
            unsafe {
                libc::syscall(
                    libc::SYS_openat2,
                    dir.as_raw_fd(),
                    path.as_ptr(),
                    &raw const how,
                    size_of::<libc::open_how>(),
                )
            }
        })?;
        match descriptor(result) {
            Err(again @ (Errno::EAGAIN | Errno::EINTR)) => last = again,
            done => return done,
        }
    }
    Err(last)
}

fn open_tree_call(dir: BorrowedFd, path: &Path, flags: u32) -> Result<OwnedFd, Errno> {
    let result = path.with_nix_path(|path: &CStr| {
        // SAFETY: the path ends in NUL and outlives the call.
        unsafe {
            libc::syscall(
                libc::SYS_open_tree,
                dir.as_raw_fd(),
                path.as_ptr(),
                flags | OPEN_TREE_CLOEXEC,
            )
        }
    })?;
    descriptor(result)
}

/// open_tree(2), Linux 5.2: a detached copy of the mount (or part of one) at `path`, which is resolved as the
/// host resolves it, so only for paths that the caller trusts or that lie in a trusted directory.
pub fn clone_tree(dir: BorrowedFd, path: &Path, reach: Reach) -> Result<OwnedFd, Errno> {
    open_tree_call(dir, path, OPEN_TREE_CLONE | reach.flag())
}

/// [`clone_tree`] of what a descriptor is open on.
pub fn clone_tree_of(fd: BorrowedFd, reach: Reach) -> Result<OwnedFd, Errno> {
    open_tree_call(
        fd,
        Path::new(""),
        OPEN_TREE_CLONE | AT_EMPTY_PATH | reach.flag(),
    )
}

fn move_mount_call(
    mount: BorrowedFd,
    dir: BorrowedFd,
    path: &Path,
    flags: u32,
) -> Result<(), Errno> {
    let result = path.with_nix_path(|path: &CStr| {
        // SAFETY: both paths end in NUL and outlive the call.
        unsafe {
            libc::syscall(
                libc::SYS_move_mount,
                mount.as_raw_fd(),
                c"".as_ptr(),
                dir.as_raw_fd(),
                path.as_ptr(),
                flags | MOVE_MOUNT_F_EMPTY_PATH,
            )
        }
    })?;
    checked(result).map(drop)
}

/// move_mount(2), Linux 5.2: attaches a detached mount on what `target` is open on.
pub fn attach(mount: BorrowedFd, target: BorrowedFd) -> Result<(), Errno> {
    move_mount_call(mount, target, Path::new(""), MOVE_MOUNT_T_EMPTY_PATH)
}

/// move_mount(2) onto `name` below `dir`; a link in the last place is not followed. For directories that no one
/// else can write to, or that the kernel makes.
pub fn attach_at(mount: BorrowedFd, dir: BorrowedFd, name: &Path) -> Result<(), Errno> {
    move_mount_call(mount, dir, name, 0)
}

/// move_mount(2) onto a path of the host.
pub fn attach_on_host(mount: BorrowedFd, path: &Path) -> Result<(), Errno> {
    move_mount_call(mount, CWD, path, MOVE_MOUNT_T_SYMLINKS)
}

fn mount_setattr_call(
    dir: BorrowedFd,
    path: &CStr,
    flags: u32,
    attr: &MountAttr,
) -> Result<(), Errno> {
    // SAFETY: the path ends in NUL, `attr` has the kernel's layout and the size given; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const *attr,
            size_of::<MountAttr>(),
        )
    };
    checked(result).map(drop)
}

/// mount_setattr(2), Linux 5.12, of the mount whose root `mount` is open on.
pub fn set_attributes(mount: BorrowedFd, reach: Reach, attr: &MountAttr) -> Result<(), Errno> {
    mount_setattr_call(mount, c"", AT_EMPTY_PATH | reach.flag(), attr)
}

/// mount_setattr(2) of the mount at a path of the caller's own root, which must be trusted.
pub fn set_attributes_at(path: &Path, reach: Reach, attr: &MountAttr) -> Result<(), Errno> {
    path.with_nix_path(|path| mount_setattr_call(CWD, path, reach.flag(), attr))?
}

/// A file system in the making: fsopen(2) or fspick(2), Linux 5.2.
#[derive(Debug)]
pub struct FsContext(OwnedFd);

impl FsContext {
    /// A new instance of a file system type.
    pub fn open(fstype: &str) -> Result<FsContext, Errno> {
        let fstype = c_string(OsStr::new(fstype))?;
        // SAFETY: the name ends in NUL and outlives the call.
        let result = unsafe { libc::syscall(libc::SYS_fsopen, fstype.as_ptr(), FSOPEN_CLOEXEC) };
        descriptor(result).map(FsContext)
    }

    /// The file system that `mount` is of, to be reconfigured.
    pub fn pick(mount: BorrowedFd) -> Result<FsContext, Errno> {
        // SAFETY: the empty path is a constant that ends in NUL.
        let result = unsafe {
            libc::syscall(
                libc::SYS_fspick,
                mount.as_raw_fd(),
                c"".as_ptr(),
                FSPICK_CLOEXEC | FSPICK_EMPTY_PATH,
            )
        };
        descriptor(result).map(FsContext)
    }

    fn config(&self, command: u32, key: Option<&CStr>, value: Option<&CStr>) -> Result<(), Errno> {
        let or_null = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: key and value are NULL or end in NUL, and outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.0.as_raw_fd(),
                command,
                or_null(key),
                or_null(value),
                0,
            )
        };
        checked(result).map(drop)
    }

    /// A parameter without a value.
    pub fn set_flag(&self, key: &str) -> Result<(), Errno> {
        let key = c_string(OsStr::new(key))?;
        self.config(FSCONFIG_SET_FLAG, Some(&key), None)
    }

    /// A parameter with a value.
    pub fn set_string(&self, key: &str, value: &OsStr) -> Result<(), Errno> {
        let key = c_string(OsStr::new(key))?;
        let value = c_string(value)?;
        self.config(FSCONFIG_SET_STRING, Some(&key), Some(&value))
    }

    /// Makes (or finds) the file system with the parameters set so far.
    pub fn create(&self) -> Result<(), Errno> {
        self.config(FSCONFIG_CMD_CREATE, None, None)
    }

    /// Applies the parameters set so far to a picked file system.
    pub fn reconfigure(&self) -> Result<(), Errno> {
        self.config(FSCONFIG_CMD_RECONFIGURE, None, None)
    }

    /// fsmount(2): a detached mount of the created file system with `ATTR_*` bits.
    pub fn mount(&self, attributes: u64) -> Result<OwnedFd, Errno> {
        // SAFETY: only integers are passed.
        let result = unsafe {
            libc::syscall(
                libc::SYS_fsmount,
                self.0.as_raw_fd(),
                FSMOUNT_CLOEXEC,
                attributes as libc::c_uint,
            )
        };
        descriptor(result)
    }

    /// What the kernel has to say about the last failure, for an error message; often nothing.
    pub fn complaint(self) -> Option<String> {
        let mut log = std::fs::File::from(self.0);
        let mut texts = Vec::new();
        let mut line = [0_u8; 1024];
        // Each read gives one message, "e tmpfs: Bad value for 'size'"; ENODATA says that there are no more.
        while let Ok(count @ 1..) = log.read(&mut line) {
            let text = String::from_utf8_lossy(&line[..count]);
            let text = text.trim_end();
            texts.push(text.strip_prefix("e ").unwrap_or(text).to_owned());
        }
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

/// fchmodat2(2), Linux 6.6: the mode of what `fd`, which may be `O_PATH`, is open on.
pub fn set_mode(fd: BorrowedFd, mode: u32) -> Result<(), Errno> {
    // SAFETY: the empty path is a constant that ends in NUL.
    let result = unsafe {
        libc::syscall(
            libc::SYS_fchmodat2,
            fd.as_raw_fd(),
            c"".as_ptr(),
            mode,
            libc::AT_EMPTY_PATH,
        )
    };
    checked(result).map(drop)
}

/// TIOCGPTPEER, ioctl_tty(2): the other end of a pseudo terminal, opened without a path that could be swapped.
pub fn pty_peer(master: BorrowedFd) -> Result<OwnedFd, Errno> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: this request takes an integer.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    descriptor(result.into())
}

/// TIOCSPTLCK, unlockpt(3): lets the other end of a pseudo terminal be opened.
pub fn unlock_pty(master: BorrowedFd) -> Result<(), Errno> {
    let locked: libc::c_int = 0;
    // SAFETY: this request reads one int, which outlives the call.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const locked) };
    checked(result.into()).map(drop)
}

/// The names of a file's extended attributes.
pub fn list_xattrs(file: BorrowedFd) -> Result<Vec<CString>, Errno> {
    let names = grown(|buffer, size| {
        // SAFETY: the kernel writes at most `size` bytes to the buffer, which is that long (or none for size 0).
        unsafe { libc::flistxattr(file.as_raw_fd(), buffer.cast(), size) }
    })?;
    let names = names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty());
    names
        .map(|name| c_string(OsStr::from_bytes(name)))
        .collect()
}

/// The value of an extended attribute.
pub fn get_xattr(file: BorrowedFd, name: &CStr) -> Result<Vec<u8>, Errno> {
    grown(|buffer, size| {
        // SAFETY: as for flistxattr; the name ends in NUL.
        unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), buffer.cast(), size) }
    })
}

/// Sets an extended attribute.
pub fn set_xattr(file: BorrowedFd, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    // SAFETY: the name ends in NUL, the value is as long as said; both outlive the call.
    let result = unsafe {
        libc::fsetxattr(
            file.as_raw_fd(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    checked(result.into()).map(drop)
}

/// Asks for the size, then for the data, again if it grew in between.
fn grown(call: impl Fn(*mut u8, usize) -> isize) -> Result<Vec<u8>, Errno> {
    loop {
        let size = checked(call(std::ptr::null_mut(), 0) as libc::c_long)? as usize;
        if size == 0 {
            return Ok(Vec::new());
        }
        let mut data = vec![0_u8; size];
        match checked(call(data.as_mut_ptr(), data.len()) as libc::c_long) {
            Ok(count) => {
                data.truncate(count as usize);
                return Ok(data);
            }
            Err(Errno::ERANGE) => {}
            Err(other) => return Err(other),
        }
    }
}

/// A user namespace with the given maps (the text of `/proc/PID/uid_map` and `gid_map`), as mount_setattr(2) wants it
/// for [`ATTR_IDMAP`]. A child that lives until the maps are written holds it. Only for a single-threaded process.
pub fn user_namespace(uid_map: &str, gid_map: &str) -> io::Result<OwnedFd> {
    let (held, release) = io::pipe()?;
    // No exit signal: a handler or signalfd for SIGCHLD is none of this child's business.
    let flags = libc::CLONE_NEWUSER;
    // SAFETY: without CLONE_VM and with no stack of its own the child is a fork of a single-threaded process; it
    // only reads and exits.
    let pid = checked(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })? as libc::pid_t;
    if pid == 0 {
        drop(release);
        let mut byte = [0_u8];
        // End of file or an error: either way the parent is through.
        let outcome = (&held).read(&mut byte);
        // SAFETY: ends this process at once, without the destructors that belong to its parent.
        unsafe { libc::_exit(i32::from(outcome.is_err())) }
    }
    let namespace = write_maps(pid, uid_map, gid_map);
    drop(release);
    let mut status = 0;
    // SAFETY: the pid is that of our own child, and `status` outlives the call.
    checked(unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) }.into())?;
    namespace
}

fn write_maps(pid: libc::pid_t, uid_map: &str, gid_map: &str) -> io::Result<OwnedFd> {
    let write = |name: &str, text: &str| {
        let path = format!("/proc/{pid}/{name}");
        let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
        file.write_all(text.as_bytes())
    };
    write("uid_map", uid_map)?;
    write("gid_map", gid_map)?;
    Ok(std::fs::File::open(format!("/proc/{pid}/ns/user"))?.into())
}

/// fork(2) for tests, which run on several threads: the child is a process of its own with one thread.
#[cfg(test)]
pub fn forked(child: impl FnOnce() -> i32) -> Result<nix::unistd::Pid, Errno> {
    // SAFETY: the C library's fork leaves its own locks usable in the child, and the child takes no others: it neither
    // prints nor returns to the test harness.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(child),
        nix::unistd::ForkResult::Child => {
            let code = child();
            // SAFETY: ends this process at once, without the destructors that belong to its parent.
            unsafe { libc::_exit(code) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn mount_attr_has_the_size_of_the_kernels_first_version() {
        assert_eq!(size_of::<MountAttr>(), 32);
    }

    #[test]
    fn openat2_in_root_does_not_follow_an_absolute_link_out() {
        let dir = std::env::temp_dir();
        let dir = std::fs::File::open(dir).unwrap();
        let found = openat2(
            dir.as_fd(),
            Path::new("/proc/self/status"),
            libc::O_PATH,
            0,
            RESOLVE_IN_ROOT,
        );
        assert_eq!(found.unwrap_err(), Errno::ENOENT);
    }

    #[test]
    fn a_path_with_a_nul_is_refused() {
        let found = openat2(CWD, Path::new("a\0b"), libc::O_PATH, 0, 0);
        assert_eq!(found.unwrap_err(), Errno::EINVAL);
    }
}
