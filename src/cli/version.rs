//! `--version`

/// The version of the runtime specification that config.json is read by.
pub(super) const SPECIFICATION: &str = "1.2.1";

/// The lines that runc prints, in its order: Docker reads `NAME version X` and `commit: C`.
pub(super) fn text(program: &str) -> String {
    format!(
        "{program} version {}\ncommit: {}\nspec: {SPECIFICATION}\nrust: {}\nlibseccomp: {}\n",
        env!("CARGO_PKG_VERSION"),
        env!("TANDEM_COMMIT"),
        env!("TANDEM_RUSTC"),
        libseccomp(),
    )
}

/// The version of the library that is linked in.
pub(super) fn libseccomp() -> String {
    libseccomp::ScmpVersion::current()
        .map_or_else(|_| "unknown".to_owned(), |version| version.to_string())
}
