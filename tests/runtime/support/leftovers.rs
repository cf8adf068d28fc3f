//! What a container could leave behind: processes, cgroups, mounts, state.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::wait::until;
use super::world::World;

/// The thread's mounts as they were, and by what to know the rest.
#[derive(Debug)]
pub struct Leftovers {
    mounts: Vec<String>,
    cgroup_prefix: String,
    cgroup_roots: Vec<PathBuf>,
    state_root: PathBuf,
}

impl Leftovers {
    pub fn watch(world: &World, cgroup_prefix: &str, state_root: &Path) -> Self {
        Self {
            mounts: mounts(),
            cgroup_prefix: cgroup_prefix.into(),
            cgroup_roots: world.cgroup_roots(),
            state_root: state_root.into(),
        }
    }

    pub fn accept_mounts(&mut self) {
        self.mounts = mounts();
    }

    /// Everything that is there now and was not before, as text to show.
    pub fn found(&self) -> Vec<String> {
        let mut found = self.states();
        found.extend(self.cgroups());
        found.extend(
            mounts()
                .into_iter()
                .filter(|mount| !self.mounts.contains(mount)),
        );
        found.extend(self.processes().into_iter().map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            format!("process {pid} {name:?}")
        }));
        found
    }

    fn states(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.state_root).into_iter().flatten();
        entries
            .map(|entry| entry.unwrap().path().display().to_string())
            .collect()
    }

    pub fn cgroups(&self) -> Vec<String> {
        let entries = self
            .cgroup_roots
            .iter()
            .flat_map(|root| fs::read_dir(root).unwrap());
        let paths = entries.map(|entry| entry.unwrap().path().display().to_string());
        let ours = format!("/{}", self.cgroup_prefix);
        paths.filter(|path| path.contains(&ours)).collect()
    }

    /// Ends by force what a failed test has left, so that it does no harm to others.
    pub fn end(&self) {
        until("the failed test's processes have ended", || {
            let all = self.members();
            for pid in all.iter().map(|pid| Pid::from_raw(*pid)) {
                // It may have ended meanwhile, or be another's to reap.
                kill(pid, Signal::SIGKILL).unwrap_or(());
                waitpid(pid, Some(WaitPidFlag::WNOHANG))
                    .map(drop)
                    .unwrap_or(());
            }
            all.is_empty().then_some(())
        });
        for cgroup in self.cgroups() {
            fs::remove_dir(cgroup).unwrap_or(());
        }
    }

    /// Who lives in a cgroup of the test, or in its mount namespace: `tandem` itself, its hooks, its children that have
    /// not come far. Zombies are left out: they are the test's own to reap.
    pub fn processes(&self) -> Vec<i32> {
        let alive = |pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.is_ok_and(|text| !text.contains(") Z "))
        };
        self.members().into_iter().filter(alive).collect()
    }

    fn members(&self) -> Vec<i32> {
        let namespace = fs::read_link("/proc/thread-self/ns/mnt").unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let name = entry.unwrap().file_name();
            name.to_str()?.parse::<i32>().ok()
        });
        pids.filter(|pid| *pid != own)
            .filter(|pid| {
                let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
                let here =
                    fs::read_link(format!("/proc/{pid}/ns/mnt")).is_ok_and(|ns| ns == namespace);
                let grouped = read("cgroup").is_ok_and(|text| text.contains(&self.cgroup_prefix));
                here || grouped
            })
            .collect()
    }
}

/// The mounts of the calling thread: /proc/self is the main thread, which lives elsewhere.
fn mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    text.lines().map(str::to_owned).collect()
}
