//! Mounts of type cgroup: the one hierarchy of version 2, or the set of version 1 in a tmpfs.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::symlinkat;
use oci_spec::runtime::{LinuxNamespaceType, Mount};

use crate::launch::rootfs::error::{MountError, Refusal};
use crate::launch::rootfs::mounts::{Fresh, Made, Mounter, make, set_bind_attributes};
use crate::launch::rootfs::options::MountOptions;
use crate::launch::rootfs::pivot::unescape;
use crate::launch::rootfs::{CgroupView, has_namespace};
use crate::sys::mount::{
    ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, CWD, MountAttr, Reach, attach_at,
    clone_tree, set_attributes,
};

const UNIFIED: &str = "/sys/fs/cgroup";

impl Mounter<'_> {
    /// Version 2. A cgroup namespace of the container's own shows its part only; without one, the whole tree is shown,
    /// as the host sees it.
    pub fn mount_cgroup2(
        &mut self,
        mount: &Mount,
        options: &MountOptions,
    ) -> Result<(), MountError> {
        let fresh = Fresh {
            fstype: "cgroup2",
            source: mount.source().as_deref().map(Path::as_os_str),
            options,
            label: None,
            data: &[],
        };
        let tree = match make(&fresh, options.fresh_attributes()) {
            // Not the user namespace that owns the cgroup namespace, or an instance that is in use otherwise.
            Err(error) if matches!(error.no_filesystem(), Some(Errno::EPERM | Errno::EBUSY)) => {
                self.bound_cgroup2(mount.destination(), options)?
            }
            made => made?,
        };
        self.bind(tree, mount.destination(), &options.propagation)
    }

    fn bound_cgroup2(&self, path: &Path, options: &MountOptions) -> Result<OwnedFd, MountError> {
        let own_view = has_namespace(self.plan.spec, LinuxNamespaceType::Cgroup);
        let own = match (&self.plan.cgroup, own_view) {
            (CgroupView::Unified { path: Some(own) }, true) => Some(*own),
            _ => None,
        };
        let source = own.unwrap_or(Path::new(UNIFIED));
        let tree = match clone_tree(CWD, source, Reach::Tree) {
            // The cgroup has a name only on the host, which this process cannot see. Rather nothing than all of the
            // host's cgroups, writable through a bind of /sys (CVE-2023-25809).
            Err(Errno::ENOENT) if own.is_some() => return self.empty_view(path),
            tree => tree.map_err(|errno| MountError::BindSource {
                path: source.into(),
                source: Refusal(errno),
            })?,
        };
        set_bind_attributes(tree.as_fd(), options)?;
        if own.is_none() {
            // These are the cgroups of the host's user, too: to be seen, not to be written (CVE-2023-25809).
            set_attributes(tree.as_fd(), Reach::Tree, &MountAttr::setting(ATTR_RDONLY))
                .map_err(|errno| MountError::Attributes(Refusal(errno)))?;
        }
        Ok(tree)
    }

    fn empty_view(&self, path: &Path) -> Result<OwnedFd, MountError> {
        let options = MountOptions::none();
        let (one, few) = (OsStr::new("1"), OsStr::new("1"));
        let fresh = Fresh {
            fstype: "tmpfs",
            source: Some(OsStr::new("tmpfs")),
            options: &options,
            label: self.label(),
            data: &[("nr_blocks", Some(one)), ("nr_inodes", Some(few))],
        };
        let flags = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;
        make(&fresh, flags).map_err(|cause| match cause {
            MountError::Create { source, .. } => MountError::MaskCgroup {
                path: path.into(),
                source,
            },
            other => other,
        })
    }

    /// Version 1: a tmpfs with one directory a hierarchy, named as on the host, and links for controllers that
    /// share one.
    pub fn mount_cgroup1(
        &mut self,
        mount: &Mount,
        options: &MountOptions,
    ) -> Result<(), MountError> {
        let own_view = has_namespace(self.plan.spec, LinuxNamespaceType::Cgroup);
        let hierarchies = Hierarchy::all().map_err(MountError::Hierarchies)?;
        let none = MountOptions::none();
        let fresh = Fresh {
            fstype: "tmpfs",
            source: Some(OsStr::new("tmpfs")),
            options: &none,
            label: self.label(),
            data: &[("mode", Some(OsStr::new("755")))],
        };
        let top = make(&fresh, ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC)?;
        // Filled while it is detached, so the container's root has no part in any of the names.
        let top_path = mount.destination();
        let target = self.place_for(top_path)?;
        crate::sys::mount::attach(top.as_fd(), target.fd.as_fd())
            .map_err(|errno| MountError::Attach(Refusal(errno)))?;
        for hierarchy in &hierarchies {
            let tree = match own_view {
                true => hierarchy.namespaced(options),
                false => hierarchy.bound(options),
            };
            let in_hierarchy = |cause| MountError::Hierarchy {
                name: hierarchy.name.clone(),
                cause: Box::new(cause),
            };
            let tree = tree.map_err(in_hierarchy)?;
            let name = Path::new(&hierarchy.name);
            mkdirat(Some(top.as_raw_fd()), name, Mode::from_bits_truncate(0o755))
                .and_then(|()| attach_at(tree.as_fd(), top.as_fd(), name))
                .map_err(|errno| in_hierarchy(MountError::Attach(Refusal(errno))))?;
            self.propagate(tree.as_fd(), options)?;
            for controller in hierarchy
                .name
                .split(',')
                .filter(|one| *one != hierarchy.name)
            {
                match symlinkat(name, Some(top.as_raw_fd()), controller) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => {
                        return Err(MountError::ControllerLink {
                            name: controller.to_owned(),
                            source: Refusal(errno),
                        });
                    }
                }
            }
        }
        self.propagate(top.as_fd(), options)?;
        if options.is_read_only() {
            set_attributes(top.as_fd(), Reach::One, &MountAttr::setting(ATTR_RDONLY))
                .map_err(|errno| MountError::Attributes(Refusal(errno)))?;
        }
        self.made.push(Made {
            path: target.path,
            fstype: "tmpfs".to_owned(),
            root: Some(Rc::new(top)),
            empty: false,
            read_only_later: false,
        });
        Ok(())
    }
}

/// A mounted version 1 hierarchy of the host.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    /// The last name of its mount point: `cpu,cpuacct`, `systemd`.
    name: String,
    /// What mount(2) takes for it: `cpu`, `cpuacct` or `name=systemd`.
    controllers: Vec<String>,
    /// The directory of this process's own cgroup.
    own: PathBuf,
}

impl Hierarchy {
    fn all() -> Result<Vec<Hierarchy>, std::io::Error> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let cgroups = fs::read_to_string("/proc/self/cgroup")?;
        Ok(Hierarchy::parse(&mounts, &cgroups))
    }

    /// From the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`; each hierarchy once, where it is mounted first.
    fn parse(mounts: &str, cgroups: &str) -> Vec<Hierarchy> {
        let mut found: Vec<Hierarchy> = Vec::new();
        for line in mounts.lines() {
            let Some((root, mountpoint, options)) = cgroup_mount(line) else {
                continue;
            };
            let of_mount = |list: &str| {
                let mut list = list.split(',');
                list.all(|one| options.split(',').any(|option| option == one))
            };
            let own = cgroups.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let (list, path) = (fields.next()?, fields.next()?);
                (!list.is_empty() && of_mount(list)).then_some((list, path))
            });
            let Some((list, path)) = own else { continue };
            let Some(name) = mountpoint.file_name().and_then(OsStr::to_str) else {
                continue;
            };
            let controllers: Vec<_> = list.split(',').map(str::to_owned).collect();
            if found.iter().any(|other| other.controllers == controllers) {
                continue;
            }
            let below = Path::new(path).strip_prefix(&root).unwrap_or(Path::new(""));
            found.push(Hierarchy {
                name: name.to_owned(),
                controllers,
                own: mountpoint.join(below),
            });
        }
        found
    }

    fn namespaced(&self, options: &MountOptions) -> Result<OwnedFd, MountError> {
        let data = self
            .controllers
            .iter()
            .map(|one| match one.split_once('=') {
                Some((key, value)) => (key, Some(OsStr::new(value))),
                None => (one.as_str(), None),
            });
        let data: Vec<_> = data.collect();
        let none = MountOptions::none();
        let fresh = Fresh {
            fstype: "cgroup",
            source: Some(OsStr::new("cgroup")),
            options: &none,
            label: None,
            data: &data,
        };
        let read_only = options.fresh_attributes() & ATTR_RDONLY;
        make(&fresh, ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC | read_only)
    }

    fn bound(&self, options: &MountOptions) -> Result<OwnedFd, MountError> {
        let tree = clone_tree(CWD, &self.own, Reach::Tree);
        let tree = tree.map_err(|errno| MountError::BindSource {
            path: self.own.clone(),
            source: Refusal(errno),
        })?;
        set_bind_attributes(tree.as_fd(), options)?;
        Ok(tree)
    }
}

/// Root, mount point and super block options of a line of mountinfo that is of type cgroup.
fn cgroup_mount(line: &str) -> Option<(PathBuf, PathBuf, &str)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, mountpoint) = (fields.next()?, fields.next()?);
    let mut fields = filesystem.split(' ');
    let fstype = fields.next()?;
    let options = fields.nth(1)?;
    (fstype == "cgroup").then(|| (unescape(root), unescape(mountpoint), options))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
30 25 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:27 / /mnt/again rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
35 30 0:30 /outer /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
";
    const CGROUPS: &str = "\
4:pids:/outer/box
3:cpu,cpuacct:/box
1:name=systemd:/user.slice/box
0::/unified/box
";

    #[test]
    fn each_hierarchy_is_found_once_with_the_own_cgroup() {
        let found = Hierarchy::parse(MOUNTS, CGROUPS);
        let expected = [
            ("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/box"),
            ("systemd", "/sys/fs/cgroup/systemd/user.slice/box"),
            ("pids", "/sys/fs/cgroup/pids/box"),
        ];
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.name.as_str(), one.own.to_str().unwrap()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_named_hierarchy_keeps_its_parameter() {
        let found = Hierarchy::parse(MOUNTS, CGROUPS);
        assert_eq!(found[1].controllers, ["name=systemd"]);
    }
}
