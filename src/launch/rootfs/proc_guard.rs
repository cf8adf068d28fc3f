//! Which mounts may lie on or below /proc. Writes to `/proc/self/attr` and `/proc/sys` protect the container; a mount
//! over them would catch the write (CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2025-52881).

#![forbid(unsafe_code)]

use std::path::Path;

use crate::launch::rootfs::error::MountError;

/// Files that lxcfs and the like show in place of the kernel's.
const EMULATED: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// What is about to be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A new proc file system.
    FreshProc,
    /// A bind mount whose source lies on a proc file system.
    BoundProc,
    Other,
}

/// Checks a mount point, given as resolved from the container's root without any link left. `kind` is asked only
/// for a mount on /proc itself.
pub fn check(
    path: &Path,
    kind: impl FnOnce() -> Result<Kind, MountError>,
) -> Result<(), MountError> {
    if !path.starts_with("/proc") || EMULATED.iter().any(|allowed| path == Path::new(allowed)) {
        return Ok(());
    }
    if path != Path::new("/proc") {
        return Err(MountError::InsideProc { path: path.into() });
    }
    match kind()? {
        Kind::FreshProc | Kind::BoundProc => Ok(()),
        Kind::Other => Err(MountError::NotProc { path: path.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(path: &str, kind: Kind) -> bool {
        check(Path::new(path), || Ok(kind)).is_ok()
    }

    #[test]
    fn only_a_proc_goes_on_proc() {
        assert!(allowed("/proc", Kind::FreshProc));
        assert!(allowed("/proc", Kind::BoundProc));
        assert!(!allowed("/proc", Kind::Other));
    }

    #[test]
    fn below_proc_only_emulated_files_may_be_mounted() {
        assert!(allowed("/proc/uptime", Kind::Other));
        assert!(!allowed("/proc/self/attr", Kind::Other));
        assert!(!allowed("/proc/sys", Kind::FreshProc));
        assert!(!allowed("/proc/uptime/x", Kind::Other));
    }

    #[test]
    fn names_that_only_begin_like_proc_are_free() {
        assert!(allowed("/proc2", Kind::Other));
        assert!(allowed("/procfs/x", Kind::Other));
    }
}
