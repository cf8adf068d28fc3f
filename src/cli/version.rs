//! `--version`

/// The version of the runtime specification that config.json is read by.
pub(super) const SPECIFICATION: &str = "1.2.1";

/// The lines that runc prints, in its order: Docker reads `NAME version X` and `commit: C`. There is none for libseccomp:
/// seccomp profiles are compiled by `crate::seccomp`.
pub(super) fn text(program: &str) -> String {
    format!(
        "{program} version {}\ncommit: {}\nspec: {SPECIFICATION}\nrust: {}\n",
        env!("CARGO_PKG_VERSION"),
        env!("TANDEM_COMMIT"),
        env!("TANDEM_RUSTC"),
    )
}
