//! Compiling and keeping: what is refused, and that the second container of a module compiles nothing.
#![cfg(all(feature = "wasmtime", feature = "compiler"))]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use support::{COMPILER, Guest, binary, compile, compile_into};
use wasm_handler::cache::{
    Artifact, ArtifactError, CacheRequest, CompileError, Origin, StoreError,
};

struct Cache {
    _dir: tempfile::TempDir,
    root: PathBuf,
}

impl Cache {
    fn new() -> Cache {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("parent/cache");
        Cache { _dir: dir, root }
    }

    fn compile(&self, source: &[u8]) -> Artifact {
        compile_into(Some(&self.root), source).unwrap()
    }

    /// The only file of an engine's folder.
    fn entry(&self) -> PathBuf {
        let folders = fs::read_dir(&self.root).unwrap().map(|e| e.unwrap().path());
        let engine = folders.filter(|path| path.is_dir()).last().unwrap();
        let entries: Vec<_> = fs::read_dir(engine)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries[0].clone()
    }
}

/// A compiler that answers for its key and refuses to compile.
fn compiler_that_must_not_run(dir: &Path) -> PathBuf {
    let path = dir.join("compiler");
    let script = format!("#!/bin/sh\n[ \"$1\" = --key ] && exec {COMPILER} --key\nexit 70\n");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

fn refusal(source: &[u8]) -> String {
    match compile(source) {
        Err(ArtifactError::Compile(CompileError::Refused { reason })) => {
            assert!(!reason.contains('\n') && !reason.is_empty(), "{reason:?}");
            reason
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_second_container_of_a_module_compiles_nothing() {
    let cache = Cache::new();
    let first = cache.compile(&binary("hello.wat"));
    assert!(
        matches!(first.origin, Origin::Compiled),
        "{:?}",
        first.origin
    );
    // Nothing but the key's record may change: the compiler leaves no other trace.
    let entry = cache.entry();
    let before = fs::metadata(&entry).unwrap();
    let second = cache.compile(&binary("hello.wat"));
    assert!(matches!(second.origin, Origin::Hit), "{:?}", second.origin);
    let after = fs::metadata(&entry).unwrap();
    assert_eq!(
        (before.ino(), before.ctime_nsec()),
        (after.ino(), after.ctime_nsec())
    );
    let outcome = Guest::from_artifact("hello.wat", second.fd).run();
    assert_eq!(outcome.stdout, "hello from a guest\n", "{}", outcome.stderr);
}

#[test]
fn a_hit_starts_no_process_at_all() {
    let cache = Cache::new();
    let dir = tempfile::tempdir().unwrap();
    let compiler = compiler_that_must_not_run(dir.path());
    let source = binary("hello.wat");
    // Filled by the real compiler, and its key recorded for the one that cannot compile.
    cache.compile(&source);
    let mut module = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut module, &source).unwrap();
    let request = CacheRequest {
        root: Some(&cache.root),
        compiler: &compiler,
    };
    let ask = || wasm_handler::cache::artifact(std::os::fd::AsFd::as_fd(&module), &request);
    assert!(matches!(ask().unwrap().origin, Origin::Hit));
    // Now its key is on record: even a program that cannot run at all is not missed.
    let before = fs::metadata(cache.root.join("compiler.key"))
        .unwrap()
        .ctime_nsec();
    assert!(matches!(ask().unwrap().origin, Origin::Hit));
    let after = fs::metadata(cache.root.join("compiler.key"))
        .unwrap()
        .ctime_nsec();
    assert_eq!(before, after);
}

#[test]
fn entries_are_private_and_read_only() {
    let cache = Cache::new();
    cache.compile(&binary("hello.wat"));
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    let entry = cache.entry();
    assert_eq!(mode(&entry), 0o444);
    assert_eq!(mode(entry.parent().unwrap()), 0o700);
    assert_eq!(mode(&cache.root), 0o700);
}

#[test]
fn modules_and_components_and_text_are_kept_by_content() {
    let cache = Cache::new();
    let text = fs::read(support::corpus("component.wat")).unwrap();
    assert!(matches!(cache.compile(&text).origin, Origin::Compiled));
    assert!(matches!(cache.compile(&text).origin, Origin::Hit));
    let artifact = cache.compile(&text).fd;
    let outcome = Guest::from_artifact("component.wat", artifact).run();
    assert_eq!(
        outcome.stdout, "hello from a component\n",
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_damaged_entry_is_compiled_again() {
    type Damage = fn(&Path);
    let damages: [Damage; 5] = [
        |path| fs::write(path, "garbage").unwrap(),
        |path| fs::write(path, "").unwrap(),
        |path| {
            let length = fs::metadata(path).unwrap().len();
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(length / 2).unwrap();
        },
        |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
        },
        |path| {
            fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
        },
    ];
    for (number, damage) in damages.iter().enumerate() {
        let cache = Cache::new();
        cache.compile(&binary("hello.wat"));
        let entry = cache.entry();
        fs::set_permissions(&entry, Permissions::from_mode(0o644)).unwrap();
        damage(&entry);
        if fs::symlink_metadata(&entry).unwrap().is_file() && number != 4 {
            fs::set_permissions(&entry, Permissions::from_mode(0o444)).unwrap();
        }
        let again = cache.compile(&binary("hello.wat"));
        assert!(
            matches!(again.origin, Origin::Compiled),
            "damage {number}: {:?}",
            again.origin
        );
        let outcome = Guest::from_artifact("hello.wat", again.fd).run();
        assert_eq!(outcome.stdout, "hello from a guest\n", "{}", outcome.stderr);
        assert!(matches!(
            cache.compile(&binary("hello.wat")).origin,
            Origin::Hit
        ));
    }
}

#[test]
fn a_cache_that_others_can_write_is_not_used() {
    let cache = Cache::new();
    fs::create_dir_all(&cache.root).unwrap();
    fs::set_permissions(&cache.root, Permissions::from_mode(0o777)).unwrap();
    let artifact = cache.compile(&binary("hello.wat"));
    let Origin::Uncached {
        reason: Some(StoreError::Open { .. }),
    } = &artifact.origin
    else {
        panic!("{:?}", artifact.origin);
    };
    let outcome = Guest::from_artifact("hello.wat", artifact.fd).run();
    assert_eq!(outcome.stdout, "hello from a guest\n", "{}", outcome.stderr);
}

#[test]
fn a_cache_that_cannot_be_made_costs_only_time() {
    for root in ["/proc/no/cache", "/dev/null/cache", "/dev/full"] {
        let artifact = compile_into(Some(Path::new(root)), &binary("hello.wat")).unwrap();
        let Origin::Uncached { reason: Some(_) } = &artifact.origin else {
            panic!("{root}: {:?}", artifact.origin);
        };
        let outcome = Guest::from_artifact("hello.wat", artifact.fd).run();
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    }
}

#[test]
fn containers_that_start_together_compile_once() {
    let cache = Cache::new();
    let source = binary("component.wat");
    let origins: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| cache.compile(&source)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let compiled = origins
        .iter()
        .filter(|a| matches!(a.origin, Origin::Compiled))
        .count();
    assert_eq!(compiled, 1, "{origins:?}");
    cache.entry();
    let inode = |artifact: &Artifact| rustix::fs::fstat(&artifact.fd).unwrap().st_ino;
    assert!(
        origins
            .iter()
            .all(|artifact| inode(artifact) == inode(&origins[0]))
    );
}

#[test]
fn a_compiler_that_is_not_there_is_an_error_that_names_it() {
    let module = fs::File::open(support::corpus("hello.wat")).unwrap();
    let cache = Cache::new();
    for root in [None, Some(cache.root.as_path())] {
        let request = CacheRequest {
            root,
            compiler: Path::new("/nonexistent/tandem-wasmc"),
        };
        let error = wasm_handler::cache::artifact(std::os::fd::AsFd::as_fd(&module), &request);
        let error = error.unwrap_err();
        assert!(
            error.to_string().contains("/nonexistent/tandem-wasmc"),
            "{error}"
        );
    }
}

#[test]
fn broken_modules_are_refused_in_one_line() {
    let hello = binary("hello.wat");
    let cut = refusal(&hello[..hello.len() / 2]);
    assert!(cut.contains("end"), "{cut}");
    assert!(refusal(b"\0asm\x01\0").contains("truncated"));
    assert!(refusal(b"").contains("empty"));
    assert!(refusal(b"\x89PNG\r\n\x1a\n").contains("neither"));
    let newer = refusal(b"\0asm\x02\0\0\0");
    assert!(newer.contains("version"), "{newer}");
    let text = refusal(b"(module (func (export \"_start\") (i32.bad)))");
    assert!(
        text.contains("unknown operator") && text.contains("1:34"),
        "{text}"
    );
    let invalid = refusal(b"(module (func (result i32)))");
    assert!(invalid.contains("type mismatch"), "{invalid}");
}

#[test]
fn a_refused_module_leaves_nothing_in_the_cache() {
    let cache = Cache::new();
    compile_into(Some(&cache.root), b"(module (bad))").unwrap_err();
    let engine = fs::read_dir(&cache.root)
        .unwrap()
        .map(|e| e.unwrap().path());
    let folder = engine.filter(|path| path.is_dir()).last().unwrap();
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
}

#[test]
fn a_folder_is_no_module() {
    let folder = fs::File::open("/etc").unwrap();
    let request = CacheRequest {
        root: None,
        compiler: Path::new(COMPILER),
    };
    let error = wasm_handler::cache::artifact(std::os::fd::AsFd::as_fd(&folder), &request);
    assert!(matches!(error, Err(ArtifactError::NotAFile)), "{error:?}");
}

#[test]
fn a_file_that_is_too_long_is_not_read() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 40).unwrap();
    let request = CacheRequest {
        root: None,
        compiler: Path::new(COMPILER),
    };
    let error = wasm_handler::cache::artifact(std::os::fd::AsFd::as_fd(&file), &request);
    assert!(
        matches!(error, Err(ArtifactError::TooLong { .. })),
        "{error:?}"
    );
}
