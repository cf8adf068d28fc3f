//! Containers whose program is a WebAssembly module.

use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use serde_json::json;

use crate::support::{Hierarchy, TANDEM, TestBundle};

/// A bundle with a module of integration/wasm as its program, and a cache that nobody else uses.
fn module(hierarchy: Hierarchy, name: &str, arguments: &[&str]) -> TestBundle {
    let handler = Path::new(TANDEM).with_file_name("tandem-wasm");
    assert!(
        handler.exists(),
        "run `scripts/build --dev` first: {handler:?} is missing"
    );
    let bundle = TestBundle::on(hierarchy).image(|rootfs| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/wasm");
        fs::copy(
            source.join(format!("{name}.wat")),
            rootfs.join("program.wat"),
        )
        .unwrap();
    });
    cover("/var/cache");
    let args = [&["/program.wat"], arguments].concat();
    bundle.with("/process/args", json!(args)).accepting_mounts()
}

/// Hides a directory of the host below an empty one, in our mount namespace.
fn cover(path: &str) {
    let options = Some("mode=755");
    mount(
        Some("tmpfs"),
        path,
        Some("tmpfs"),
        MsFlags::empty(),
        options,
    )
    .unwrap();
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_module_runs_and_its_output_is_that_of_run() {
    for hierarchy in Hierarchy::all() {
        let outcome = module(hierarchy, "hello", &[]).run();
        assert_eq!(
            (outcome.ok(), outcome.stderr.as_str()),
            ("hello from wasm", "")
        );
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn the_exit_code_is_the_guests() {
    for code in ["0", "1", "42"] {
        let outcome = module(Hierarchy::V2, "exit", &[code]).run();
        assert_eq!(outcome.code, code.parse().ok(), "{}", outcome.stderr);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_trap_shows_where_and_gives_134() {
    let outcome = module(Hierarchy::V2, "trap", &[]).run();
    assert_eq!(outcome.code, Some(134), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("unreachable"), "{}", outcome.stderr);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_module_can_be_created_and_started() {
    let bundle = module(Hierarchy::V2, "hello", &[]);
    bundle.create().ok();
    assert_eq!(bundle.status(), "created");
    let pid = bundle.pid();
    bundle.start().ok();
    assert_eq!(crate::support::exit_code(pid), 0);
    assert_eq!(bundle.output(), "hello from wasm\n");
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_truncated_module_is_refused_with_a_line() {
    for hierarchy in Hierarchy::all() {
        let bundle = module(hierarchy, "hello", &[]);
        // A type section of 16 bytes, of which there is one.
        let bytes = b"\0asm\x01\0\0\0\x01\x10\x01";
        fs::write(bundle.rootfs().join("program.wasm"), bytes).unwrap();
        let bundle = bundle.args(["/program.wasm"]);
        bundle
            .run()
            .refused(1, &["\"/program.wasm\"", "unexpected end"]);
        assert_eq!(bundle.left(), [""; 0]);
        bundle
            .create()
            .refused(1, &["\"/program.wasm\"", "unexpected end"]);
        assert_eq!(bundle.left(), [""; 0]);
    }
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn an_import_that_nobody_provides_is_named() {
    let bundle = module(Hierarchy::V2, "needs", &[]);
    let outcome = bundle.run();
    assert_ne!(outcome.code, Some(0));
    assert!(
        outcome.stderr.contains("nobody") && outcome.stderr.contains("provides_this"),
        "{}",
        outcome.stderr
    );
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn annotations_say_what_a_file_is() {
    let bundle = module(Hierarchy::V2, "hello", &[]);
    fs::rename(
        bundle.rootfs().join("program.wat"),
        bundle.rootfs().join("program.txt"),
    )
    .unwrap();
    let bundle = bundle
        .args(["/program.txt"])
        .with("/annotations", json!({"run.oci.handler": "wasm"}));
    assert_eq!(bundle.run().ok(), "hello from wasm");
    let bundle = bundle.with(
        "/annotations",
        json!({"module.wasm.image/variant": "compat"}),
    );
    assert_eq!(bundle.run().ok(), "hello from wasm");
    let bundle = bundle.with("/annotations", json!({"run.oci.handler": "nonsense"}));
    bundle.run().refused(1, &["run.oci.handler", "nonsense"]);
    // A Linux program is none, whatever the annotation says.
    let bundle = bundle
        .args(["true"])
        .with("/annotations", json!({"run.oci.handler": "wasm"}));
    bundle.run().refused(1, &["Wasm"]);
    let bundle = bundle.with("/annotations", json!({"run.oci.handler": "native"}));
    bundle.run().ok();
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_module_is_compiled_once() {
    let bundle = module(Hierarchy::V2, "hello", &[]);
    let artifacts = || {
        let output = std::process::Command::new("find")
            .args(["/var/cache/tandem", "-type", "f"])
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    bundle.run().ok();
    let first = artifacts();
    assert!(!first.is_empty());
    bundle.run().ok();
    assert_eq!(artifacts(), first);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_guest_stops_at_sigterm() {
    let bundle = module(Hierarchy::V2, "ticker", &[]);
    bundle.run_detached().ok();
    let pid = bundle.pid();
    crate::support::until("the guest runs", || {
        (!bundle.output().is_empty()).then_some(())
    });
    bundle.tandem(&["kill", "one", "TERM"]).ok();
    assert_eq!(crate::support::exit_code(pid), 143);
}

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn a_linux_program_runs_beside_the_guest() {
    let bundle = module(Hierarchy::V2, "ticker", &[]);
    bundle.run_detached().ok();
    assert_eq!(bundle.exec(&["echo", "side by side"]).ok(), "side by side");
    assert_eq!(
        bundle.exec(&["grep", "^Cap[EP]", "/proc/1/status"]).code,
        Some(0)
    );
}
