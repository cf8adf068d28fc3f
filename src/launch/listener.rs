//! The seccomp listener of a container, on its way to the agent that the config names.

use std::os::fd::BorrowedFd;
use std::path::Path;

use oci_spec::runtime::Spec;
use serde::Serialize;

use super::LaunchError;
use crate::seccomp::{ContainerProcessState, send_listener};

/// The document that the agent gets with the listener (config-linux.md, "The Container Process State").
#[derive(Debug)]
pub struct ListenerState<'a> {
    pub id: &'a str,
    pub spec: &'a Spec,
    pub bundle: &'a Path,
    pub status: &'static str,
    pub pid: i32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    oci_version: &'a str,
    id: &'a str,
    status: &'static str,
    pid: i32,
    bundle: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<&'a std::collections::HashMap<String, String>>,
}

impl ListenerState<'_> {
    /// Sends both to the socket of the config.
    ///
    /// # Errors
    /// [`LaunchError::Listener`]
    pub fn send(&self, listener: BorrowedFd<'_>) -> Result<(), LaunchError> {
        let seccomp = self
            .spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.seccomp().as_ref());
        let Some((profile, path)) =
            seccomp.and_then(|profile| Some((profile, profile.listener_path().as_ref()?)))
        else {
            unreachable!("seccomp::compile refuses a listener without a path");
        };
        let state = State {
            oci_version: self.spec.version(),
            id: self.id,
            status: self.status,
            pid: self.pid,
            bundle: self.bundle,
            annotations: self.spec.annotations().as_ref(),
        };
        let metadata = profile.listener_metadata().as_deref().unwrap_or_default();
        let document = ContainerProcessState::new(self.spec.version(), self.pid, metadata, state);
        let text = serde_json::to_vec(&document).expect("a state has only string keys");
        send_listener(path, listener, &text).map_err(|source| LaunchError::Listener {
            path: path.clone(),
            source,
        })
    }
}
