//! The id maps of a new user namespace (user_namespaces(7)).

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use oci_spec::runtime::{LinuxIdMapping, Spec};

/// Why the maps cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum UserMapError {
    #[error("cannot write {path:?}")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot run {program}, which maps ids for users without privileges (package uidmap)")]
    Helper {
        program: &'static str,
        source: io::Error,
    },
    #[error("{program} refused the mapping: {output}")]
    Refused {
        program: &'static str,
        output: String,
    },
}

/// Writes both maps of the process `pid`, which is in the new user namespace.
///
/// Root writes them itself; anybody else may write one line that maps his own id, and has newuidmap(1) and
/// newgidmap(1) write more.
///
/// # Errors
/// See [`UserMapError`].
pub fn write(spec: &Spec, pid: i32) -> Result<(), UserMapError> {
    let Some(linux) = spec.linux() else {
        return Ok(());
    };
    let uids = linux.uid_mappings().as_deref().unwrap_or_default();
    let gids = linux.gid_mappings().as_deref().unwrap_or_default();
    if nix::unistd::geteuid().is_root() {
        write_file(pid, "uid_map", &lines(uids))?;
        return write_file(pid, "gid_map", &lines(gids));
    }
    if is_own_id_only(uids, nix::unistd::geteuid().as_raw()) {
        write_file(pid, "uid_map", &lines(uids))?;
    } else {
        run_helper("newuidmap", pid, uids)?;
    }
    if is_own_id_only(gids, nix::unistd::getegid().as_raw()) {
        // Without this a process could leave a group that is denied something (CVE-2014-8989).
        write_file(pid, "setgroups", "deny")?;
        write_file(pid, "gid_map", &lines(gids))
    } else {
        run_helper("newgidmap", pid, gids)
    }
}

fn is_own_id_only(maps: &[LinuxIdMapping], own: u32) -> bool {
    matches!(maps, [map] if map.size() == 1 && map.host_id() == own)
}

fn lines(maps: &[LinuxIdMapping]) -> String {
    maps.iter().fold(String::new(), |mut text, map| {
        writeln!(
            text,
            "{} {} {}",
            map.container_id(),
            map.host_id(),
            map.size()
        )
        .expect("a string takes any write");
        text
    })
}

fn write_file(pid: i32, name: &str, text: &str) -> Result<(), UserMapError> {
    let path = PathBuf::from(format!("/proc/{pid}/{name}"));
    fs::write(&path, text).map_err(|source| UserMapError::Write { path, source })
}

fn run_helper(
    program: &'static str,
    pid: i32,
    maps: &[LinuxIdMapping],
) -> Result<(), UserMapError> {
    let numbers = maps
        .iter()
        .flat_map(|map| [map.container_id(), map.host_id(), map.size()]);
    let output = Command::new(program)
        .arg(pid.to_string())
        .args(numbers.map(|number| number.to_string()))
        .output()
        .map_err(|source| UserMapError::Helper { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(UserMapError::Refused {
        program,
        output: String::from_utf8_lossy(&output.stderr).trim().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::LinuxIdMappingBuilder;

    #[test]
    fn a_map_is_written_container_id_first() {
        let map = LinuxIdMappingBuilder::default()
            .container_id(0_u32)
            .host_id(100_000_u32)
            .size(65_536_u32);
        assert_eq!(lines(&[map.build().unwrap()]), "0 100000 65536\n");
    }
}
