//! What has to be opened with the host's rights, before the process is in its user namespace: id-mapped mounts, and
//! sources of bind mounts that the namespace's root could not reach.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::unistd::geteuid;
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Mount, Spec};

use crate::launch::rootfs::error::{MountError, Refusal, RootfsError};
use crate::launch::rootfs::mounts::open_bind_source;
use crate::launch::rootfs::options::{Idmap, MountOptions};
use crate::launch::rootfs::{namespace, wrap};
use crate::sys::mount::{ATTR_IDMAP, MountAttr, Reach, set_attributes, user_namespace};

/// Detached mounts by their number in config.json. Empty, and got without a system call, where nothing of the kind is
/// asked for.
#[derive(Debug, Default)]
pub struct Sources {
    opened: RefCell<HashMap<usize, Source>>,
}

/// What was opened for one mount.
#[derive(Debug)]
pub enum Source {
    /// The whole of it, ready to be attached.
    Tree(OwnedFd),
    /// The user namespace with the maps. The mount itself is opened when its turn comes, since its source may lie on
    /// a mount that comes before it.
    Maps(Rc<OwnedFd>),
}

impl Sources {
    /// To be called in the parent, on the host, in a single-threaded process.
    pub fn open(spec: &Spec, bundle: &Path) -> Result<Sources, RootfsError> {
        let mut opener = Opener::new(spec, bundle);
        let mut all = HashMap::new();
        for (index, mount) in spec.mounts().iter().flatten().enumerate() {
            let opened = opener.open(mount).map_err(|cause| wrap(mount, cause))?;
            if let Some(source) = opened {
                all.insert(index, source);
            }
        }
        Ok(Sources {
            opened: RefCell::new(all),
        })
    }

    pub(super) fn take(&self, index: usize) -> Option<Source> {
        self.opened.borrow_mut().remove(&index)
    }
}

/// The maps of a user namespace, or where to find it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Maps {
    Join(PathBuf),
    Texts { uid: String, gid: String },
}

struct Opener<'s> {
    spec: &'s Spec,
    bundle: &'s Path,
    user_namespace: bool,
    namespaces: HashMap<Maps, Rc<OwnedFd>>,
}

impl<'s> Opener<'s> {
    fn new(spec: &'s Spec, bundle: &'s Path) -> Opener<'s> {
        Opener {
            spec,
            bundle,
            user_namespace: namespace(spec, LinuxNamespaceType::User).is_some(),
            namespaces: HashMap::new(),
        }
    }

    fn open(&mut self, mount: &Mount) -> Result<Option<Source>, MountError> {
        // Most containers have neither.
        let mapped = mount.uid_mappings().is_some()
            || mount
                .options()
                .iter()
                .flatten()
                .any(|word| word.ends_with("idmap"));
        if !mapped && !self.user_namespace {
            return Ok(None);
        }
        let options = MountOptions::of(mount);
        let source = match mount.source() {
            Some(source) if options.is_bind() && !options.is_remount() => self.bundle.join(source),
            _ => return Ok(None),
        };
        if options.is_idmapped() {
            return self.open_mapped(mount, &source, &options).map(Some);
        }
        // Without privilege the parent can reach no more than its child.
        if !geteuid().is_root() || self.reachable(&source) {
            return Ok(None);
        }
        match open_bind_source(&source, &options) {
            // Root of a user namespace that does not own this mount namespace.
            Err(MountError::BindSource {
                source: Refusal(Errno::EPERM),
                ..
            }) => Ok(None),
            opened => opened.map(Source::Tree).map(Some),
        }
    }

    fn open_mapped(
        &mut self,
        mount: &Mount,
        source: &Path,
        options: &MountOptions,
    ) -> Result<Source, MountError> {
        if !geteuid().is_root() {
            return Err(MountError::RootlessIdmap);
        }
        let namespace = self.mapping_namespace(mount)?;
        if !self.user_namespace {
            return Ok(Source::Maps(namespace));
        }
        // mount_setattr(2): mapping takes privilege over the file system, which the container's root will not have.
        let tree = open_bind_source(source, options)?;
        map_ids(tree.as_fd(), &namespace, options, source)?;
        Ok(Source::Tree(tree))
    }

    /// The user namespace with the mount's own maps, or the container's. One for all mounts with the same maps.
    fn mapping_namespace(&mut self, mount: &Mount) -> Result<Rc<OwnedFd>, MountError> {
        use std::collections::hash_map::Entry;
        match self.namespaces.entry(maps(self.spec, mount)) {
            Entry::Occupied(known) => Ok(Rc::clone(known.get())),
            Entry::Vacant(place) => {
                let opened = match place.key() {
                    Maps::Join(path) => File::open(path).map(OwnedFd::from),
                    Maps::Texts { uid, gid } => user_namespace(uid, gid),
                };
                let opened = Rc::new(opened.map_err(MountError::IdmapNamespace)?);
                Ok(Rc::clone(place.insert(opened)))
            }
        }
    }

    /// Whether root of the container's user namespace may pass through all directories above `source`. Judged by
    /// mode bits; it has no special rights over what its namespace does not map.
    fn reachable(&self, source: &Path) -> bool {
        // What cannot be found is reported by the process that mounts it.
        let Ok(source) = fs::canonicalize(source) else {
            return true;
        };
        let linux = self.spec.linux().as_ref();
        let uids = linux
            .and_then(|linux| linux.uid_mappings().as_deref())
            .unwrap_or(&[]);
        let gids = linux
            .and_then(|linux| linux.gid_mappings().as_deref())
            .unwrap_or(&[]);
        source.ancestors().skip(1).all(|above| {
            let Ok(meta) = fs::metadata(above) else {
                return true;
            };
            let (owner, group) = (is_mapped(uids, meta.uid()), is_mapped(gids, meta.gid()));
            let is_root = |maps: &[LinuxIdMapping], id| host_root(maps) == Some(id);
            // capabilities(7): CAP_DAC_OVERRIDE counts where both ids are mapped.
            (owner && group)
                || meta.mode() & 0o001 != 0
                || (meta.mode() & 0o100 != 0 && is_root(uids, meta.uid()))
                || (meta.mode() & 0o010 != 0 && is_root(gids, meta.gid()))
        })
    }
}

/// Maps the ids of a detached mount.
pub fn map_ids(
    tree: BorrowedFd,
    namespace: &OwnedFd,
    options: &MountOptions,
    source: &Path,
) -> Result<(), MountError> {
    let attr = MountAttr {
        set: ATTR_IDMAP,
        userns_fd: namespace.as_raw_fd() as u64,
        ..MountAttr::default()
    };
    let reach = match options.idmap {
        Idmap::Tree => Reach::Tree,
        Idmap::One | Idmap::None => Reach::One,
    };
    set_attributes(tree, reach, &attr).map_err(|errno| MountError::Idmap {
        path: source.into(),
        source: Refusal(errno),
    })
}

fn maps(spec: &Spec, mount: &Mount) -> Maps {
    if let (Some(uid), Some(gid)) = (mount.uid_mappings(), mount.gid_mappings()) {
        return Maps::Texts {
            uid: text(uid),
            gid: text(gid),
        };
    }
    if let Some(Some(path)) = namespace(spec, LinuxNamespaceType::User) {
        return Maps::Join(path.to_owned());
    }
    let linux = spec.linux().as_ref();
    let uid = linux.and_then(|linux| linux.uid_mappings().as_deref());
    let gid = linux.and_then(|linux| linux.gid_mappings().as_deref());
    Maps::Texts {
        uid: text(uid.unwrap_or(&[])),
        gid: text(gid.unwrap_or(&[])),
    }
}

/// As `/proc/PID/uid_map` takes it, user_namespaces(7).
fn text(maps: &[LinuxIdMapping]) -> String {
    let line =
        |map: &LinuxIdMapping| format!("{} {} {}\n", map.container_id(), map.host_id(), map.size());
    maps.iter().map(line).collect()
}

fn is_mapped(maps: &[LinuxIdMapping], id: u32) -> bool {
    let within = |map: &LinuxIdMapping| {
        id.checked_sub(map.host_id())
            .is_some_and(|off| off < map.size())
    };
    maps.iter().any(within)
}

/// The host's id of the container's root.
fn host_root(maps: &[LinuxIdMapping]) -> Option<u32> {
    let root = maps
        .iter()
        .find(|map| map.container_id() == 0 && map.size() > 0)?;
    Some(root.host_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(container: u32, host: u32, size: u32) -> LinuxIdMapping {
        oci_spec::runtime::LinuxIdMappingBuilder::default()
            .container_id(container)
            .host_id(host)
            .size(size)
            .build()
            .unwrap()
    }

    #[test]
    fn a_map_is_written_as_the_kernel_reads_it() {
        let maps = [map(0, 100_000, 10), map(10, 5, 1)];
        assert_eq!(text(&maps), "0 100000 10\n10 5 1\n");
    }

    #[test]
    fn only_ids_in_a_range_are_mapped() {
        let maps = [map(0, 1000, 2)];
        assert!(is_mapped(&maps, 1001));
        assert!(!is_mapped(&maps, 1002));
        assert!(!is_mapped(&maps, 0));
    }
}
