//! A container's id: one safe path component.

use std::fmt;

/// An id that was checked: not empty, not `.` or `..`, only letters, digits and `_+-.`.
///
/// From here on it is one path component below the state directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerId(String);

/// Why a string is no container id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "invalid container ID format: {0:?} (use letters, digits and _+-. only; not \".\" or \"..\")"
)]
pub struct InvalidId(String);

impl ContainerId {
    /// Checks `raw`.
    ///
    /// # Errors
    /// The set of characters is that of runc (`validateID`), so that no id names a path outside the state directory.
    pub fn parse(raw: &str) -> Result<Self, InvalidId> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
        match raw {
            "" | "." | ".." => Err(InvalidId(raw.into())),
            // A file name has at most 255 bytes (NAME_MAX, limits.h).
            _ if raw.len() > 255 || !raw.bytes().all(plain) => Err(InvalidId(raw.into())),
            _ => Ok(Self(raw.into())),
        }
    }

    /// The id as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_path_component() {
        for good in ["a", "web-1", "A_b+c.d", "...", &"x".repeat(255)] {
            assert!(ContainerId::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "../x",
            "a b",
            "ä",
            "a\0b",
            &"x".repeat(256),
        ] {
            assert!(ContainerId::parse(bad).is_err(), "{bad}");
        }
    }
}
