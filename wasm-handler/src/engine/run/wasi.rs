//! What a guest sees of its container: arguments, environment, directories, stdio, network.

use std::fs;
use std::path::{Path, PathBuf};

use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use super::RunError;
use crate::handoff::{Handoff, Preopen};

/// A WASI context that shows exactly what the handoff names.
///
/// The network is the container's: its namespace is the limit. Name lookup stays off, because the libc in this
/// program would load what the image's nsswitch.conf names as native code.
pub(super) fn context(handoff: &Handoff) -> Result<WasiCtxBuilder, RunError> {
    let mut builder = WasiCtxBuilder::new();
    builder
        .args(&handoff.argv)
        .initial_cwd(&handoff.cwd)
        .inherit_stdio()
        .inherit_network()
        // There is nothing else to do while the guest waits for a file.
        .allow_blocking_current_thread(true);
    for entry in &handoff.env {
        let (name, value) = entry.split_once('=').ok_or_else(|| RunError::Environment {
            entry: entry.clone(),
        })?;
        builder.env(name, value);
    }
    for preopen in preopens(handoff) {
        open(&mut builder, &preopen)?;
    }
    Ok(builder)
}

fn open(builder: &mut WasiCtxBuilder, preopen: &Preopen) -> Result<(), RunError> {
    let permissions = match preopen.read_only {
        true => FsPerms::ReadOnly,
        false => FsPerms::ReadWrite,
    };
    let opened = builder.preopened_dir(&preopen.directory, &preopen.guest, permissions);
    opened.map(drop).map_err(|error| RunError::Preopen {
        path: preopen.directory.clone().into(),
        reason: format!("{error:#}"),
    })
}

/// The directories of the handoff, and those that make relative paths start at the working directory.
///
/// WASI has no working directory. A guest's libc turns a path into a preopen and the rest by the longest prefix, and each of
/// them has its own idea of a relative one:
/// - wasi-libc (C, C++, Rust, TinyGo) strips `/` and `./` from both, so that for it `/x` and `x` are one path; of
///   preopens with the same prefix the last wins. So `.` comes last and is the working directory, and each top-level
///   directory is a preopen of its own: `/etc/x` starts there, `x` at the working directory.
/// - Go starts at the name of the first preopen, Zig at the first descriptor: so the working directory comes first.
///
/// With `/` as working directory none of this is needed.
fn preopens(handoff: &Handoff) -> Vec<Preopen> {
    let cwd = Path::new(&handoff.cwd);
    let covering = handoff
        .preopens
        .iter()
        .filter(|p| cwd.starts_with(&p.guest));
    let Some(around) = covering.max_by_key(|p| p.guest.len()) else {
        return handoff.preopens.clone();
    };
    if cwd == Path::new(&around.guest) {
        return handoff.preopens.clone();
    }
    let at = |guest: &str| Preopen {
        directory: handoff.cwd.clone(),
        guest: guest.into(),
        read_only: around.read_only,
    };
    let mut all = vec![at(&handoff.cwd)];
    all.extend(handoff.preopens.iter().cloned());
    for root in handoff.preopens.iter().filter(|p| p.guest == "/") {
        let folders = top_level(Path::new(&root.directory)).into_iter();
        all.extend(folders.map(|(directory, guest)| Preopen {
            directory,
            guest,
            read_only: root.read_only,
        }));
    }
    all.push(at("."));
    all
}

/// The directories in `root` that can be opened, and their names for a guest that sees `root` as `/`.
fn top_level(root: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let folders = entries.filter_map(|entry| {
        let path: PathBuf = entry.path();
        let name = entry.file_name().into_string().ok()?;
        // Follows links, and leaves out what this user cannot open.
        fs::read_dir(&path).ok()?;
        Some((
            path.into_os_string().into_string().ok()?,
            format!("/{name}"),
        ))
    });
    folders.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guests(cwd: &str, root: &Path) -> Vec<String> {
        let mut handoff = Handoff::new("a", &[], &[], cwd);
        handoff.preopens[0].directory = root.to_str().unwrap().into();
        preopens(&handoff).into_iter().map(|p| p.guest).collect()
    }

    #[test]
    fn at_the_root_there_is_one_preopen() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        assert_eq!(guests("/", root.path()), ["/"]);
    }

    #[test]
    fn a_working_directory_comes_first_and_last() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        assert_eq!(
            guests("/srv/app", root.path()),
            ["/srv/app", "/", "/etc", "."]
        );
    }
}
