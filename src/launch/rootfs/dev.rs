//! /dev: the nodes and links that config-linux.md ("Default Devices") asks for, those of `linux.devices`, and the
//! console.
//!
//! Nodes go into the mount that was made for /dev, by its descriptor. Where config.json mounts nothing there, /dev is a
//! directory of the image and may be a link: it is resolved inside the root, so that nothing of the host is touched
//! (CVE-2026-41579). A /dev that is bind-mounted belongs to somebody else, nothing is put into it.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat, fstatat, makedev, mknodat,
};
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::{Gid, Uid, UnlinkatFlags, faccessat, fchownat, symlinkat, unlinkat};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Mount, Spec};

use crate::launch::rootfs::error::{ConsoleError, DevError, DevNullError, Refusal};
use crate::launch::rootfs::mounts::{Made, empty_file};
use crate::launch::rootfs::options::MountOptions;
use crate::launch::rootfs::resolve::{self, LastLink, Missing, clean, open_entry};
use crate::sys::mount::{
    CWD, RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, Reach, attach, clone_tree,
    clone_tree_of, openat2, pty_peer, set_mode, unlock_pty,
};

const DEVPTS_MAGIC: i64 = 0x1cd1;
const NULL_DEVICE: (u64, u64) = (1, 3);
const PTMX_DEVICE: (u64, u64) = (5, 2);
/// devpts(5): major numbers of Unix 98 terminals.
const PTY_MAJORS: std::ops::RangeInclusive<u64> = 136..=143;

/// config-linux.md, "Default Devices"; /dev/ptmx is a link.
const DEFAULT_NODES: [(&str, u64, u64); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
];

const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// The directory that is /dev in the container.
#[derive(Debug)]
pub struct Dev {
    dir: Rc<OwnedFd>,
    /// Nobody but this process has put anything into it.
    empty: bool,
    /// Filled here.
    ours: bool,
}

/// A node to be made.
struct Node {
    path: PathBuf,
    kind: SFlag,
    device: (u64, u64),
    mode: u32,
    owner: (u32, u32),
}

/// How nodes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// mknod(2).
    Made,
    /// Bound from the host: a user namespace may not make any.
    Bound,
}

/// Whether config.json bind-mounts /dev.
pub fn is_bound(mounts: &[Mount]) -> bool {
    mounts.iter().any(|mount| {
        clean(mount.destination()) == Path::new("dev") && MountOptions::of(mount).is_bind()
    })
}

/// Makes all nodes and links. The file mode creation mask must be 0.
pub fn fill(root: BorrowedFd, spec: &Spec, made: &[Made], how: Nodes) -> Result<Dev, DevError> {
    let dev = Dev::find(root, made)?;
    let taken = mounted_paths(spec);
    for node in nodes(spec)? {
        if !taken.contains(&clean(&node.path)) {
            dev.add_node(root, &node, how)?;
        }
    }
    dev.add_links()?;
    Ok(dev)
}

/// Whether the devices of a config can be made at all. Pure.
pub fn check(spec: &Spec) -> Result<(), DevError> {
    nodes(spec).map(drop)
}

fn mounted_paths(spec: &Spec) -> HashSet<PathBuf> {
    let mounts = spec.mounts().iter().flatten();
    mounts.map(|mount| clean(mount.destination())).collect()
}

/// The default nodes, except those that config.json has itself, then those of config.json.
fn nodes(spec: &Spec) -> Result<Vec<Node>, DevError> {
    let linux = spec.linux().as_ref();
    let own: &[LinuxDevice] = linux
        .and_then(|linux| linux.devices().as_deref())
        .unwrap_or(&[]);
    let defaults = DEFAULT_NODES
        .iter()
        .filter(|(path, ..)| !own.iter().any(|device| device.path() == Path::new(path)))
        .map(|&(path, major, minor)| Node {
            path: path.into(),
            kind: SFlag::S_IFCHR,
            device: (major, minor),
            mode: 0o666,
            owner: (0, 0),
        });
    let mut nodes: Vec<_> = defaults.collect();
    for device in own {
        // The link to pts/ptmx takes that place.
        if clean(device.path()) != Path::new("dev/ptmx") {
            nodes.push(node(device)?);
        }
    }
    Ok(nodes)
}

fn node(device: &LinuxDevice) -> Result<Node, DevError> {
    let kind = match device.typ() {
        LinuxDeviceType::B => SFlag::S_IFBLK,
        LinuxDeviceType::C | LinuxDeviceType::U => SFlag::S_IFCHR,
        LinuxDeviceType::P => SFlag::S_IFIFO,
        LinuxDeviceType::A => {
            return Err(DevError::Kind {
                path: device.path().clone(),
                kind: "a",
            });
        }
    };
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(Node {
        path: device.path().clone(),
        kind,
        device: (number(device.major()), number(device.minor())),
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        owner: (device.uid().unwrap_or(0), device.gid().unwrap_or(0)),
    })
}

impl Node {
    fn error(&self) -> impl Fn(Errno) -> DevError {
        |errno| DevError::Node {
            path: self.path.clone(),
            source: Refusal(errno),
        }
    }

    fn matches(&self, stat: &FileStat) -> bool {
        let kind = stat.st_mode & SFlag::S_IFMT.bits() == self.kind.bits();
        kind && (self.kind == SFlag::S_IFIFO || stat.st_rdev == self.number())
    }

    fn number(&self) -> u64 {
        match self.kind {
            SFlag::S_IFIFO => 0,
            _ => makedev(self.device.0, self.device.1),
        }
    }
}

impl Dev {
    pub fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    fn find(root: BorrowedFd, made: &[Made]) -> Result<Dev, DevError> {
        let path = Path::new("/dev");
        let error = |errno| DevError::Node {
            path: path.into(),
            source: Refusal(errno),
        };
        let mounted = made.iter().rev().find(|made| made.path == path);
        if let Some(Made {
            root: Some(dir),
            empty,
            ..
        }) = mounted
        {
            return Ok(Dev {
                dir: Rc::clone(dir),
                empty: *empty,
                ours: true,
            });
        }
        let place = resolve::resolve(root, path, Missing::Directory, LastLink::Follow);
        Ok(Dev {
            dir: Rc::new(place.map_err(error)?.fd),
            empty: false,
            ours: true,
        })
    }

    /// A /dev that config.json binds from elsewhere: used, but nothing is put into it.
    pub fn bound(root: BorrowedFd) -> Result<Dev, DevError> {
        Ok(Dev {
            ours: false,
            ..Dev::find(root, &[])?
        })
    }

    /// Whether it was filled here.
    pub fn is_ours(&self) -> bool {
        self.ours
    }

    fn raw(&self) -> Option<i32> {
        Some(self.dir.as_raw_fd())
    }

    fn add_node(&self, root: BorrowedFd, node: &Node, how: Nodes) -> Result<(), DevError> {
        let inside = clean(&node.path);
        // Right below /dev is where nearly all of them are.
        if let Some(name) = direct_child(&inside) {
            return self.add_at(self.dir.as_fd(), name, node, how, self.empty);
        }
        let (parent, name) = resolve::resolve_parent(root, &node.path).map_err(node.error())?;
        self.add_at(parent.fd.as_fd(), &name, node, how, false)
    }

    fn add_at(
        &self,
        dir: BorrowedFd,
        name: &OsStr,
        node: &Node,
        how: Nodes,
        exclusive: bool,
    ) -> Result<(), DevError> {
        if how == Nodes::Bound && node.kind != SFlag::S_IFIFO {
            return bind_node(dir, name, node);
        }
        let mode = Mode::from_bits_truncate(node.mode);
        match mknodat(Some(dir.as_raw_fd()), name, node.kind, mode, node.number()) {
            Ok(()) if exclusive && node.owner == (0, 0) => Ok(()),
            Ok(()) => give(dir, name, node),
            Err(Errno::EEXIST) => match self.existing(dir, name, node)? {
                true => Ok(()),
                false => Err(DevError::Occupied {
                    path: node.path.clone(),
                }),
            },
            // No right to make nodes, be it for want of a capability.
            Err(Errno::EPERM) => bind_node(dir, name, node),
            Err(other) => Err(node.error()(other)),
        }
    }

    fn existing(&self, dir: BorrowedFd, name: &OsStr, node: &Node) -> Result<bool, DevError> {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        let stat = fstatat(Some(dir.as_raw_fd()), name, flags).map_err(node.error())?;
        Ok(node.matches(&stat))
    }

    fn add_links(&self) -> Result<(), DevError> {
        let core = Path::new("/proc/kcore");
        let core = faccessat(None, core, nix::unistd::AccessFlags::F_OK, AtFlags::empty())
            .is_ok()
            .then_some(("core", "/proc/kcore"));
        for (name, target) in LINKS.into_iter().chain(core) {
            match symlinkat(target, self.raw(), name) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => {
                    return Err(DevError::Link {
                        path: Path::new("/dev").join(name),
                        source: Refusal(errno),
                    });
                }
            }
        }
        // Always the link: a node there would be the host's multiplexer, not that of the container's devpts.
        if !self.empty {
            match unlinkat(self.raw(), "ptmx", UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(DevError::Ptmx(Refusal(errno))),
            }
        }
        symlinkat("pts/ptmx", self.raw(), "ptmx").map_err(|errno| DevError::Ptmx(Refusal(errno)))
    }

    /// A new pseudo terminal of the container's own devpts: master and slave.
    pub fn open_pty(&self) -> Result<(OwnedFd, OwnedFd), ConsoleError> {
        // Looked at before it is opened, since opening a device acts.
        let resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
        let path = Path::new("pts/ptmx");
        let ptmx = |errno| ConsoleError::Ptmx(Refusal(errno));
        let seen = openat2(self.dir.as_fd(), path, libc::O_PATH, 0, resolve).map_err(ptmx)?;
        if !is_device(seen.as_fd(), PTMX_DEVICE).map_err(ptmx)?
            || !on_devpts(&seen).map_err(ptmx)?
        {
            return Err(ConsoleError::NotPtmx);
        }
        let flags = libc::O_RDWR | libc::O_NOCTTY;
        let master = openat2(self.dir.as_fd(), path, flags, 0, resolve).map_err(ptmx)?;
        if !is_device(master.as_fd(), PTMX_DEVICE).map_err(ptmx)?
            || !on_devpts(&master).map_err(ptmx)?
        {
            return Err(ConsoleError::NotPtmx);
        }
        unlock_pty(master.as_fd()).map_err(ptmx)?;
        let peer = |errno| ConsoleError::Peer(Refusal(errno));
        let slave = pty_peer(master.as_fd()).map_err(peer)?;
        Ok((master, slave))
    }

    /// Binds a terminal on /dev/console. The mount is a copy of what the descriptor is open on, no path is looked up
    /// for it, and the target is a plain file in our own /dev (CVE-2025-52565).
    pub fn mount_console(&self, slave: BorrowedFd) -> Result<(), ConsoleError> {
        let target = |errno| ConsoleError::Target(Refusal(errno));
        let stat = fstat(slave.as_raw_fd()).map_err(target)?;
        let is_pty = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits()
            && PTY_MAJORS.contains(&nix::sys::stat::major(stat.st_rdev));
        if !is_pty || !on_devpts(slave).map_err(target)? {
            return Err(ConsoleError::NotPty);
        }
        let name = OsStr::new("console");
        empty_file(self.dir.as_fd(), name, 0o666).map_err(target)?;
        let place = open_entry(self.dir.as_fd(), name, 0).map_err(target)?;
        if is_link(place.as_fd()).map_err(target)? {
            return Err(ConsoleError::Link);
        }
        let mount = |errno| ConsoleError::Mount(Refusal(errno));
        let tree = clone_tree_of(slave, Reach::One).map_err(mount)?;
        attach(tree.as_fd(), place.as_fd()).map_err(mount)
    }

    /// /dev/null of the container, checked to be just that.
    pub fn null(&self, flags: i32) -> Result<OwnedFd, DevNullError> {
        let resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
        let open = |flags| {
            openat2(self.dir.as_fd(), Path::new("null"), flags, 0, resolve)
                .and_then(|null| Ok((is_device(null.as_fd(), NULL_DEVICE)?, null)))
                .map_err(|errno| match errno {
                    Errno::ELOOP => DevNullError::Invalid,
                    errno => DevNullError::Open(Refusal(errno)),
                })
        };
        // Opening another device might do something, so it is looked at first; but not where only we put things in.
        if !self.empty && flags != libc::O_PATH && !open(libc::O_PATH)?.0 {
            return Err(DevNullError::Invalid);
        }
        match open(flags)? {
            (true, null) => Ok(null),
            (false, _) => Err(DevNullError::Invalid),
        }
    }
}

fn direct_child(inside: &Path) -> Option<&OsStr> {
    let mut below = inside.strip_prefix("dev").ok()?.iter();
    match (below.next(), below.next()) {
        (Some(name), None) => Some(name),
        _ => None,
    }
}

/// Gives a new node its mode and owner, after a look at whether it is still the node that was made.
fn give(dir: BorrowedFd, name: &OsStr, node: &Node) -> Result<(), DevError> {
    let made = open_entry(dir, name, 0).map_err(node.error())?;
    let stat = fstat(made.as_raw_fd()).map_err(node.error())?;
    if !node.matches(&stat) {
        return Err(DevError::Occupied {
            path: node.path.clone(),
        });
    }
    let (uid, gid) = node.owner;
    if (stat.st_uid, stat.st_gid) != node.owner {
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        fchownat(
            Some(made.as_raw_fd()),
            "",
            owner.0,
            owner.1,
            AtFlags::AT_EMPTY_PATH,
        )
        .map_err(node.error())?;
    }
    // A default ACL of the directory may have taken bits away.
    if stat.st_mode & 0o7777 != node.mode {
        change_mode(made.as_fd(), node.mode).map_err(node.error())?;
    }
    Ok(())
}

fn change_mode(node: BorrowedFd, mode: u32) -> Result<(), Errno> {
    match set_mode(node, mode) {
        // fchmodat2: Linux 6.6. The host's /proc is still there, and its link leads to just this file.
        Err(Errno::ENOSYS) => {
            let path = format!("/proc/self/fd/{}", node.as_raw_fd());
            let mode = Mode::from_bits_truncate(mode);
            fchmodat(None, path.as_str(), mode, FchmodatFlags::FollowSymlink)
        }
        set => set,
    }
}

/// Binds the host's node of the same path.
fn bind_node(dir: BorrowedFd, name: &OsStr, node: &Node) -> Result<(), DevError> {
    empty_file(dir, name, 0).map_err(node.error())?;
    let place = open_entry(dir, name, 0).map_err(node.error())?;
    if is_link(place.as_fd()).map_err(node.error())? {
        return Err(DevError::Occupied {
            path: node.path.clone(),
        });
    }
    let tree = clone_tree(CWD, &node.path, Reach::One).map_err(node.error())?;
    if !node.matches(&fstat(tree.as_raw_fd()).map_err(node.error())?) {
        return Err(DevError::HostNode {
            path: node.path.clone(),
        });
    }
    attach(tree.as_fd(), place.as_fd()).map_err(node.error())
}

/// Whether a descriptor, known by its number, is open on the null device, whatever its name.
pub fn is_null_number(fd: i32) -> Result<bool, Errno> {
    Ok(is_device_stat(&fstat(fd)?, NULL_DEVICE))
}

fn is_device(fd: BorrowedFd, device: (u64, u64)) -> Result<bool, Errno> {
    Ok(is_device_stat(&fstat(fd.as_raw_fd())?, device))
}

fn is_device_stat(stat: &FileStat, device: (u64, u64)) -> bool {
    let is_char = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits();
    is_char && stat.st_rdev == makedev(device.0, device.1)
}

fn is_link(fd: BorrowedFd) -> Result<bool, Errno> {
    let mode = fstat(fd.as_raw_fd())?.st_mode;
    Ok(mode & SFlag::S_IFMT.bits() == SFlag::S_IFLNK.bits())
}

fn on_devpts(fd: impl AsFd) -> Result<bool, Errno> {
    Ok(fstatfs(fd.as_fd())?.filesystem_type() == FsType(DEVPTS_MAGIC as _))
}
