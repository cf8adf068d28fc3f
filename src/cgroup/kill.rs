//! Signals to every process of a container.

use super::dir::Directory;
use super::error::CgroupError;
use super::handle::{Cgroup, Mode};
use crate::sys::cgroupfs::send_signal;

impl Cgroup {
    /// Sends `signal` to every process of the container.
    ///
    /// SIGKILL goes by cgroup.kill where there is one (v2, Linux 5.14), which no fork escapes; elsewhere the container is
    /// frozen meanwhile. That a process, or all of it, is gone already is fine.
    ///
    /// # Errors
    /// The first process that could not be signalled; the others were tried.
    pub fn kill(&self, signal: i32) -> Result<(), CgroupError> {
        if signal == libc::SIGKILL {
            return self.kill_all();
        }
        signal_each(&self.pids()?, signal)
    }

    fn kill_all(&self) -> Result<(), CgroupError> {
        if self.record.mode == Mode::V2 && self.kill_at_once()? {
            return Ok(());
        }
        // A failure to freeze only means that a fork may escape this round, and `remove` has more of them.
        let frozen = self.freeze().is_ok();
        let killed = self
            .pids()
            .and_then(|pids| signal_each(&pids, libc::SIGKILL));
        if frozen {
            // SIGKILL takes effect in a frozen v2 cgroup, but only after the thaw in one of v1.
            self.thaw()?;
        }
        killed
    }

    /// False where the kernel has no cgroup.kill.
    fn kill_at_once(&self) -> Result<bool, CgroupError> {
        let Some(member) = self.main_member() else {
            return Ok(true);
        };
        let killed =
            Directory::open(&member.path).and_then(|directory| directory.write("cgroup.kill", "1"));
        match killed {
            Ok(()) => Ok(true),
            // No such file or no such cgroup: in the latter case nobody is found by the other way either. EOPNOTSUPP: the
            // cgroup is threaded.
            Err(error)
                if matches!(
                    error.errno(),
                    Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP)
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

pub(super) fn signal_each(pids: &[i32], signal: i32) -> Result<(), CgroupError> {
    let mut failed = None;
    for &pid in pids {
        match send_signal(pid, signal) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(source) => {
                failed.get_or_insert(CgroupError::Signal {
                    pid,
                    signal,
                    source,
                });
            }
        }
    }
    failed.map_or(Ok(()), Err)
}
