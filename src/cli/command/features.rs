//! `features`: what engines read before they rely on something, in the form of the runtime specification's features.md.
//!
//! Every line here is a promise: it is added in the same commit as the feature itself.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::Subcommand;
use crate::cli::{self, Outcome, version};
use crate::lifecycle::Runtime;

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
    mount_options: Names,
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
    actions: Names,
    operators: Names,
    archs: Names,
    known_flags: Names,
    supported_flags: Names,
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
        mount_options: MOUNT_OPTIONS,
        linux: Linux {
            namespaces: NAMESPACES,
            capabilities: CAPABILITIES,
            cgroup: Cgroup {
                v1: true,
                v2: true,
                systemd: false,
                systemd_user: false,
                rdma: false,
            },
            seccomp: Seccomp {
                enabled: true,
                actions: SECCOMP_ACTIONS,
                operators: SECCOMP_OPERATORS,
                archs: SECCOMP_ARCHITECTURES,
                known_flags: SECCOMP_FLAGS,
                supported_flags: SECCOMP_FLAGS,
            },
            apparmor: Enabled { enabled: true },
            selinux: Enabled { enabled: true },
            intel_rdt: Enabled { enabled: false },
            mount_extensions: MountExtensions {
                idmap: Enabled { enabled: true },
            },
        },
        annotations: BTreeMap::from([
            (
                "io.github.seccomp.libseccomp.version",
                version::libseccomp(),
            ),
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

/// The options that `launch::rootfs` takes on every mount; what else a mount has goes to its file system.
const MOUNT_OPTIONS: Names = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
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

// The names of the runtime specification's config-linux.md that the filter compiler takes.

const SECCOMP_ACTIONS: Names = &[
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

const SECCOMP_OPERATORS: Names = &[
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

const SECCOMP_ARCHITECTURES: Names = &[
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

const SECCOMP_FLAGS: Names = &[
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_LOG",
];

/// Annotations, or beginnings of them, that change what this runtime does: an engine must not take them from an image.
const UNSAFE_ANNOTATIONS: Names = &["bundle", "module.wasm.image/variant", "run.oci."];

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
