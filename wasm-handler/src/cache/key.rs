//! What compiled code depends on beside the module: engine, version, settings, and the processor it was made for.
//!
//! Only the compiler knows that exactly: it asks its own engine, for this host. `tandem` links no engine and
//! must not start a process on a hit, so the answer is kept in the cache's folder, beside what it was asked
//! of: the program's inode, size and times, and the boot, since a disk can wake up on another processor.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};

use super::compiler::{CompileError, Compiler};
use super::store::StoreError;

/// One answer is kept; who alternates between two builds pays for the question each time.
const RECORD: &str = "compiler.key";
/// Longest record that is read; one is about 200 bytes.
const MAX_RECORD: u64 = 4096;

/// What an artifact is valid for, fit to be a folder's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key(String);

impl Key {
    /// The folder's name; other characters could lead elsewhere than into the cache.
    pub(super) fn parse(raw: &str) -> Option<Key> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._+".contains(&b);
        let fits = (1..=128).contains(&raw.len()) && !raw.starts_with('.');
        (fits && raw.bytes().all(plain)).then(|| Key(raw.into()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The key of `compiler`, from the record in `folder` or, the first time, from the program.
pub(super) fn of(compiler: &Compiler<'_>, folder: &OwnedFd) -> Result<Key, StoreError> {
    let identity = compiler.identity()?;
    if let Some(key) = recorded(folder, &identity) {
        return Ok(key);
    }
    let key = compiler.key()?;
    // Not kept: asked again next time. The store itself reports what is wrong with the folder.
    record(folder, &identity, &key).ok();
    Ok(key)
}

/// Which program, in which state, on which boot: changes whenever the program could answer otherwise.
pub(super) fn identity_of(program: &Path) -> std::io::Result<String> {
    let meta = std::fs::metadata(program)?;
    let boot = boot_id().unwrap_or_default();
    Ok(format!(
        "{}:{} {} {}.{:09} {}.{:09} {boot}",
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
    ))
}

fn boot_id() -> std::io::Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim_end().to_owned())
}

fn recorded(folder: &OwnedFd, identity: &str) -> Option<Key> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(openat(folder, RECORD, flags, Mode::empty()).ok()?);
    let mut text = String::new();
    file.take(MAX_RECORD).read_to_string(&mut text).ok()?;
    let (of, key) = text.strip_suffix('\n')?.split_once('\n')?;
    (of == identity).then(|| Key::parse(key))?
}

fn record(folder: impl AsFd, identity: &str, key: &Key) -> std::io::Result<()> {
    let staged = format!(".{RECORD}.{}", std::process::id());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(&folder, &staged, flags, Mode::from_raw_mode(0o600))?);
    let text = format!("{identity}\n{}\n", key.as_str());
    let written = std::io::Write::write_all(&mut file, text.as_bytes())
        .and_then(|()| Ok(renameat(&folder, &staged, &folder, RECORD)?));
    if written.is_err() {
        unlinkat(&folder, &staged, AtFlags::empty()).ok();
    }
    written
}

/// The key's part of a failure: without a compiler there is nothing to cache and nothing to run.
impl From<CompileError> for StoreError {
    fn from(error: CompileError) -> StoreError {
        StoreError::Key(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_lead_out_of_the_cache() {
        for bad in ["", ".", "..", "a/b", ".hidden", "a\nb", "ä"] {
            assert_eq!(Key::parse(bad), None, "{bad:?}");
        }
        assert!(Key::parse("wasmtime-48.0.8-0123456789abcdef").is_some());
    }

    #[test]
    fn a_record_answers_only_for_the_program_it_was_made_of() {
        let dir = tempfile::tempdir().unwrap();
        let folder = OwnedFd::from(File::open(dir.path()).unwrap());
        let key = Key::parse("engine-1").unwrap();
        record(&folder, "program a", &key).unwrap();
        assert_eq!(recorded(&folder, "program a"), Some(key));
        assert_eq!(recorded(&folder, "program b"), None);
    }
}
