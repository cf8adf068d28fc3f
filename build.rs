//! Puts the commit and the compiler's version into `tandem --version`.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=TANDEM_COMMIT");
    // A packager without a git checkout sets it.
    let commit = env::var("TANDEM_COMMIT")
        .ok()
        .or_else(|| git(&["rev-parse", "HEAD"]))
        .unwrap_or_else(|| "unknown".into());
    println!("cargo::rustc-env=TANDEM_COMMIT={commit}");

    // The log of HEAD grows with every commit; where there is none, a path that never changes.
    let watched = git(&["rev-parse", "--git-path", "logs/HEAD"])
        .filter(|path| std::path::Path::new(path).exists())
        .unwrap_or_else(|| "build.rs".into());
    println!("cargo::rerun-if-changed={watched}");

    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = output(Command::new(rustc).arg("--version"))
        .and_then(|line| line.split(' ').nth(1).map(str::to_owned))
        .unwrap_or_else(|| "unknown".into());
    println!("cargo::rustc-env=TANDEM_RUSTC={version}");
}

/// Only the repository of this package counts: a source archive may be unpacked inside another one.
fn git(arguments: &[&str]) -> Option<String> {
    let folder = env::var_os("CARGO_MANIFEST_DIR")?;
    if !std::path::Path::new(&folder).join(".git").exists() {
        return None;
    }
    output(Command::new("git").arg("-C").arg(&folder).args(arguments))
}

fn output(command: &mut Command) -> Option<String> {
    let result = command
        .output()
        .ok()
        .filter(|result| result.status.success())?;
    let text = String::from_utf8(result.stdout).ok()?;
    Some(text.trim().to_owned())
}
