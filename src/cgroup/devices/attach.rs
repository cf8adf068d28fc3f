//! The device program of a cgroup of v2, in the kernel.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::{Rules, program};
use crate::cgroup::dir::Directory;
use crate::cgroup::error::CgroupError;
use crate::cgroup::rootless::is_rootless;
use crate::sys::bpf;

/// The name that our device programs carry, by which `bpftool prog` and we know them again.
const PROGRAM_NAME: bpf::Name = *b"tandem_devices\0\0";

/// Loads the program of `rules` and attaches it.
///
/// In a user namespace bpf(2) is not ours to use. Devices are not either: a node that is made there cannot be opened, so
/// that going on is what runc does. Everywhere else no rules means no container.
pub(in crate::cgroup) fn attach_rules(
    directory: &Directory,
    rules: &Rules,
    fresh: bool,
) -> Result<(), CgroupError> {
    let path = || directory.path().to_owned();
    let loaded = bpf::load_device_program(&program::compile(rules), PROGRAM_NAME);
    let attached = match loaded {
        Err(source) => Err(CgroupError::DeviceProgramLoad {
            path: path(),
            source,
        }),
        Ok(program) => attach_program(directory, &program, fresh).map_err(|source| {
            CgroupError::DeviceProgramAttach {
                path: path(),
                source,
            }
        }),
    };
    match attached {
        Err(error) if error.is_permission() && is_rootless() => {
            tracing::debug!("no device rules in a user namespace: {error}");
            Ok(())
        }
        result => result,
    }
}

fn attach_program(directory: &Directory, program: &OwnedFd, fresh: bool) -> io::Result<()> {
    let program = program.as_fd();
    if fresh {
        return bpf::attach_device_program(directory.fd(), program);
    }
    let attached = bpf::attached_device_programs(directory.fd())?;
    let ours = attached.iter().find(|(_, name)| *name == PROGRAM_NAME);
    match ours {
        Some((old, _)) => bpf::replace_device_program(directory.fd(), old.as_fd(), program),
        None => bpf::attach_device_program(directory.fd(), program),
    }
}
