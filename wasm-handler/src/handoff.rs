//! What `tandem` tells a handler: one versioned document in one sealed memfd. `docs/handoff.md` is the contract.
//!
//! The handler runs in the container, where nothing but its inherited descriptors comes from the host. It reads
//! this document and believes nothing else: not its environment beyond [`ENVIRONMENT`], not a file of the image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, memfd_create};
use serde::{Deserialize, Serialize};

/// The version of the document that this build writes and reads.
pub const VERSION: u32 = 1;

/// The only variable in the environment of a handler: the number of the document's descriptor.
pub const ENVIRONMENT: &str = "TANDEM_HANDOFF";

/// A document holds argv and env, which execve(2) limits to a quarter of the stack, usually 2 MiB.
const MAX_LENGTH: u64 = 64 << 20;

/// What must hold before the document is believed: nobody can change it any more.
const SEALS: SealFlags = SealFlags::WRITE
    .union(SealFlags::GROW)
    .union(SealFlags::SHRINK)
    .union(SealFlags::SEAL);

/// Everything that a handler needs to run one guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handoff {
    pub version: u32,
    /// What the user calls the module, for messages: the entrypoint as the config gives it.
    pub name: String,
    /// The module itself, open for reading.
    pub module: Option<RawFd>,
    /// What the engine's compiler made of it, open for reading.
    pub artifact: Option<RawFd>,
    /// The guest's arguments, `argv[0]` first.
    pub argv: Vec<String>,
    /// The guest's environment as `NAME=value`, in the order of the config.
    pub env: Vec<String>,
    /// The guest's working directory, absolute.
    pub cwd: String,
    pub preopens: Vec<Preopen>,
    /// Bytes of linear memory, all memories of the guest together.
    pub memory_limit: Option<u64>,
    /// Settings of the engine by name; a handler refuses a name that it does not know.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// A directory of the container that the guest can open files in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preopen {
    /// Its path in the container.
    pub directory: String,
    /// The name under which the guest finds it.
    pub guest: String,
    #[serde(default)]
    pub read_only: bool,
}

impl Handoff {
    /// The document for a guest that sees the container's files as a Linux process would: all of `/`.
    pub fn new(name: &str, argv: &[String], env: &[String], cwd: &str) -> Handoff {
        Handoff {
            version: VERSION,
            name: name.into(),
            module: None,
            artifact: None,
            argv: argv.to_vec(),
            env: env.to_vec(),
            cwd: cwd.into(),
            preopens: vec![Preopen {
                directory: "/".into(),
                guest: "/".into(),
                read_only: false,
            }],
            memory_limit: None,
            options: BTreeMap::new(),
        }
    }
}

/// What a guest's memories may take of a container that may take `container` bytes.
///
/// The rest is the engine's: its own data, page tables, stacks, the code's pages. It is kept back so that the guest sees a
/// failing `memory.grow` before the kernel ends the container.
pub fn guest_memory(container: u64) -> u64 {
    const ENGINE: u64 = 16 << 20;
    container - ENGINE.min(container / 4)
}

#[derive(Debug, thiserror::Error)]
pub enum HandoffError {
    #[error("handoff descriptor {fd} cannot be examined")]
    Examine { fd: RawFd, source: io::Error },
    #[error("handoff descriptor {fd} is not a sealed memfd: its content could still change")]
    NotSealed { fd: RawFd },
    #[error("handoff document has {length} bytes, at most {MAX_LENGTH} are read")]
    TooLong { length: u64 },
    #[error("handoff document cannot be read")]
    Read { source: io::Error },
    #[error("handoff document is not valid")]
    Parse { source: serde_json::Error },
    #[error(
        "handoff document has version {found}, this handler reads version {VERSION}: install the tandem programs from one release"
    )]
    Version { found: u32 },
}

/// Writes the document into a memfd and seals it. The descriptor is close-on-exec, like every one that a runtime
/// opens; init clears that just before the exec of the handler.
pub fn seal(handoff: &Handoff) -> io::Result<OwnedFd> {
    let memfd = memfd_create(
        "tandem-handoff",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?;
    let mut file = File::from(memfd);
    file.write_all(&serde_json::to_vec(handoff)?)?;
    fcntl_add_seals(&file, SEALS)?;
    Ok(file.into())
}

/// Reads a document back, after a look at its seals.
pub fn receive(document: OwnedFd) -> Result<Handoff, HandoffError> {
    let fd = std::os::fd::AsRawFd::as_raw_fd(&document);
    // EINVAL: the descriptor's file system knows no seals, so it is no memfd.
    match fcntl_get_seals(&document) {
        Ok(seals) if seals.contains(SEALS) => {}
        Ok(_) | Err(rustix::io::Errno::INVAL) => return Err(HandoffError::NotSealed { fd }),
        Err(errno) => {
            return Err(HandoffError::Examine {
                fd,
                source: errno.into(),
            });
        }
    }
    parse(&read_all(document)?)
}

fn read_all(document: impl AsFd) -> Result<Vec<u8>, HandoffError> {
    let read = |errno: rustix::io::Errno| HandoffError::Read {
        source: errno.into(),
    };
    let length = fstat(&document).map_err(read)?.st_size as u64;
    if length > MAX_LENGTH {
        return Err(HandoffError::TooLong { length });
    }
    let mut text = vec![0; length as usize];
    let mut filled = 0;
    while filled < text.len() {
        match rustix::io::pread(&document, &mut text[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(read(errno)),
        }
    }
    text.truncate(filled);
    Ok(text)
}

/// The version is looked at first and alone: a later one may have other fields.
fn parse(text: &[u8]) -> Result<Handoff, HandoffError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let invalid = |source| HandoffError::Parse { source };
    let Versioned { version } = serde_json::from_slice(text).map_err(invalid)?;
    if version != VERSION {
        return Err(HandoffError::Version { found: version });
    }
    serde_json::from_slice(text).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Handoff {
        let argv = ["/app.wasm".to_owned(), "ä \"quoted\"\n".to_owned()];
        let env = ["B=2".to_owned(), "A=1".to_owned(), "B=3".to_owned()];
        Handoff {
            module: Some(7),
            artifact: Some(8),
            memory_limit: Some(64 << 20),
            options: BTreeMap::from([("name".into(), "value".into())]),
            ..Handoff::new("app.wasm", &argv, &env, "/srv")
        }
    }

    #[test]
    fn the_engine_keeps_a_share_of_the_containers_memory() {
        assert_eq!(guest_memory(1 << 30), (1 << 30) - (16 << 20));
        assert_eq!(guest_memory(8 << 20), 6 << 20);
        assert_eq!(guest_memory(0), 0);
    }

    #[test]
    fn a_document_arrives_as_it_was_sent() {
        let document = seal(&example()).unwrap();
        assert_eq!(receive(document).unwrap(), example());
    }

    #[test]
    fn a_sealed_document_cannot_be_written() {
        let mut file = File::from(seal(&example()).unwrap());
        let error = file.write_all(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn an_unsealed_memfd_is_refused() {
        let memfd = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        let error = receive(memfd).unwrap_err();
        assert!(matches!(error, HandoffError::NotSealed { .. }), "{error}");
    }

    #[test]
    fn a_plain_file_is_refused() {
        let file = File::open("/proc/self/status").unwrap();
        let error = receive(file.into()).unwrap_err();
        assert!(matches!(error, HandoffError::NotSealed { .. }), "{error}");
    }

    #[test]
    fn another_version_is_named_whatever_its_fields() {
        let error = parse(br#"{"version":2,"shape":"new"}"#).unwrap_err();
        assert!(
            matches!(error, HandoffError::Version { found: 2 }),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let mut value = serde_json::to_value(example()).unwrap();
        value["surprise"] = true.into();
        let error = parse(value.to_string().as_bytes()).unwrap_err();
        assert!(matches!(error, HandoffError::Parse { .. }), "{error}");
    }
}
