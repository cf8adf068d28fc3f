//! `features`: what engines read before they rely on something, in the form of the runtime specification's features.md.
//!
//! Every line here is a promise: it is added in the same commit as the feature itself.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::Subcommand;
use crate::cli::{self, Outcome, version};
use crate::launch::rootfs::known_mount_options;
use crate::lifecycle::Runtime;
use crate::seccomp;

#[derive(Debug, Args)]
pub(super) struct Features {}

impl Subcommand for Features {
    const NAME: &'static str = "features";
    const ABOUT: &'static str = "show what this runtime can do";
    const OPERANDS: &'static str = "";
    const COUNT: (usize, usize) = (0, 0);
    const DETAILS: &'static str = "\
Prints JSON in the form of features.md of the OCI runtime specification.";

    fn run(self, _runtime: &Runtime) -> Outcome {
        let mut text = Vec::new();
        let four_blanks = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut writer = serde_json::Serializer::with_formatter(&mut text, four_blanks);
        document().serialize(&mut writer)?;
        text.push(b'\n');
        cli::print(&text)
    }
}

type Names = &'static [&'static str];

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: Names,
    mount_options: Vec<&'static str>,
    linux: Linux,
    annotations: BTreeMap<&'static str, String>,
    potentially_unsafe_config_annotations: Names,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: Names,
    capabilities: Names,
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    intel_rdt: Enabled,
    mount_extensions: MountExtensions,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: Vec<&'static str>,
    operators: Vec<&'static str>,
    archs: Vec<&'static str>,
    known_flags: Vec<&'static str>,
    supported_flags: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Debug, Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

fn document() -> Document {
    Document {
        oci_version_min: "1.0.0",
        oci_version_max: version::SPECIFICATION,
        hooks: HOOKS,
        mount_options: known_mount_options(),
        linux: Linux {
            namespaces: NAMESPACES,
            capabilities: CAPABILITIES,
            cgroup: Cgroup {
                v1: true,
                v2: true,
                systemd: false,
                systemd_user: false,
                rdma: true,
            },
            seccomp: Seccomp {
                // Whether this program can filter, whatever the kernel can.
                enabled: true,
                actions: seccomp::known_actions(),
                operators: seccomp::known_operators(),
                archs: seccomp::known_architectures(),
                known_flags: seccomp::known_flags(),
                supported_flags: seccomp::supported_flags(),
            },
            apparmor: Enabled { enabled: true },
            selinux: Enabled { enabled: true },
            intel_rdt: Enabled { enabled: false },
            mount_extensions: MountExtensions {
                idmap: Enabled { enabled: true },
            },
        },
        annotations: BTreeMap::from([
            // containerd and others ask under runc's name whether there is a `checkpoint`.
            (
                "org.opencontainers.runc.checkpoint.enabled",
                false.to_string(),
            ),
        ]),
        potentially_unsafe_config_annotations: UNSAFE_ANNOTATIONS,
    }
}

const HOOKS: Names = &[
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

const NAMESPACES: Names = &[
    "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts",
];

/// capabilities(7), in the order of their numbers.
const CAPABILITIES: Names = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Annotations, or beginnings of them, that change what this runtime does: an engine must not take them from an image.
const UNSAFE_ANNOTATIONS: Names = &[wasm_handler::choice::VARIANT, "run.oci."];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_find_the_keys_that_they_look_for() {
        let value = serde_json::to_value(document()).unwrap();
        let options = value["mountOptions"].as_array().unwrap();
        assert!(options.contains(&"rro".into()));
        assert_eq!(value["linux"]["mountExtensions"]["idmap"]["enabled"], true);
        assert_eq!(value["linux"]["cgroup"]["systemdUser"], false);
        assert_eq!(value["linux"]["intelRdt"]["enabled"], false);
        assert!(value["linux"]["seccomp"]["knownFlags"].is_array());
        assert!(value["potentiallyUnsafeConfigAnnotations"].is_array());
        assert_eq!(
            value["annotations"]["org.opencontainers.runc.checkpoint.enabled"],
            "false"
        );
    }
}
