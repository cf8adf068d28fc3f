//! The private mount namespace that a test lives in.
//!
//! The test program runs each test in a thread of its own, and a mount namespace belongs to a thread: what the test
//! mounts, and what `tandem` mounts by mistake, is seen by this thread and its children only, and goes with them.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// Which version of cgroups is below /sys/fs/cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hierarchy {
    /// The host's own version 1 hierarchies; only where it has them.
    V1,
    V2,
}

const CGROUPS: &str = "/sys/fs/cgroup";

/// Dropped, it gives back what the thread saw before: with one thread for all tests the next one starts from there.
#[derive(Debug)]
pub struct World {
    pub hierarchy: Hierarchy,
}

impl World {
    pub fn enter(hierarchy: Hierarchy) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test needs root, see CONTRIBUTING.md"
        );
        // Whoever outlives `tandem` becomes our child, so that its end can be waited for.
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        if hierarchy == Hierarchy::V2 {
            let kind = Some("cgroup2");
            mount(kind, CGROUPS, kind, MsFlags::empty(), None::<&str>).unwrap();
        }
        Self { hierarchy }
    }

    /// The roots of the hierarchies, each once.
    pub fn cgroup_roots(&self) -> Vec<PathBuf> {
        match self.hierarchy {
            Hierarchy::V2 => vec![CGROUPS.into()],
            Hierarchy::V1 => fs::read_dir(CGROUPS)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.is_dir() && !path.is_symlink())
                .collect(),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.hierarchy == Hierarchy::V2 {
            umount2(CGROUPS, MntFlags::MNT_DETACH).unwrap();
        }
    }
}

impl Hierarchy {
    /// Whether this host can show it.
    pub fn is_here(self) -> bool {
        self == Self::V2 || !Path::new(CGROUPS).join("cgroup.controllers").exists()
    }

    /// Both versions where the host has both.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::V2, Self::V1]
            .into_iter()
            .filter(|hierarchy| hierarchy.is_here())
    }
}
