//! The document that is kept of each container.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::InitProcess;

/// `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Version of this document; another one is refused.
    pub version: u32,
    pub oci_version: String,
    pub id: String,
    pub init: InitProcess,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    /// RFC 3339 in UTC.
    pub created: String,
    /// The user who made the container.
    pub owner: u32,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    pub cgroup: crate::cgroup::Record,
    /// Made with `--no-new-keyring`: its processes have the session keyring of the caller.
    #[serde(default)]
    pub no_new_keyring: bool,
}

impl Record {
    /// The version that this program writes and reads.
    pub const VERSION: u32 = 1;
}
