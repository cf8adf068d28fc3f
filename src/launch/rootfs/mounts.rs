//! The mounts of config.json, one after the other, each made detached, given all its flags, and then attached in
//! one step to a place in the container's root that a descriptor holds: nothing is ever visible with less
//! restriction than asked for, and nothing can be swapped between check and use.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat, mknodat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use oci_spec::runtime::Mount;

use crate::launch::rootfs::copy_up;
use crate::launch::rootfs::error::{MountError, Refusal};
use crate::launch::rootfs::options::{MountOptions, Propagation};
use crate::launch::rootfs::proc_guard::{self, Kind};
use crate::launch::rootfs::resolve::{self, LastLink, Missing, Place, clean, without_root};
use crate::launch::rootfs::sources::{self, Source};
use crate::launch::rootfs::{CgroupView, Plan};
use crate::sys::mount::{
    ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, CWD, FsContext, MountAttr, Reach, attach,
    attach_at, clone_tree, set_attributes, set_xattr,
};

/// File systems of the kernel itself, of which one instance serves many mounts: `ro` is a property of the mount only,
/// or the next container of the same network namespace would find its /sys read-only, too.
const SHARED_FILESYSTEMS: [&str; 7] = [
    "proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2",
];

/// A mount that has been made.
#[derive(Debug)]
pub struct Made {
    /// Where it is, resolved, from the container's root.
    pub path: PathBuf,
    pub fstype: String,
    /// The root of the mount; kept of new file systems only.
    pub root: Option<Rc<OwnedFd>>,
    /// Nobody but this process has put anything into it.
    pub empty: bool,
    /// Has to become read-only when everything is set up.
    pub read_only_later: bool,
}

/// Where a mount is to be attached.
enum Target<'t> {
    Place(Place),
    /// A name just made in a directory that is ours alone.
    New {
        dir: BorrowedFd<'t>,
        name: OsString,
        path: PathBuf,
    },
}

impl Target<'_> {
    fn path(&self) -> &Path {
        match self {
            Target::Place(place) => &place.path,
            Target::New { path, .. } => path,
        }
    }

    fn attach(&self, mount: BorrowedFd) -> Result<(), MountError> {
        let attached = match self {
            Target::Place(place) => attach(mount, place.fd.as_fd()),
            Target::New { dir, name, .. } => attach_at(mount, *dir, Path::new(name)),
        };
        attached.map_err(|errno| MountError::Attach(Refusal(errno)))
    }
}

/// Everything that making mounts in one root takes.
pub struct Mounter<'p> {
    pub plan: &'p Plan<'p>,
    pub root: BorrowedFd<'p>,
    pub made: Vec<Made>,
}

/// What makes a new file system.
pub struct Fresh<'f> {
    pub fstype: &'f str,
    pub source: Option<&'f OsStr>,
    pub options: &'f MountOptions,
    /// SELinux label for all its files.
    pub label: Option<&'f str>,
    /// Parameters before those of the options.
    pub data: &'f [(&'f str, Option<&'f OsStr>)],
}

impl Mounter<'_> {
    /// Makes the mount number `index` of config.json.
    pub fn mount(&mut self, index: usize, mount: &Mount) -> Result<(), MountError> {
        let mut moved = None;
        if let Some(inside) = without_root(self.plan.rootfs, mount.destination()) {
            moved.insert(mount.clone()).set_destination(inside);
        }
        let mount = moved.as_ref().unwrap_or(mount);
        let options = MountOptions::of(mount);
        let destination = mount.destination();
        if options.is_remount() {
            return self.remount(mount, &options);
        }
        if options.is_bind() {
            let tree = self.bind_source(index, mount, &options)?;
            return self.bind(tree, destination, &options.propagation);
        }
        let fstype = mount.typ().as_deref().unwrap_or_default();
        match fstype {
            "proc" | "sysfs" => self.mount_kernel_view(mount, fstype, &options),
            "cgroup" => match self.plan.cgroup {
                CgroupView::Unified { .. } => self.mount_cgroup2(mount, &options),
                CgroupView::Legacy => self.mount_cgroup1(mount, &options),
            },
            "cgroup2" if matches!(self.plan.cgroup, CgroupView::Unified { .. }) => {
                self.mount_cgroup2(mount, &options)
            }
            _ => self.mount_fresh(mount, fstype, &options),
        }
    }

    fn bind_source(
        &self,
        index: usize,
        mount: &Mount,
        options: &MountOptions,
    ) -> Result<OwnedFd, MountError> {
        let source = mount.source().as_deref().unwrap_or(Path::new(""));
        let source = self.plan.bundle.join(source);
        match self.plan.sources.take(index) {
            Some(Source::Tree(tree)) => Ok(tree),
            Some(Source::Maps(namespace)) => {
                let tree = open_bind_source(&source, options)?;
                sources::map_ids(tree.as_fd(), &namespace, options, &source)?;
                Ok(tree)
            }
            None => open_bind_source(&source, options),
        }
    }

    fn mount_fresh(
        &mut self,
        mount: &Mount,
        fstype: &str,
        options: &MountOptions,
    ) -> Result<(), MountError> {
        let destination = mount.destination();
        let target = self.target(destination, Missing::Directory, || Ok(Kind::Other))?;
        let mode = match &target {
            // A tmpfs on a directory of the image looks like that directory, unless the options say otherwise.
            Target::Place(place)
                if fstype == "tmpfs" && !place.created && !options.has_data("mode") =>
            {
                let stat = fstat(place.fd.as_raw_fd()).map_err(at(&place.path))?;
                Some(OsString::from(format!("{:o}", stat.st_mode & 0o7777)))
            }
            _ => None,
        };
        let mode = mode.as_deref().map(|mode| ("mode", Some(mode)));
        let label = match fstype {
            // No context mount: the file system is labelled after it is there.
            "mqueue" => None,
            _ => self.label(),
        };
        let fresh = Fresh {
            fstype,
            source: mount.source().as_deref().map(Path::as_os_str),
            options,
            label,
            data: mode.as_slice(),
        };
        let later = fstype == "tmpfs" || clean(destination) == Path::new("dev");
        let read_only_later = later && options.fresh_attributes() & ATTR_RDONLY != 0;
        let mut attributes = options.fresh_attributes();
        if read_only_later {
            attributes &= !ATTR_RDONLY;
        }
        let made = make(&fresh, attributes)?;
        if options.copy_up
            && let Target::Place(place) = &target
        {
            copy_up::copy(place.fd.as_fd(), made.as_fd()).map_err(|source| MountError::CopyUp {
                path: place.path.clone(),
                source: Refusal(source),
            })?;
        }
        target.attach(made.as_fd())?;
        set_propagation(made.as_fd(), &options.propagation)?;
        if fstype == "mqueue"
            && let Some(label) = self.label()
        {
            label_root(made.as_fd(), label)?;
        }
        let path = target.path().to_owned();
        self.made.push(Made {
            path,
            fstype: fstype.to_owned(),
            root: Some(Rc::new(made)),
            empty: fstype == "tmpfs" && !options.copy_up,
            read_only_later,
        });
        Ok(())
    }

    /// proc and sysfs, which other steps rely on: only on an ordinary directory, never through a link.
    fn mount_kernel_view(
        &mut self,
        mount: &Mount,
        fstype: &str,
        options: &MountOptions,
    ) -> Result<(), MountError> {
        let destination = mount.destination();
        let place = match resolve::ordinary_directory(self.root, destination) {
            Err(source @ (Errno::ELOOP | Errno::ENOTDIR)) => {
                return Err(MountError::NotOrdinaryDirectory {
                    fstype: fstype.to_owned(),
                    source: Refusal(source),
                });
            }
            place => place.map_err(at(destination))?,
        };
        let place = not_root(place)?;
        let kind = match fstype {
            "proc" => Kind::FreshProc,
            _ => Kind::Other,
        };
        proc_guard::check(&place.path, || Ok(kind))?;
        let fresh = Fresh {
            fstype,
            source: mount.source().as_deref().map(Path::as_os_str),
            options,
            label: None,
            data: &[],
        };
        let made = match make(&fresh, options.fresh_attributes()) {
            // user_namespaces(7): sysfs shows a network namespace, whose owner alone may mount it. A user namespace on
            // the host's network gets the host's view instead, with the flags asked for all the way down.
            Err(error) if fstype == "sysfs" && error.no_filesystem() == Some(Errno::EPERM) => {
                self.host_sys(options)?
            }
            made => made?,
        };
        attach(made.as_fd(), place.fd.as_fd())
            .map_err(|errno| MountError::Attach(Refusal(errno)))?;
        set_propagation(made.as_fd(), &options.propagation)?;
        self.made.push(Made {
            path: place.path,
            fstype: fstype.to_owned(),
            root: Some(Rc::new(made)),
            empty: false,
            read_only_later: false,
        });
        Ok(())
    }

    fn host_sys(&self, options: &MountOptions) -> Result<OwnedFd, MountError> {
        let path = Path::new("/sys");
        let tree = clone_tree(CWD, path, Reach::Tree).map_err(|errno| MountError::BindSource {
            path: path.into(),
            source: Refusal(errno),
        })?;
        let flags = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;
        let attr = MountAttr::setting(options.fresh_attributes() & flags);
        set_attributes(tree.as_fd(), Reach::Tree, &attr)
            .map_err(|errno| MountError::Attributes(Refusal(errno)))?;
        Ok(tree)
    }

    /// Attaches a detached copy of something of the host, with its flags already set.
    pub fn bind(
        &mut self,
        tree: OwnedFd,
        destination: &Path,
        propagation: &[Propagation],
    ) -> Result<(), MountError> {
        let kind = || {
            let found = fstatfs(&tree).map_err(at(destination))?;
            Ok(match found.filesystem_type() {
                PROC_SUPER_MAGIC => Kind::BoundProc,
                _ => Kind::Other,
            })
        };
        let target = match self.target(destination, Missing::Fail, kind) {
            Err(MountError::MountPoint {
                source: Refusal(Errno::ENOENT),
                ..
            }) => {
                let mode = fstat(tree.as_raw_fd()).map_err(at(destination))?.st_mode;
                let missing = match mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() {
                    true => Missing::Directory,
                    false => Missing::File,
                };
                self.target(destination, missing, kind)?
            }
            target => target?,
        };
        target.attach(tree.as_fd())?;
        set_propagation(tree.as_fd(), propagation)?;
        let path = target.path().to_owned();
        self.made.push(Made {
            path,
            fstype: String::new(),
            root: None,
            empty: false,
            read_only_later: false,
        });
        Ok(())
    }

    /// The option `remount`: another mount of config.json, or one of the root file system, gets other flags; without
    /// `bind` its file system gets other parameters, too.
    fn remount(&mut self, mount: &Mount, options: &MountOptions) -> Result<(), MountError> {
        let destination = mount.destination();
        let place = resolve::resolve(self.root, destination, Missing::Fail, LastLink::Follow)
            .map_err(at(destination))?;
        let place = not_root(place)?;
        if !options.is_bind() {
            let context =
                FsContext::pick(place.fd.as_fd()).map_err(|errno| MountError::Reconfigure {
                    complaint: None,
                    source: Refusal(errno),
                })?;
            reconfigure(context, options)?;
        }
        let attr = options.replacing_attributes();
        change_attributes(place.fd.as_fd(), &attr, options)?;
        if let Some(attr) = options.recursive_attributes() {
            set_attributes(place.fd.as_fd(), Reach::Tree, &attr)
                .map_err(|errno| MountError::Attributes(Refusal(errno)))?;
        }
        set_propagation(place.fd.as_fd(), &options.propagation)
    }

    /// The directory to mount on, for those that need a descriptor of it.
    pub fn place_for(&self, destination: &Path) -> Result<Place, MountError> {
        let place = resolve::resolve(self.root, destination, Missing::Directory, LastLink::Follow)
            .map_err(at(destination))?;
        let place = not_root(place)?;
        proc_guard::check(&place.path, || Ok(Kind::Other))?;
        Ok(place)
    }

    pub fn propagate(&self, mount: BorrowedFd, options: &MountOptions) -> Result<(), MountError> {
        set_propagation(mount, &options.propagation)
    }

    pub fn label(&self) -> Option<&str> {
        self.plan.mount_label.filter(|label| !label.is_empty())
    }

    /// The place to mount on, checked to be neither the root nor a forbidden part of /proc.
    fn target(
        &self,
        destination: &Path,
        missing: Missing,
        kind: impl FnOnce() -> Result<Kind, MountError>,
    ) -> Result<Target<'_>, MountError> {
        if missing == Missing::Directory
            && let Some(target) = self.new_directory(destination)
        {
            return Ok(target);
        }
        let place = resolve::resolve(self.root, destination, missing, LastLink::Follow)
            .map_err(at(destination))?;
        let place = not_root(place)?;
        proc_guard::check(&place.path, kind)?;
        Ok(Target::Place(place))
    }

    /// The usual /dev/pts, /dev/shm, /dev/mqueue: a directory right below a file system that we have just made and
    /// that nobody else can see, which takes no resolution at all. `None` where this is not so.
    fn new_directory(&self, destination: &Path) -> Option<Target<'_>> {
        let path = Path::new("/").join(clean(destination));
        let above = self
            .made
            .iter()
            .rev()
            .find(|made| path.starts_with(&made.path))?;
        let dir = above.root.as_ref().filter(|_| above.empty)?.as_fd();
        let mut rest = path.strip_prefix(&above.path).ok()?.iter();
        let name = match (rest.next(), rest.next()) {
            (Some(name), None) => name.to_owned(),
            _ => return None,
        };
        let mode = Mode::from_bits_truncate(0o755);
        // Whatever the reason for not making it, the way through the resolution meets it again.
        mkdirat(Some(dir.as_raw_fd()), name.as_os_str(), mode).ok()?;
        Some(Target::New { dir, name, path })
    }
}

/// Opens a detached copy of a bind mount's source, with the flags of the options.
pub fn open_bind_source(source: &Path, options: &MountOptions) -> Result<OwnedFd, MountError> {
    let tree = clone_tree(CWD, source, options.bind_reach()).map_err(|errno| {
        let (path, source) = (source.to_owned(), Refusal(errno));
        match errno {
            Errno::EACCES => MountError::HiddenSource { path, source },
            _ => MountError::BindSource { path, source },
        }
    })?;
    set_bind_attributes(tree.as_fd(), options)?;
    Ok(tree)
}

/// Gives a detached bind mount the flags of its options.
pub fn set_bind_attributes(tree: BorrowedFd, options: &MountOptions) -> Result<(), MountError> {
    if let Some(attr) = options.bind_attributes() {
        change_attributes(tree, &attr, options)?;
    }
    if let Some(attr) = options.recursive_attributes() {
        set_attributes(tree, Reach::Tree, &attr)
            .map_err(|errno| MountError::Attributes(Refusal(errno)))?;
    }
    Ok(())
}

fn change_attributes(
    mount: BorrowedFd,
    attr: &MountAttr,
    options: &MountOptions,
) -> Result<(), MountError> {
    match set_attributes(mount, Reach::One, attr) {
        // mount_namespaces(7): flags inherited from a more privileged namespace are locked. Clear none but those that
        // the options want cleared.
        Err(Errno::EPERM) => set_attributes(mount, Reach::One, &options.named_attributes())
            .map_err(|errno| MountError::LockedFlags(Refusal(errno))),
        set => set.map_err(|errno| MountError::Attributes(Refusal(errno))),
    }
}

fn set_propagation(mount: BorrowedFd, changes: &[Propagation]) -> Result<(), MountError> {
    changes.iter().try_for_each(|change| {
        let attr = MountAttr::propagation(change.kind);
        set_attributes(mount, change.reach, &attr)
            .map_err(|errno| MountError::Propagation(Refusal(errno)))
    })
}

/// Makes a file system and a detached mount of it.
pub fn make(fresh: &Fresh, attributes: u64) -> Result<OwnedFd, MountError> {
    let fstype = || fresh.fstype.to_owned();
    let context = FsContext::open(fresh.fstype).map_err(|errno| MountError::UnknownFilesystem {
        fstype: fstype(),
        source: Refusal(errno),
    })?;
    if let Err((option, errno)) = set_parameters(&context, fresh) {
        return Err(MountError::Option {
            fstype: fstype(),
            option,
            complaint: context.complaint(),
            source: Refusal(errno),
        });
    }
    match context.create().and_then(|()| context.mount(attributes)) {
        Ok(mount) => Ok(mount),
        Err(errno) => Err(MountError::Create {
            fstype: fstype(),
            complaint: context.complaint(),
            source: Refusal(errno),
        }),
    }
}

fn set_parameters(context: &FsContext, fresh: &Fresh) -> Result<(), (String, Errno)> {
    let options = fresh.options;
    if let Some(source) = fresh.source.filter(|source| !source.is_empty()) {
        set_parameter(context, "source", Some(source))?;
    }
    let read_only = options.is_read_only() && !SHARED_FILESYSTEMS.contains(&fresh.fstype);
    if read_only {
        set_parameter(context, "ro", None)?;
    }
    set_common_parameters(context, options)?;
    if let Some(label) = fresh.label {
        set_parameter(context, "context", Some(OsStr::new(label)))?;
    }
    for (key, value) in fresh.data {
        set_parameter(context, key, *value)?;
    }
    for (key, value) in &options.data {
        set_parameter(context, key, value.as_deref())?;
    }
    Ok(())
}

fn set_common_parameters(
    context: &FsContext,
    options: &MountOptions,
) -> Result<(), (String, Errno)> {
    for word in options.superblock_parameters() {
        set_parameter(context, word, None)?;
    }
    if options.wants_iversion() {
        // Not a common parameter: the file systems that have it call it so.
        set_parameter(context, "i_version", None)
            .or_else(|_| set_parameter(context, "iversion", None))?;
    }
    Ok(())
}

fn set_parameter(
    context: &FsContext,
    key: &str,
    value: Option<&OsStr>,
) -> Result<(), (String, Errno)> {
    let set = match value {
        Some(value) => context.set_string(key, value),
        None => context.set_flag(key),
    };
    set.map_err(|errno| {
        let value = value.map(|value| format!("={}", value.to_string_lossy()));
        (format!("{key}{}", value.unwrap_or_default()), errno)
    })
}

fn reconfigure(context: FsContext, options: &MountOptions) -> Result<(), MountError> {
    let access = match options.is_read_only() {
        true => "ro",
        false => "rw",
    };
    let changed = set_parameter(&context, access, None)
        .and_then(|()| set_common_parameters(&context, options))
        .and_then(|()| {
            let data = options.data.iter();
            let mut each = data.map(|(key, value)| set_parameter(&context, key, value.as_deref()));
            each.try_for_each(|set| set)
        })
        .map_err(|(_, errno)| errno)
        .and_then(|()| context.reconfigure());
    changed.map_err(|errno| MountError::Reconfigure {
        complaint: context.complaint(),
        source: Refusal(errno),
    })
}

/// Labels the root of a file system that takes no label as a mount option.
fn label_root(mount: BorrowedFd, label: &str) -> Result<(), MountError> {
    let wrap = |errno| MountError::Label {
        label: label.to_owned(),
        source: Refusal(errno),
    };
    let dot = Path::new(".");
    let dir = crate::sys::mount::openat2(mount, dot, libc::O_DIRECTORY, 0, 0).map_err(wrap)?;
    set_xattr(dir.as_fd(), c"security.selinux", label.as_bytes()).map_err(wrap)
}

fn not_root(place: Place) -> Result<Place, MountError> {
    match place.path == Path::new("/") {
        true => Err(MountError::OnRoot { path: place.path }),
        false => Ok(place),
    }
}

/// For `map_err`: the mount point is the trouble.
pub fn at(path: &Path) -> impl Fn(Errno) -> MountError {
    move |errno| MountError::MountPoint {
        path: path.to_owned(),
        source: Refusal(errno),
    }
}

/// Makes an empty file or finds one; for mount points in a directory that is ours alone.
pub fn empty_file(dir: BorrowedFd, name: &OsStr, mode: u32) -> Result<(), Errno> {
    let mode = Mode::from_bits_truncate(mode);
    match mknodat(Some(dir.as_raw_fd()), name, SFlag::S_IFREG, mode, 0) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(other) => Err(other),
    }
}
