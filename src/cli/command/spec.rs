//! `spec`

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::{getegid, geteuid};

use super::Subcommand;
use crate::cli::{Outcome, version};
use crate::lifecycle::Runtime;

#[derive(Debug, Args)]
pub(super) struct Spec {
    /// directory to write config.json into (default: the current directory)
    #[arg(long, short)]
    bundle: Option<PathBuf>,
    /// write a configuration that needs no root privilege
    #[arg(long)]
    rootless: bool,
}

/// Why config.json was not written.
#[derive(Debug, thiserror::Error)]
enum SpecError {
    #[error("File config.json exists. Remove it first")]
    Exists,
    #[error("cannot write {path:?}")]
    Write { path: PathBuf, source: io::Error },
}

impl Subcommand for Spec {
    const NAME: &'static str = "spec";
    const ABOUT: &'static str = "write a config.json to start from";
    const OPERANDS: &'static str = "";
    const COUNT: (usize, usize) = (0, 0);
    const DETAILS: &'static str = "\
Writes config.json for a container that runs \"sh\" on a terminal, in the root file
system \"rootfs\" beside it. Edit process.args to run something else.";

    fn run(self, runtime: &Runtime) -> Outcome {
        let path = self.bundle.unwrap_or_default().join("config.json");
        let host = Host {
            name: &runtime.name,
            unified_cgroups: has_unified_cgroups(),
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
        };
        let text = match self.rootless {
            true => fill(include_str!("spec/config-rootless.json.template"), &host)?,
            false => fill(include_str!("spec/config.json.template"), &host)?,
        };
        write_new(&path, &text)?;
        Ok(0)
    }
}

/// What of the host and the caller the configuration depends on.
struct Host<'a> {
    name: &'a str,
    unified_cgroups: bool,
    uid: u32,
    gid: u32,
}

/// The templates are runc's own output byte for byte, apart from the marked places: tools and tests edit it by text.
fn fill(template: &str, host: &Host) -> serde_json::Result<String> {
    let cgroup_namespace = match host.unified_cgroups {
        true => ",\n\t\t\t{\n\t\t\t\t\"type\": \"cgroup\"\n\t\t\t}",
        false => "",
    };
    Ok(template
        .replace(
            "@OCI_VERSION@",
            &serde_json::to_string(version::SPECIFICATION)?,
        )
        .replace("@HOSTNAME@", &serde_json::to_string(host.name)?)
        .replace("@CGROUP_NAMESPACE@", cgroup_namespace)
        .replace("@UID@", &host.uid.to_string())
        .replace("@GID@", &host.gid.to_string()))
}

/// Whether the host has cgroup v2 only.
fn has_unified_cgroups() -> bool {
    statfs("/sys/fs/cgroup").is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC)
}

fn write_new(path: &Path, text: &str) -> Result<(), SpecError> {
    let failed = |source| SpecError::Write {
        path: path.to_owned(),
        source,
    };
    let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(SpecError::Exists);
        }
        Err(error) => return Err(failed(error)),
    };
    file.write_all(text.as_bytes()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn spec(template: &str, unified_cgroups: bool) -> Value {
        let host = Host {
            name: "runc",
            unified_cgroups,
            uid: 1000,
            gid: 100,
        };
        serde_json::from_str(&fill(template, &host).unwrap()).unwrap()
    }

    fn namespaces(spec: &Value) -> Vec<&str> {
        let list = spec["linux"]["namespaces"].as_array().unwrap();
        list.iter().map(|ns| ns["type"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_cgroup_namespace_is_asked_for_on_unified_cgroups_only() {
        let template = include_str!("spec/config.json.template");
        let common = ["pid", "network", "ipc", "uts", "mount"];
        assert_eq!(namespaces(&spec(template, false)), common);
        let mut unified = common.to_vec();
        unified.push("cgroup");
        assert_eq!(namespaces(&spec(template, true)), unified);
    }

    #[test]
    fn a_rootless_spec_maps_the_caller_to_root() {
        let spec = spec(include_str!("spec/config-rootless.json.template"), true);
        assert_eq!(spec["linux"]["uidMappings"][0]["hostID"], 1000);
        assert_eq!(spec["linux"]["gidMappings"][0]["hostID"], 100);
        assert_eq!(
            namespaces(&spec),
            ["pid", "ipc", "uts", "mount", "cgroup", "user"]
        );
    }

    #[test]
    fn a_name_with_a_quote_stays_a_string() {
        let host = Host {
            name: "a\"b",
            unified_cgroups: false,
            uid: 0,
            gid: 0,
        };
        let text = fill(include_str!("spec/config.json.template"), &host).unwrap();
        let spec: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(spec["hostname"], "a\"b");
    }
}
