//! seccomp(2): install a program, ask the kernel what it knows. glibc has no wrapper for it.

use std::ffi::{c_uint, c_ulong, c_void};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// One classic BPF instruction, laid out as `struct sock_filter` of linux/filter.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    /// Instructions to skip if a comparison holds.
    pub jt: u8,
    /// Instructions to skip if it does not.
    pub jf: u8,
    pub k: u32,
}

/// The most instructions that the kernel takes in one program, `BPF_MAXINSNS` of linux/bpf_common.h.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Restricts the calling thread for good. The descriptor is the listener that
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER` asks for; the kernel sets close-on-exec on it.
///
/// `SECCOMP_FILTER_FLAG_TSYNC` must not be among the flags: with it a positive result is a thread id.
pub fn set_mode_filter(flags: c_ulong, program: &[Instruction]) -> io::Result<Option<OwnedFd>> {
    let len = u16::try_from(program.len())
        .map_err(|too_long| io::Error::new(io::ErrorKind::InvalidInput, too_long))?;
    let prog = libc::sock_fprog {
        len,
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    let arg = (&raw const prog).cast::<c_void>();
    // SAFETY: `prog` holds the address and the length of `program`, whose elements are laid out as
    // sock_filter; the kernel copies both before it returns and writes to neither.
    let result = unsafe { seccomp(libc::SECCOMP_SET_MODE_FILTER, flags, arg) }?;
    if flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with this flag the result is a descriptor that the kernel just made for us alone.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(result) }))
}

/// Whether the kernel knows these filter flags. It looks at the flags first, so that a null program
/// ends in EFAULT where they are fine and in EINVAL where they are not; nothing is installed either way.
pub fn knows_flags(flags: c_ulong) -> bool {
    // SAFETY: a null program is refused by the kernel, not followed.
    let probed = unsafe { seccomp(libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::null()) };
    matches!(probed, Err(error) if error.raw_os_error() == Some(libc::EFAULT))
}

/// Whether the kernel knows this return action. `SECCOMP_GET_ACTION_AVAIL`: Linux 4.14.
pub fn knows_action(action: u32) -> bool {
    let arg = (&raw const action).cast::<c_void>();
    // SAFETY: the kernel reads one u32 at this address, which lives until the call returns.
    unsafe { seccomp(libc::SECCOMP_GET_ACTION_AVAIL, 0, arg) }.is_ok()
}

/// # Safety
/// `arg` must point at what `operation` reads, or be null.
unsafe fn seccomp(operation: c_uint, flags: c_ulong, arg: *const c_void) -> io::Result<i32> {
    // SAFETY: the caller vouches for `arg`; the other two are integers.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, arg) };
    match i32::try_from(result) {
        Ok(value) if value >= 0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

/// For tests: makes a system call that needs no argument to be refused.
#[cfg(test)]
pub fn call(number: libc::c_long) -> Result<libc::c_long, Option<i32>> {
    // SAFETY: all arguments are null or zero, which no call that the tests make can write to.
    match unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error().raw_os_error()),
        result => Ok(result),
    }
}
