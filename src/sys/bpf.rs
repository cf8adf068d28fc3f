//! bpf(2): loading and attaching the device program of a cgroup.
//!
//! The attributes are laid out as `union bpf_attr` of linux/bpf.h; the kernel takes a shorter structure than its own as
//! one that ends in zeros. Loading charges RLIMIT_MEMLOCK before Linux 5.11 and the memory cgroup since: the programs
//! here are a few hundred bytes, which fits the default limit, so the limit is left alone.

use std::ffi::{CStr, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// One instruction, `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insn {
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four (on a big-endian host the other way).
    pub registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

const BPF_PROG_LOAD: c_int = 5;
const BPF_PROG_ATTACH: c_int = 8;
const BPF_PROG_DETACH: c_int = 9;
const BPF_PROG_GET_FD_BY_ID: c_int = 13;
const BPF_OBJ_GET_INFO_BY_FD: c_int = 15;
const BPF_PROG_QUERY: c_int = 16;

const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
const BPF_F_REPLACE: u32 = 1 << 2;

/// BPF_OBJ_NAME_LEN
const NAME_LENGTH: usize = 16;

/// The kernel lets at most this many programs be attached to one cgroup (BPF_CGROUP_MAX_PROGS).
const MAX_ATTACHED: usize = 64;

/// The name of a program, at most fifteen bytes and a NUL.
pub type Name = [u8; NAME_LENGTH];

/// Loads a program of the type `BPF_PROG_TYPE_CGROUP_DEVICE` (Linux 4.15).
///
/// # Errors
/// Those of bpf(2): EPERM without CAP_BPF (CAP_SYS_ADMIN before Linux 5.8), EINVAL if the verifier or the kernel's
/// configuration refuses the program.
pub fn load_device_program(program: &[Insn], name: Name) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        kind: u32,
        instruction_count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buffer: u64,
        kernel_version: u32,
        flags: u32,
        name: Name,
        interface: u32,
        expected_attach_type: u32,
    }
    const LICENSE: &CStr = c"Apache-2.0";

    let count = u32::try_from(program.len())
        .map_err(|_too_long| io::Error::from_raw_os_error(libc::E2BIG))?;
    let mut attributes = Attributes {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: count,
        instructions: program.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
        name,
        interface: 0,
        expected_attach_type: BPF_CGROUP_DEVICE,
    };
    // SAFETY: the attributes point to `program` and to a static string, both of which outlive the call, and
    // BPF_PROG_LOAD only reads them.
    let fd = unsafe { bpf(BPF_PROG_LOAD, &mut attributes) }?;
    // SAFETY: BPF_PROG_LOAD returned it just now, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What was given to `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
    replaced: u32,
}

/// Attaches `program` to `cgroup` beside those that are there: an access passes only if all of them allow it.
///
/// # Errors
/// Those of bpf(2).
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = AttachAttributes {
        target: number(cgroup),
        program: number(program),
        attach_type: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
        replaced: 0,
    };
    // SAFETY: the attributes hold integers only.
    unsafe { bpf(BPF_PROG_ATTACH, &mut attributes) }?;
    Ok(())
}

/// Puts `program` in the place of `old`, with no moment in which neither holds.
///
/// BPF_F_REPLACE is as old as Linux 5.6 (EINVAL before); then the new program is attached first and the old one
/// detached after it: for a moment both restrict, never none.
///
/// # Errors
/// Those of bpf(2).
pub fn replace_device_program(
    cgroup: BorrowedFd<'_>,
    old: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
) -> io::Result<()> {
    let mut attributes = AttachAttributes {
        target: number(cgroup),
        program: number(program),
        attach_type: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI | BPF_F_REPLACE,
        replaced: number(old),
    };
    // SAFETY: the attributes hold integers only.
    let replaced = unsafe { bpf(BPF_PROG_ATTACH, &mut attributes) };
    match replaced {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            attach_device_program(cgroup, program)?;
            detach_device_program(cgroup, old)
        }
        result => result.map(drop),
    }
}

/// Detaches `program` from `cgroup`.
///
/// # Errors
/// Those of bpf(2).
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = AttachAttributes {
        target: number(cgroup),
        program: number(program),
        attach_type: BPF_CGROUP_DEVICE,
        flags: 0,
        replaced: 0,
    };
    // SAFETY: the attributes hold integers only.
    unsafe { bpf(BPF_PROG_DETACH, &mut attributes) }?;
    Ok(())
}

/// The device programs that are attached to `cgroup` itself, with their names.
///
/// A program that a security module keeps from us is left out: it can only restrict further.
///
/// # Errors
/// Those of bpf(2).
pub fn attached_device_programs(cgroup: BorrowedFd<'_>) -> io::Result<Vec<(OwnedFd, Name)>> {
    #[repr(C)]
    struct Attributes {
        target: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        ids: u64,
        count: u32,
        padding: u32,
    }
    let mut ids = [0u32; MAX_ATTACHED];
    let mut attributes = Attributes {
        target: number(cgroup),
        attach_type: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: MAX_ATTACHED as u32,
        padding: 0,
    };
    // SAFETY: `ids` outlives the call and has room for the `count` numbers that the kernel may write.
    unsafe { bpf(BPF_PROG_QUERY, &mut attributes) }?;
    let found = (attributes.count as usize).min(MAX_ATTACHED);
    let mut programs = Vec::with_capacity(found);
    for id in &ids[..found] {
        match open_program(*id) {
            Ok(program) => {
                let name = program_name(&program)?;
                programs.push((program, name));
            }
            // EPERM, EACCES: see above. ENOENT: detached between the two calls.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EPERM | libc::EACCES | libc::ENOENT)
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(programs)
}

fn open_program(id: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        id: u32,
        next_id: u32,
        open_flags: u32,
    }
    let mut attributes = Attributes {
        id,
        next_id: 0,
        open_flags: 0,
    };
    // SAFETY: the attributes hold integers only.
    let fd = unsafe { bpf(BPF_PROG_GET_FD_BY_ID, &mut attributes) }?;
    // SAFETY: BPF_PROG_GET_FD_BY_ID returned it just now, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn program_name(program: &OwnedFd) -> io::Result<Name> {
    /// The head of `struct bpf_prog_info`, as far as the name.
    #[repr(C)]
    struct Info {
        kind: u32,
        id: u32,
        tag: [u8; 8],
        jited_length: u32,
        translated_length: u32,
        jited: u64,
        translated: u64,
        load_time: u64,
        created_by: u32,
        map_count: u32,
        map_ids: u64,
        name: Name,
    }
    #[repr(C)]
    struct Attributes {
        program: u32,
        info_length: u32,
        info: u64,
    }
    let mut info = Info {
        kind: 0,
        id: 0,
        tag: [0; 8],
        jited_length: 0,
        translated_length: 0,
        jited: 0,
        translated: 0,
        load_time: 0,
        created_by: 0,
        map_count: 0,
        map_ids: 0,
        name: [0; NAME_LENGTH],
    };
    let mut attributes = Attributes {
        program: program.as_raw_fd() as u32,
        info_length: size_of::<Info>() as u32,
        info: &raw mut info as u64,
    };
    // SAFETY: `info` outlives the call, the kernel writes at most `info_length` bytes to it, and its pointers are null
    // with lengths of zero, so that nothing else is written.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes) }?;
    Ok(info.name)
}

/// A descriptor as the attributes hold it. A valid one is never negative.
fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

/// bpf(2).
///
/// # Safety
/// `Attributes` must have the layout that `command` wants, without padding that was not initialised, and every pointer in
/// it must be valid for what the command does with it.
unsafe fn bpf<Attributes>(command: c_int, attributes: &mut Attributes) -> io::Result<RawFd> {
    // SAFETY: the structure is borrowed for the call and its size is passed; the rest is the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            &raw mut *attributes,
            size_of::<Attributes>(),
        )
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value as RawFd),
    }
}
