//! Which cgroup hierarchies this host has, and where they are mounted.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statfs::CGROUP2_SUPER_MAGIC;

use super::dir::Directory;
use super::error::CgroupError;
use super::path::{Place, Relative, own_cgroup};

/// Where systemd, and every distribution after it, mounts cgroups.
pub(super) const ROOT: &str = "/sys/fs/cgroup";

/// The hierarchies of cgroup v1 that a container joins, as runc does; the empty name is the v2 hierarchy of a hybrid host.
const JOINED: [&str; 16] = [
    "cpuset",
    "devices",
    "memory",
    "cpu",
    "cpuacct",
    "pids",
    "blkio",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "freezer",
    "rdma",
    "name=systemd",
    "misc",
    "",
];

/// How cgroups are mounted.
#[derive(Debug)]
pub(super) enum Hierarchies {
    /// cgroup v2 alone; its root directory.
    Unified(Directory),
    /// cgroup v1, with or without a v2 hierarchy that has no controllers (hybrid).
    Legacy(Vec<Mount>),
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub controllers: Vec<String>,
    pub point: PathBuf,
    /// The cgroup that is seen at the mount point: not `/` in a container on cgroup v1.
    pub root: String,
}

impl Hierarchies {
    pub(super) fn find() -> Result<Self, CgroupError> {
        Self::find_below(Path::new(ROOT))
    }

    /// One open and one statfs(2) tell a host with cgroup v2; only cgroup v1 costs a walk of the mounts.
    pub(super) fn find_below(path: &Path) -> Result<Self, CgroupError> {
        match Directory::open(path) {
            Ok(root) if root.file_system()? == CGROUP2_SUPER_MAGIC => Ok(Self::Unified(root)),
            Ok(_) => {
                let mut mounts = parse_mounts(&read_proc("/proc/self/mountinfo")?, path);
                // Something may be mounted over them, as a tmpfs is in some containers.
                mounts.retain(|mount| mount.point.is_dir());
                match mounts.is_empty() {
                    true => Err(CgroupError::NotMounted { path: path.into() }),
                    false => Ok(Self::Legacy(mounts)),
                }
            }
            Err(CgroupError::Open { source, .. })
                if source.raw_os_error() == Some(libc::ENOENT) =>
            {
                Err(CgroupError::NotMounted { path: path.into() })
            }
            Err(error) => Err(error),
        }
    }
}

/// Our own cgroups, read when a path is relative to them.
pub(super) fn read_own() -> Result<String, CgroupError> {
    read_proc("/proc/self/cgroup")
}

/// The place in the v2 hierarchy. A relative one goes beside our own cgroup, not below it: ours holds processes, so that no
/// controller can be enabled for its children (cgroups(7), "no internal processes").
pub(super) fn unified_path(place: &Place, own: &str) -> Result<Relative, CgroupError> {
    let relative = match place {
        Place::Absolute(relative) => return Ok(relative.clone()),
        Place::Own(relative) => relative,
    };
    let own = own_cgroup(own, "").ok_or_else(|| CgroupError::OwnCgroup { own: own.into() })?;
    let parent = own.rsplit_once('/').map_or("", |(parent, _)| parent);
    relative
        .below(parent)
        .map_err(|_flaw| CgroupError::OwnCgroup { own: own.into() })
}

/// The place in a hierarchy of cgroup v1. A relative one goes below our own cgroup.
pub(super) fn legacy_path(
    place: &Place,
    own: &str,
    mount: &Mount,
) -> Result<Relative, CgroupError> {
    let relative = match place {
        Place::Absolute(relative) => return Ok(relative.clone()),
        Place::Own(relative) => relative,
    };
    let named = mount.controllers.first().map_or("", String::as_str);
    let own = own_cgroup(own, named).ok_or_else(|| CgroupError::OwnCgroup { own: own.into() })?;
    // In a container the mount shows only a part of the hierarchy, and our path is told from the hierarchy's root.
    let inside = own.strip_prefix(mount.root.as_str()).unwrap_or("");
    relative
        .below(inside)
        .map_err(|_flaw| CgroupError::OwnCgroup { own: own.into() })
}

/// The mounts of the hierarchies that a container joins, each controller once, from the text of /proc/self/mountinfo.
fn parse_mounts(text: &str, below: &Path) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for line in text.lines() {
        let Some(mut mount) = parse_mount(line, below) else {
            continue;
        };
        let known = |controller: &String| {
            mounts
                .iter()
                .any(|mount| mount.controllers.contains(controller))
        };
        mount.controllers.retain(|controller| !known(controller));
        if !mount.controllers.is_empty() {
            mounts.push(mount);
        }
    }
    mounts
}

/// One line: `31 23 0:28 /root /mount/point rw,opts shared:1 - cgroup source rw,cpu,cpuacct` (proc_pid_mountinfo(5)).
fn parse_mount(line: &str, below: &Path) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let root = unescape(fields.next()?);
    let point = PathBuf::from(unescape(fields.next()?));
    let mut fields = file_system.split(' ');
    let kind = fields.next()?;
    let options = fields.nth(1)?;
    if point.parent() != Some(below) {
        return None;
    }
    let controllers = match kind {
        "cgroup" => options
            .split(',')
            .filter(|option| !option.is_empty() && JOINED.contains(option))
            .map(String::from)
            .collect(),
        "cgroup2" => vec![String::new()],
        _ => return None,
    };
    Some(Mount {
        controllers,
        point,
        root,
    })
}

/// Spaces and the like are written as `\040` in mountinfo.
fn unescape(field: &str) -> String {
    let mut pieces = field.split('\\');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let code = piece
            .get(..3)
            .and_then(|code| u8::from_str_radix(code, 8).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(&piece[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(piece);
            }
        }
    }
    plain
}

fn read_proc(path: &str) -> Result<String, CgroupError> {
    fs::read_to_string(path).map_err(|source| CgroupError::Read {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 /docker/x /sys/fs/cgroup/cpu,cpuacct rw shared:7 - cgroup cgroup rw,cpu,cpuacct
37 31 0:34 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
38 31 0:35 / /sys/fs/cgroup/elogind rw - cgroup cgroup rw,name=elogind
40 31 0:36 / /sys/fs/cgroup/a\\040b rw - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
42 31 0:29 / /mnt/cpu rw - cgroup cgroup rw,cpu,cpuacct
";

    fn names(mount: &Mount) -> Vec<&str> {
        mount.controllers.iter().map(String::as_str).collect()
    }

    #[test]
    fn the_mounts_of_a_hybrid_host_are_found_once_each() {
        let mounts = parse_mounts(HYBRID, Path::new(ROOT));
        let found: Vec<_> = mounts.iter().map(names).collect();
        assert_eq!(
            found,
            [
                vec!["cpu", "cpuacct"],
                vec!["name=systemd"],
                vec!["pids"],
                vec![""]
            ]
        );
        assert_eq!(mounts[0].root, "/docker/x");
        assert_eq!(mounts[2].point, Path::new("/sys/fs/cgroup/a b"));
    }

    #[test]
    fn a_relative_path_is_below_our_cgroup_on_v1_and_beside_it_on_v2() {
        let place = Place::of(None, "id").unwrap();
        let mounts = parse_mounts(HYBRID, Path::new(ROOT));
        let own = "2:cpu,cpuacct:/docker/x/y\n3:pids:/elsewhere\n0::/a.slice/s.scope\n";
        let path = |mount| legacy_path(&place, own, mount).unwrap();
        assert_eq!(path(&mounts[0]).as_str(), "y/id");
        assert_eq!(path(&mounts[2]).as_str(), "elsewhere/id");
        assert_eq!(unified_path(&place, own).unwrap().as_str(), "a.slice/id");
        assert_eq!(unified_path(&place, "0::/\n").unwrap().as_str(), "id");
    }

    #[test]
    fn an_absolute_path_does_not_depend_on_our_cgroup() {
        let place = Place::of(Some(Path::new("/docker/id")), "id").unwrap();
        assert_eq!(unified_path(&place, "").unwrap().as_str(), "docker/id");
    }

    #[test]
    fn a_cgroup_outside_our_namespace_is_told() {
        let place = Place::of(None, "id").unwrap();
        let error = unified_path(&place, "0::/../../b/c\n").unwrap_err();
        assert!(error.to_string().contains("give an absolute cgroupsPath"));
    }
}
