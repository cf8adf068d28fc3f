//! `linux.sysctl`: only what belongs to a namespace of the container's own, written through a verified /proc.

#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use crate::launch::rootfs::procfs::{ProcError, ProcHandle};
use crate::launch::rootfs::{has_namespace, namespace};

/// namespaces(7), ipc_namespaces(7).
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// Why a sysctl is not written.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    #[error("invalid sysctl name {0:?}")]
    Name(String),
    #[error("sysctl {0:?} is not allowed in the hosts ipc namespace")]
    HostIpc(String),
    #[error("sysctl {0:?} not allowed in host network namespace")]
    HostNetwork(String),
    #[error("invalid netns path {path:?}")]
    NetworkNamespace { path: PathBuf, source: io::Error },
    #[error("sysctl {0:?} is not allowed as it conflicts with the OCI \"hostname\" field")]
    Hostname(String),
    #[error("sysctl {0:?} is not in a separate kernel namespace")]
    NotNamespaced(String),
    #[error("failed to write sysctl {name} = {value:?}")]
    Write {
        name: String,
        value: String,
        #[source]
        cause: ProcError,
    },
}

/// Checks all sysctls of a config; to be called on the host, before anything is made.
pub fn check_sysctls(spec: &Spec) -> Result<(), SysctlError> {
    let linux = spec.linux().as_ref();
    let Some(sysctls) = linux.and_then(|linux| linux.sysctl().as_ref()) else {
        return Ok(());
    };
    let paths: Result<Vec<_>, _> = sysctls.keys().map(|name| Ok((name, path(name)?))).collect();
    let paths = paths?;
    let network = paths.iter().any(|(_, path)| path.starts_with("net/"));
    let own = Own {
        ipc: has_namespace(spec, LinuxNamespaceType::Ipc),
        uts: has_namespace(spec, LinuxNamespaceType::Uts),
        user: has_namespace(spec, LinuxNamespaceType::User),
        network: network && own_network(spec)?,
    };
    let check = |(name, path): &(&String, String)| allow(name, path, &own);
    paths.iter().try_for_each(check)
}

/// Writes one sysctl that [`check_sysctls`] has passed.
pub fn write_sysctl(proc: &ProcHandle, name: &str, value: &str) -> Result<(), SysctlError> {
    let file = Path::new("sys").join(path(name)?);
    proc.write(&file, value)
        .map_err(|cause| SysctlError::Write {
            name: name.to_owned(),
            value: value.to_owned(),
            cause,
        })
}

/// Namespaces that are not the host's.
struct Own {
    ipc: bool,
    uts: bool,
    user: bool,
    network: bool,
}

fn allow(name: &str, path: &str, own: &Own) -> Result<(), SysctlError> {
    let refused = |wrap: fn(String) -> SysctlError| Err(wrap(name.to_owned()));
    if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        return match own.ipc {
            true => Ok(()),
            false => refused(SysctlError::HostIpc),
        };
    }
    if path.starts_with("net/") {
        return match own.network {
            true => Ok(()),
            false => refused(SysctlError::HostNetwork),
        };
    }
    match path {
        "kernel/domainname" if own.uts => Ok(()),
        "kernel/hostname" if own.uts => refused(SysctlError::Hostname),
        // user_namespaces(7): limits below the namespace.
        limit if limit.starts_with("user/") && own.user => Ok(()),
        _ => refused(SysctlError::NotNamespaced),
    }
}

/// The file below /proc/sys. As sysctl.d(5) has it, either sign separates, the first one in the name decides which,
/// and the other one then stands for a dot: `net.ipv4.conf.eth0/1.forwarding` and `net/ipv4/conf/eth0.1/forwarding`.
fn path(name: &str) -> Result<String, SysctlError> {
    let dotted = name
        .find(['.', '/'])
        .is_some_and(|first| name.as_bytes()[first] == b'.');
    let path: String = match dotted {
        true => name.chars().map(swap).collect(),
        false => name.to_owned(),
    };
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    // `net/../kernel/panic` would begin like a network sysctl.
    match path.split('/').all(plain) {
        true => Ok(path),
        false => Err(SysctlError::Name(name.to_owned())),
    }
}

fn swap(sign: char) -> char {
    match sign {
        '.' => '/',
        '/' => '.',
        other => other,
    }
}

/// Whether the container's network namespace is another than the one this process is in.
fn own_network(spec: &Spec) -> Result<bool, SysctlError> {
    let path = match namespace(spec, LinuxNamespaceType::Network) {
        None => return Ok(false),
        Some(None) => return Ok(true),
        Some(Some(path)) => path,
    };
    let identity = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    let error = |source| SysctlError::NetworkNamespace {
        path: path.to_owned(),
        source,
    };
    let theirs = identity(path).map_err(error)?;
    let ours = identity(Path::new("/proc/self/ns/net")).map_err(error)?;
    Ok(theirs != ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Own = Own {
        ipc: true,
        uts: true,
        user: true,
        network: true,
    };
    const NONE: Own = Own {
        ipc: false,
        uts: false,
        user: false,
        network: false,
    };

    fn allowed(name: &str, own: &Own) -> bool {
        path(name).and_then(|path| allow(name, &path, own)).is_ok()
    }

    #[test]
    fn namespaced_sysctls_need_their_namespace() {
        for name in [
            "kernel.shmmax",
            "fs.mqueue.msg_max",
            "net.ipv4.ip_forward",
            "net/ipv4/ip_forward",
            "kernel.domainname",
            "user.max_user_namespaces",
        ] {
            assert!(allowed(name, &ALL), "{name}");
            assert!(!allowed(name, &NONE), "{name}");
        }
    }

    #[test]
    fn sysctls_of_the_whole_host_are_refused() {
        for name in [
            "kernel.panic",
            "vm.swappiness",
            "kernel.hostname",
            "fs.file-max",
            "",
        ] {
            assert!(!allowed(name, &ALL), "{name}");
        }
    }

    #[test]
    fn a_name_cannot_climb_out_of_its_namespace() {
        for name in [
            "net/../kernel/panic",
            "net..kernel.panic",
            "/net/x",
            "net/./x",
            "net/",
        ] {
            assert!(matches!(path(name), Err(SysctlError::Name(_))), "{name}");
        }
    }

    #[test]
    fn the_first_separator_decides() {
        let expected = "net/ipv4/conf/eth0.1/forwarding";
        assert_eq!(path("net.ipv4.conf.eth0/1.forwarding").unwrap(), expected);
        assert_eq!(path("net/ipv4/conf/eth0.1/forwarding").unwrap(), expected);
    }

    #[test]
    fn the_hosts_network_namespace_by_path_is_not_the_containers_own() {
        let spec: Spec = serde_json::from_value(serde_json::json!({
            "ociVersion": "1.2.0",
            "linux": {
                "namespaces": [{"type": "network", "path": "/proc/self/ns/net"}],
                "sysctl": {"net.ipv4.ip_forward": "1"}
            }
        }))
        .unwrap();
        assert!(matches!(
            check_sysctls(&spec),
            Err(SysctlError::HostNetwork(_))
        ));
    }
}
