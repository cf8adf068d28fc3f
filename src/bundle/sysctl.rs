//! Which kernel parameters a container may set: those of its own namespaces.

use oci_spec::runtime::{LinuxNamespaceType as Kind, Spec};

use super::SpecExt;

/// Why a kernel parameter cannot be set for a container. The wording is runc's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SysctlError {
    #[error("sysctl {name:?} is not allowed in the hosts ipc namespace")]
    HostIpc { name: String },
    #[error("sysctl {name:?} not allowed in host network namespace")]
    HostNetwork { name: String },
    #[error("sysctl {name:?} is not allowed as it conflicts with the OCI \"hostname\" field")]
    Hostname { name: String },
    #[error("sysctl {name:?} is not in a separate kernel namespace")]
    NotNamespaced { name: String },
}

/// Parameters of the IPC namespace (ipc_namespaces(7)); those of message queues are below fs.mqueue.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Checks that a parameter belongs to a namespace which the container does not share with the host.
///
/// # Errors
/// See [`SysctlError`].
pub fn check(name: &str, spec: &Spec) -> Result<(), SysctlError> {
    let dotted = path_of(name).replace('/', ".");
    let name = name.to_owned();
    if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        return if spec.has_namespace(Kind::Ipc) {
            Ok(())
        } else {
            Err(SysctlError::HostIpc { name })
        };
    }
    if dotted.starts_with("net.") {
        return if shares_host_network(spec) {
            Err(SysctlError::HostNetwork { name })
        } else {
            Ok(())
        };
    }
    match dotted.as_str() {
        "kernel.domainname" if spec.has_namespace(Kind::Uts) => Ok(()),
        "kernel.hostname" if spec.has_namespace(Kind::Uts) => Err(SysctlError::Hostname { name }),
        _ if dotted.starts_with("user.") && spec.has_namespace(Kind::User) => Ok(()),
        _ => Err(SysctlError::NotNamespaced { name }),
    }
}

/// A network namespace that is joined by path may be the host's own.
fn shares_host_network(spec: &Spec) -> bool {
    use std::os::unix::fs::MetadataExt;
    match spec.namespaces().get(&Kind::Network) {
        None => true,
        Some(None) => false,
        Some(Some(path)) => {
            let identity = |path: &std::path::Path| {
                std::fs::metadata(path)
                    .ok()
                    .map(|stat| (stat.dev(), stat.ino()))
            };
            identity(path).is_some()
                && identity(path) == identity(std::path::Path::new("/proc/self/ns/net"))
        }
    }
}

/// The file of a parameter below /proc/sys. As sysctl(8) has it, the first separator of a name tells whether dots or slashes
/// part it; the other character then stands for itself in a component (an interface `eth0.1`).
#[must_use]
pub fn path_of(name: &str) -> String {
    let first = name.find(['.', '/']).map(|at| name.as_bytes()[at]);
    if first == Some(b'/') {
        return name.to_owned();
    }
    let swap = |character| match character {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    name.chars().map(swap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(kinds: &[&str]) -> Spec {
        let namespaces: Vec<_> = kinds
            .iter()
            .map(|kind| serde_json::json!({"type": kind}))
            .collect();
        let config =
            serde_json::json!({"ociVersion": "1.0.2", "linux": {"namespaces": namespaces}});
        crate::bundle::parse(config.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn only_what_belongs_to_an_own_namespace_may_be_set() {
        let all = spec(&["ipc", "network", "uts"]);
        for good in [
            "net.ipv4.ip_forward",
            "net/ipv4/ip_forward",
            "kernel.shmmax",
            "fs.mqueue.msg_max",
            "kernel.domainname",
        ] {
            assert_eq!(check(good, &all), Ok(()), "{good}");
        }
        for bad in [
            "kernel.hostname",
            "vm.swappiness",
            "kernel.core_pattern",
            "user.max_user_namespaces",
            "fs.file-max",
        ] {
            assert!(check(bad, &all).is_err(), "{bad}");
        }
        let none = spec(&[]);
        for bad in [
            "net.ipv4.ip_forward",
            "kernel.shmmax",
            "fs.mqueue.msg_max",
            "kernel.domainname",
        ] {
            assert!(check(bad, &none).is_err(), "{bad}");
        }
    }

    #[test]
    fn both_separators_lead_to_the_same_file() {
        assert_eq!(path_of("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path_of("net/ipv4/ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(
            path_of("net.ipv4.conf.eth0/1.forwarding"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
    }
}
