//! The bundle: config.json read once and checked once.
//!
//! What is checked here is what can be known from the document alone, so that a config that cannot work fails
//! before anything is made. What depends on the kernel fails in the step that asks the kernel for it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, LinuxResources, Process, Spec};
use serde::de::DeserializeOwned;

mod keys;
mod tolerant;
mod validate;

pub use validate::{Invalid, check_process};

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("cannot enter bundle {path:?}")]
    Directory { path: PathBuf, source: io::Error },
    /// The wording is runc's: callers look for it.
    #[error(
        "JSON specification file {path:?} not found (make one with `tandem spec`, or name the bundle with --bundle)"
    )]
    NoConfig { path: PathBuf },
    #[error("cannot read {path:?}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot parse {path:?}")]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("invalid {path:?}")]
    Invalid { path: PathBuf, source: Invalid },
    #[error("invalid rootfs {path:?}")]
    Rootfs { path: PathBuf, source: io::Error },
    #[error("invalid rootfs {path:?}: not a directory")]
    RootfsKind { path: PathBuf },
}

/// A bundle whose config.json was read and checked.
#[derive(Debug)]
pub struct Bundle {
    /// Canonical path of the bundle directory.
    pub path: PathBuf,
    /// Canonical path of the root file system.
    pub rootfs: PathBuf,
    pub spec: Spec,
    /// The bytes of config.json, kept beside the state: later commands must see what the container was made from.
    pub text: Vec<u8>,
}

impl Bundle {
    /// Reads and checks the bundle in `directory`.
    ///
    /// # Errors
    /// See [`BundleError`]; nothing was changed then.
    pub fn load(directory: &Path) -> Result<Self, BundleError> {
        let path = fs::canonicalize(directory).map_err(|source| BundleError::Directory {
            path: directory.into(),
            source,
        })?;
        let config = path.join("config.json");
        let text = fs::read(&config).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => BundleError::NoConfig {
                path: config.clone(),
            },
            _ => BundleError::Read {
                path: config.clone(),
                source,
            },
        })?;
        let spec = parse(&text).map_err(|source| BundleError::Parse {
            path: config.clone(),
            source,
        })?;
        validate::check(&spec).map_err(|source| BundleError::Invalid {
            path: config,
            source,
        })?;
        let rootfs = locate_rootfs(&path, &spec)?;
        Ok(Self {
            path,
            rootfs,
            spec,
            text,
        })
    }

    /// The process of the config, which `validate` has proved to be there.
    #[must_use]
    pub fn process(&self) -> &Process {
        self.spec
            .process()
            .as_ref()
            .expect("checked by validate::check")
    }
}

/// Parses config.json, leaving out what runc only warns about.
///
/// # Errors
/// Those of serde_json.
pub fn parse(text: &[u8]) -> Result<Spec, serde_json::Error> {
    parse_any(text)
}

/// Parses a process.json, leaving out what runc only warns about.
///
/// # Errors
/// Those of serde_json.
pub fn parse_process(text: &[u8]) -> Result<Process, serde_json::Error> {
    parse_any(text)
}

/// Parses the limits of an `update`, in the form of `linux.resources`.
///
/// # Errors
/// Those of serde_json.
pub fn parse_resources(text: &[u8]) -> Result<LinuxResources, serde_json::Error> {
    parse_any(text)
}

fn parse_any<T: DeserializeOwned>(text: &[u8]) -> Result<T, serde_json::Error> {
    if keys::has_unusual_case(text) {
        let mut document: serde_json::Value = serde_json::from_slice(text)?;
        keys::rename(&mut document);
        // Written out again, so that an error has a place, if only in this form.
        return parse_plain(document.to_string().as_bytes());
    }
    parse_plain(text)
}

fn parse_plain<T: DeserializeOwned>(text: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(text).or_else(|first| tolerant::parse(text, first))
}

fn locate_rootfs(bundle: &Path, spec: &Spec) -> Result<PathBuf, BundleError> {
    let root = spec.root().as_ref().expect("checked by validate::check");
    let given = bundle.join(root.path());
    let rootfs = fs::canonicalize(&given).map_err(|source| BundleError::Rootfs {
        path: given,
        source,
    })?;
    if rootfs.is_dir() {
        Ok(rootfs)
    } else {
        Err(BundleError::RootfsKind { path: rootfs })
    }
}

/// What the rest of the program asks of a spec again and again.
pub trait SpecExt {
    /// The namespaces of the config: kind, and path of the one to join or `None` for a new one.
    fn namespaces(&self) -> HashMap<LinuxNamespaceType, Option<PathBuf>>;
    /// Whether the config gives a namespace of this kind, new or joined.
    fn has_namespace(&self, kind: LinuxNamespaceType) -> bool;
    /// An annotation's value.
    fn annotation(&self, key: &str) -> Option<&str>;
}

impl SpecExt for Spec {
    fn namespaces(&self) -> HashMap<LinuxNamespaceType, Option<PathBuf>> {
        let list = self
            .linux()
            .as_ref()
            .and_then(|linux| linux.namespaces().as_ref());
        let given_path =
            |path: &Option<PathBuf>| path.clone().filter(|p| !p.as_os_str().is_empty());
        list.into_iter()
            .flatten()
            .map(|ns| (ns.typ(), given_path(ns.path())))
            .collect()
    }

    fn has_namespace(&self, kind: LinuxNamespaceType) -> bool {
        let list = self
            .linux()
            .as_ref()
            .and_then(|linux| linux.namespaces().as_ref());
        list.into_iter().flatten().any(|ns| ns.typ() == kind)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations().as_ref()?.get(key).map(String::as_str)
    }
}
