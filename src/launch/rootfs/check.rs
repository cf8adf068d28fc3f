//! What can be said against a config before anything is made. Pure.

#![forbid(unsafe_code)]

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};

use crate::launch::rootfs::dev;
use crate::launch::rootfs::error::{InvalidMount, RootfsError};
use crate::launch::rootfs::has_namespace;
use crate::launch::rootfs::options::{MountOptions, Propagation};

/// Checks everything of the config that this module will act on.
pub fn check(spec: &Spec) -> Result<(), RootfsError> {
    for mount in spec.mounts().iter().flatten() {
        check_mount(spec, mount).map_err(|reason| RootfsError::InvalidMount {
            destination: mount.destination().clone(),
            reason,
        })?;
    }
    let propagation = root_propagation(spec)?;
    dev::check(spec).map_err(RootfsError::Dev)?;
    if !has_namespace(spec, LinuxNamespaceType::Mount) {
        let linux = spec.linux().as_ref();
        let present = |paths: Option<&Vec<String>>| paths.is_some_and(|paths| !paths.is_empty());
        let masked = linux.and_then(|linux| linux.masked_paths().as_ref());
        let read_only = linux.and_then(|linux| linux.readonly_paths().as_ref());
        if propagation.is_some() {
            let property = "rootfsPropagation";
            return Err(RootfsError::NoMountNamespace { property });
        }
        for (property, paths) in [("maskedPaths", masked), ("readonlyPaths", read_only)] {
            if present(paths) {
                return Err(RootfsError::NoMountNamespace { property });
            }
        }
    }
    Ok(())
}

/// `linux.rootfsPropagation`.
pub fn root_propagation(spec: &Spec) -> Result<Option<Propagation>, RootfsError> {
    let linux = spec.linux().as_ref();
    match linux.and_then(|linux| linux.rootfs_propagation().as_deref()) {
        None | Some("") => Ok(None),
        Some(word) => match Propagation::parse(word) {
            Some(propagation) => Ok(Some(propagation)),
            None => Err(RootfsError::InvalidPropagation(word.to_owned())),
        },
    }
}

fn check_mount(spec: &Spec, mount: &Mount) -> Result<(), InvalidMount> {
    let texts = [
        Some(mount.destination().as_os_str().as_bytes()),
        mount
            .source()
            .as_ref()
            .map(|source| source.as_os_str().as_bytes()),
        mount.typ().as_ref().map(|fstype| fstype.as_bytes()),
    ];
    let words = mount.options().iter().flatten().map(String::as_bytes);
    if texts
        .into_iter()
        .flatten()
        .chain(words)
        .any(|text| text.contains(&0))
    {
        return Err(InvalidMount::NullByte);
    }
    let options = MountOptions::of(mount);
    let fstype = mount.typ().as_deref().unwrap_or_default();
    if options.is_bind() {
        check_bind(spec, mount, &options)
    } else if options.is_idmapped() {
        Err(InvalidMount::IdmapNotBind)
    } else if fstype.is_empty() && !options.is_remount() {
        Err(InvalidMount::NoType)
    } else if options.copy_up && fstype != "tmpfs" {
        Err(InvalidMount::CopyUpNotTmpfs)
    } else {
        Ok(())
    }
}

fn check_bind(spec: &Spec, mount: &Mount, options: &MountOptions) -> Result<(), InvalidMount> {
    if let Some((key, _)) = options.data.first() {
        return Err(InvalidMount::BindData(key.clone()));
    }
    if options.copy_up {
        return Err(InvalidMount::CopyUpNotTmpfs);
    }
    let named = mount
        .source()
        .as_ref()
        .is_some_and(|source| *source != PathBuf::new());
    if !named && !options.is_remount() {
        return Err(InvalidMount::NoSource);
    }
    let some = |maps: &Option<Vec<_>>| maps.as_ref().is_some_and(|maps| !maps.is_empty());
    let own = (some(mount.uid_mappings()), some(mount.gid_mappings()));
    match own {
        _ if !options.is_idmapped() => Ok(()),
        (true, true) => Ok(()),
        (false, false) if has_namespace(spec, LinuxNamespaceType::User) => Ok(()),
        _ => Err(InvalidMount::IdmapWithoutMaps),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(mount: serde_json::Value) -> Option<InvalidMount> {
        let spec: Spec = serde_json::from_value(serde_json::json!({
            "ociVersion": "1.2.0", "mounts": [mount], "linux": {"namespaces": [{"type": "mount"}]}
        }))
        .unwrap();
        match check(&spec) {
            Ok(()) => None,
            Err(RootfsError::InvalidMount { reason, .. }) => Some(reason),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_bind_with_parameters_of_a_file_system_is_refused() {
        let mount =
            serde_json::json!({"destination": "/a", "source": "/b", "options": ["bind", "size=1"]});
        assert_eq!(reason(mount), Some(InvalidMount::BindData("size".into())));
    }

    #[test]
    fn a_mount_needs_a_type_or_the_option_bind() {
        let mount = serde_json::json!({"destination": "/a", "source": "/b"});
        assert_eq!(reason(mount), Some(InvalidMount::NoType));
        let mount = serde_json::json!({"destination": "/a", "source": "/b", "options": ["rbind"]});
        assert_eq!(reason(mount), None);
    }

    #[test]
    fn idmap_needs_maps() {
        let mount =
            serde_json::json!({"destination": "/a", "source": "/b", "options": ["bind", "idmap"]});
        assert_eq!(reason(mount), Some(InvalidMount::IdmapWithoutMaps));
        let mount = serde_json::json!({"destination": "/a", "type": "tmpfs", "options": ["idmap"]});
        assert_eq!(reason(mount), Some(InvalidMount::IdmapNotBind));
    }

    #[test]
    fn masked_paths_need_a_mount_namespace() {
        let spec: Spec = serde_json::from_value(serde_json::json!({
            "ociVersion": "1.2.0", "linux": {"namespaces": [], "maskedPaths": ["/proc/kcore"]}
        }))
        .unwrap();
        assert!(matches!(
            check(&spec),
            Err(RootfsError::NoMountNamespace { .. })
        ));
    }

    #[test]
    fn an_unknown_propagation_is_refused() {
        let spec: Spec = serde_json::from_value(serde_json::json!({
            "ociVersion": "1.2.0",
            "linux": {"namespaces": [{"type": "mount"}], "rootfsPropagation": "sideways"}
        }))
        .unwrap();
        assert!(matches!(
            check(&spec),
            Err(RootfsError::InvalidPropagation(_))
        ));
    }
}
