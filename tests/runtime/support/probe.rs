//! A small C program for what busybox cannot ask the kernel.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// Puts `/bin/probe` into a root file system; see tests/fixtures/probe.c.
pub fn add_probe(rootfs: &Path) {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/probe.c");
        let name = format!("probe-{}", std::process::id());
        let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let built = Command::new("cc")
            .args(["-static", "-Wall", "-o"])
            .args([&output, Path::new(source)])
            .status();
        assert!(built.unwrap().success());
        let program = fs::read(&output).unwrap();
        fs::remove_file(output).unwrap();
        program
    });
    super::bundle::install(program, &rootfs.join("bin/probe"));
}
