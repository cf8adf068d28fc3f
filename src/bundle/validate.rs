//! The rules that a config has to keep, as far as the document alone can tell.

use std::collections::HashSet;
use std::path::PathBuf;

use oci_spec::runtime::{Linux, LinuxNamespaceType, Process, Spec};

use super::SpecExt;
use crate::launch::rootfs::{self, RootfsError, SysctlError, check_sysctls};

/// Which rule of the runtime specification (or of the kernel) a config breaks.
///
/// Where runc has a wording for it, it is runc's: engines and tests look for those words.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    #[error("ociVersion {version:?} is not supported (1.0.0 to 1.x are)")]
    Version { version: String },
    #[error("process property must not be empty")]
    NoProcess,
    #[error("args must not be empty")]
    NoArgs,
    #[error("Cwd property must not be empty")]
    NoCwd,
    #[error("Cwd must be an absolute path, not {cwd:?}")]
    RelativeCwd { cwd: PathBuf },
    #[error("root property must not be empty")]
    NoRoot,
    #[error("linux property must not be empty")]
    NoLinux,
    #[error("{what} holds a null byte")]
    NullByte { what: &'static str },
    #[error("malformed spec file: duplicated ns {kind:?}")]
    DuplicateNamespace { kind: String },
    #[error("namespace path {path:?} is not absolute")]
    RelativeNamespace { path: PathBuf },
    #[error("unable to set {what} without a private UTS namespace")]
    NoUts { what: &'static str },
    #[error("unable to restrict sys entries without a private MNT namespace")]
    NoMount,
    #[error("user namespace mappings specified, but USER namespace isn't enabled in the config")]
    MapsWithoutUser,
    #[error("a new user namespace needs linux.uidMappings and linux.gidMappings")]
    UserWithoutMaps,
    #[error("time namespace offsets specified, but TIME namespace isn't enabled in the config")]
    OffsetsWithoutTime,
    #[error("rlimit {kind} is given twice")]
    DuplicateRlimit { kind: String },
    #[error("hook path {path:?} is not absolute")]
    RelativeHook { path: PathBuf },
    #[error("hook {path:?} has the timeout {timeout}, it must be greater than zero")]
    HookTimeout { path: PathBuf, timeout: i64 },
    #[error("{property} is not supported yet (take it out of config.json)")]
    Unsupported { property: &'static str },
    #[error("linux.sysctl")]
    Sysctl(#[source] SysctlError),
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
}

/// Checks a whole config.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(spec: &Spec) -> Result<(), Invalid> {
    check_version(spec.version())?;
    check_process(spec.process().as_ref().ok_or(Invalid::NoProcess)?)?;
    spec.root().as_ref().ok_or(Invalid::NoRoot)?;
    let linux = spec.linux().as_ref().ok_or(Invalid::NoLinux)?;
    check_namespaces(spec, linux)?;
    check_hooks(spec)?;
    refuse_unsupported(linux)
}

/// config.md, "Specification version": SemVer 2.0.0, and 1.x configs are compatible with each other.
fn check_version(version: &str) -> Result<(), Invalid> {
    match version.split_once('.') {
        Some(("1", _)) => Ok(()),
        _ => Err(Invalid::Version {
            version: version.into(),
        }),
    }
}

/// Checks a process: that of the config, or the one of an `exec`.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_process(process: &Process) -> Result<(), Invalid> {
    let args = process.args().as_deref().unwrap_or_default();
    if args.is_empty() {
        return Err(Invalid::NoArgs);
    }
    let cwd = process.cwd();
    if cwd.as_os_str().is_empty() {
        return Err(Invalid::NoCwd);
    }
    if !cwd.is_absolute() {
        return Err(Invalid::RelativeCwd { cwd: cwd.clone() });
    }
    // execve(2) takes C strings: a null byte would cut the string short without a word.
    let env = process.env().as_deref().unwrap_or_default();
    for (what, list) in [("process.args", args), ("process.env", env)] {
        if list.iter().any(|text| text.contains('\0')) {
            return Err(Invalid::NullByte { what });
        }
    }
    let mut kinds = HashSet::new();
    for limit in process.rlimits().iter().flatten() {
        if !kinds.insert(limit.typ() as i32) {
            return Err(Invalid::DuplicateRlimit {
                kind: limit.typ().to_string(),
            });
        }
    }
    Ok(())
}

fn check_namespaces(spec: &Spec, linux: &Linux) -> Result<(), Invalid> {
    let mut kinds = HashSet::new();
    for namespace in linux.namespaces().iter().flatten() {
        if !kinds.insert(namespace.typ()) {
            return Err(Invalid::DuplicateNamespace {
                kind: namespace.typ().to_string(),
            });
        }
    }
    let namespaces = spec.namespaces();
    if let Some(path) = namespaces
        .values()
        .flatten()
        .find(|path| !path.is_absolute())
    {
        return Err(Invalid::RelativeNamespace { path: path.clone() });
    }
    let filled = |name: &Option<String>| name.as_ref().is_some_and(|name| !name.is_empty());
    if !kinds.contains(&LinuxNamespaceType::Uts) {
        for (what, name) in [
            ("hostname", spec.hostname()),
            ("domainname", spec.domainname()),
        ] {
            if filled(name) {
                return Err(Invalid::NoUts { what });
            }
        }
    }
    let restricts =
        |paths: &Option<Vec<String>>| paths.as_ref().is_some_and(|paths| !paths.is_empty());
    if !kinds.contains(&LinuxNamespaceType::Mount)
        && (restricts(linux.masked_paths()) || restricts(linux.readonly_paths()))
    {
        return Err(Invalid::NoMount);
    }
    let mapped = |maps: &Option<Vec<_>>| maps.as_ref().is_some_and(|maps| !maps.is_empty());
    let (uids, gids) = (mapped(linux.uid_mappings()), mapped(linux.gid_mappings()));
    match namespaces.get(&LinuxNamespaceType::User) {
        None if uids || gids => return Err(Invalid::MapsWithoutUser),
        Some(None) if !(uids && gids) => return Err(Invalid::UserWithoutMaps),
        _ => {}
    }
    let offsets = linux
        .time_offsets()
        .as_ref()
        .is_some_and(|offsets| !offsets.is_empty());
    if offsets && !kinds.contains(&LinuxNamespaceType::Time) {
        return Err(Invalid::OffsetsWithoutTime);
    }
    check_sysctls(spec).map_err(Invalid::Sysctl)?;
    Ok(rootfs::check(spec)?)
}

/// config.md, "POSIX-platform Hooks": absolute paths, a timeout greater than zero.
fn check_hooks(spec: &Spec) -> Result<(), Invalid> {
    let Some(hooks) = spec.hooks() else {
        return Ok(());
    };
    let kinds = [
        hooks.prestart(),
        hooks.create_runtime(),
        hooks.create_container(),
        hooks.start_container(),
        hooks.poststart(),
        hooks.poststop(),
    ];
    for hook in kinds.into_iter().flatten().flatten() {
        let path = hook.path().clone();
        if !path.is_absolute() {
            return Err(Invalid::RelativeHook { path });
        }
        if let Some(timeout) = hook.timeout().filter(|timeout| *timeout <= 0) {
            return Err(Invalid::HookTimeout { path, timeout });
        }
    }
    Ok(())
}

/// What a config can ask for and this version cannot give. Refused, so that nobody believes to have it.
fn refuse_unsupported(linux: &Linux) -> Result<(), Invalid> {
    let devices = linux
        .net_devices()
        .as_ref()
        .is_some_and(|devices| !devices.is_empty());
    let unsupported = [
        (linux.intel_rdt().is_some(), "linux.intelRdt"),
        (devices, "linux.netDevices"),
    ];
    match unsupported.into_iter().find(|(asked, _)| *asked) {
        Some((_, property)) => Err(Invalid::Unsupported { property }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(change: impl FnOnce(&mut serde_json::Value)) -> Result<(), Invalid> {
        let mut config = serde_json::json!({
            "ociVersion": "1.2.0",
            "process": {"cwd": "/", "args": ["true"], "user": {"uid": 0, "gid": 0}},
            "root": {"path": "rootfs"},
            "linux": {"namespaces": [{"type": "mount"}, {"type": "uts"}]},
        });
        change(&mut config);
        check(&crate::bundle::parse(config.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn a_small_config_is_valid() {
        verdict(|_| {}).unwrap();
    }

    #[test]
    fn each_broken_rule_is_named() {
        type Change = fn(&mut serde_json::Value);
        let cases: [(Change, &str); 12] = [
            (|c| c["ociVersion"] = "2.0.0".into(), "ociVersion"),
            (
                |c| c["process"]["args"] = serde_json::json!([]),
                "args must not be empty",
            ),
            (|c| c["process"]["cwd"] = "rel".into(), "absolute"),
            (
                |c| c["process"]["env"] = serde_json::json!(["A=\0"]),
                "null byte",
            ),
            (|c| c["root"] = serde_json::Value::Null, "root property"),
            (
                |c| {
                    c["linux"]["namespaces"] = serde_json::json!([{"type": "pid"}, {"type": "pid"}])
                },
                "duplicated",
            ),
            (
                |c| c["linux"]["namespaces"][0]["path"] = "proc/1/ns/mnt".into(),
                "absolute",
            ),
            (
                |c| {
                    c["hostname"] = "x".into();
                    c["linux"]["namespaces"] = serde_json::json!([]);
                },
                "UTS",
            ),
            (
                |c| {
                    c["linux"]["uidMappings"] =
                        serde_json::json!([{"hostID": 0, "containerID": 0, "size": 1}])
                },
                "USER",
            ),
            (
                |c| c["linux"]["namespaces"][0]["type"] = "user".into(),
                "uidMappings",
            ),
            (
                |c| c["hooks"] = serde_json::json!({"poststop": [{"path": "x"}]}),
                "absolute",
            ),
            (
                |c| c["linux"]["intelRdt"] = serde_json::json!({"closID": "a"}),
                "linux.intelRdt",
            ),
        ];
        for (change, expected) in cases {
            let error = verdict(change).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        }
    }
}
