//! What an entrypoint is, from its first bytes and its name; and with a [`Choice`], how it is run.
//!
//! Nothing is parsed here: `tandem` runs as root on the host and the file belongs to somebody else. Whether a
//! module is valid is found out by the confined compiler.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::io::Errno;

use crate::choice::{Choice, Engine};

/// What a file claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A core module, binary format version 1.
    Module,
    /// A component (component model binary format, version 13 of layer 1).
    Component,
    /// Perhaps a module or a component in the text format: the compiler parses it.
    Text,
    Elf,
    /// Starts with `#!`.
    Script,
    /// Anything else; execve(2) gives the error for it.
    Other,
}

impl Kind {
    pub fn is_wasm(self) -> bool {
        matches!(self, Kind::Module | Kind::Component | Kind::Text)
    }
}

/// How a container's first process is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Native,
    Wasm { engine: Option<Engine>, kind: Kind },
}

#[derive(Debug, thiserror::Error)]
pub enum SniffError {
    #[error("cannot read the first bytes of {name:?}")]
    Read { name: String, source: io::Error },
    #[error("Wasm module {name:?} is truncated: it has {length} bytes, its header alone takes 8")]
    Truncated { name: String, length: usize },
    #[error(
        "Wasm module {name:?} is for version {version} (layer {layer}) of the binary format, this runtime knows modules of version 1 and components of version 13"
    )]
    Version {
        name: String,
        version: u16,
        layer: u16,
    },
    #[error("{name:?} is not a Wasm module: {found}")]
    NotWasm { name: String, found: Found },
}

/// What lies in a file that should have been a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Found {
    #[error("it is empty")]
    Nothing,
    #[error("it is an ELF program")]
    Elf,
    #[error("it is a script")]
    Script,
    #[error("it is a PNG image")]
    Png,
    #[error("it is compressed with gzip, decompress it in the image")]
    Gzip,
    #[error("it is a zip archive")]
    Zip,
    #[error("it starts neither with \"\\0asm\" nor like the text format")]
    Unknown,
}

/// Enough for every magic number here, and for the comment that a text module may start with.
const HEAD: usize = 512;

/// Decides how the file at `path` inside the container, opened as `file`, is run.
///
/// Only a [`Choice::Guess`] or [`Choice::Wasm`] reads the file; for [`Choice::Native`] there is nothing to find out.
/// A guess goes by the content; a name that ends in `.wasm` or `.wat` says that a module was meant, so that
/// another content is an error with a reason and not the kernel's "exec format error".
pub fn decide(choice: Choice, file: impl AsFd, path: &Path) -> Result<Verdict, SniffError> {
    let (engine, forced) = match choice {
        Choice::Native => return Ok(Verdict::Native),
        Choice::Wasm { engine } => (engine, true),
        Choice::Guess => (None, false),
    };
    let mut buffer = [0; HEAD];
    let name = path.to_string_lossy();
    let head = read_head(file, &mut buffer).map_err(|source| SniffError::Read {
        name: name.clone().into_owned(),
        source,
    })?;
    let meant = forced || named_as_wasm(path);
    let kind = kind_of(head, meant, &name)?;
    match kind.is_wasm() {
        true => Ok(Verdict::Wasm { engine, kind }),
        false if meant => Err(SniffError::NotWasm {
            name: name.into_owned(),
            found: found_in(head),
        }),
        false => Ok(Verdict::Native),
    }
}

/// The kind that the first bytes show; text counts only where a module is `meant`.
fn kind_of(head: &[u8], meant: bool, name: &str) -> Result<Kind, SniffError> {
    match head {
        [0, b'a', b's', b'm', rest @ ..] => wasm_version(rest, head.len(), name),
        [0x7f, b'E', b'L', b'F', ..] => Ok(Kind::Elf),
        [b'#', b'!', ..] => Ok(Kind::Script),
        _ if meant && looks_like_text(head) => Ok(Kind::Text),
        _ => Ok(Kind::Other),
    }
}

/// Core specification 5.5.16 and the component model's Binary.md: four bytes of version follow the magic
/// number, of which the latter two are the layer.
fn wasm_version(rest: &[u8], length: usize, name: &str) -> Result<Kind, SniffError> {
    let [v0, v1, l0, l1, ..] = *rest else {
        return Err(SniffError::Truncated {
            name: name.into(),
            length,
        });
    };
    match (u16::from_le_bytes([v0, v1]), u16::from_le_bytes([l0, l1])) {
        (1, 0) => Ok(Kind::Module),
        (13, 1) => Ok(Kind::Component),
        (version, layer) => Err(SniffError::Version {
            name: name.into(),
            version,
            layer,
        }),
    }
}

/// A text module starts with a parenthesis, or with a comment (`;;` or `(;`).
fn looks_like_text(head: &[u8]) -> bool {
    let printable = |b: &u8| *b >= 0x20 || b"\t\n\r".contains(b);
    let text = head.trim_ascii_start();
    head.iter().all(printable) && (text.starts_with(b"(") || text.starts_with(b";;"))
}

fn named_as_wasm(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or("");
    ["wasm", "wat"]
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
}

fn found_in(head: &[u8]) -> Found {
    match head {
        [] => Found::Nothing,
        [0x7f, b'E', b'L', b'F', ..] => Found::Elf,
        [b'#', b'!', ..] => Found::Script,
        [0x89, b'P', b'N', b'G', ..] => Found::Png,
        [0x1f, 0x8b, ..] => Found::Gzip,
        [b'P', b'K', 3, 4, ..] => Found::Zip,
        _ => Found::Unknown,
    }
}

/// Reads from offset 0 without moving the descriptor's position, which others rely on.
fn read_head(file: impl AsFd, buffer: &mut [u8; HEAD]) -> io::Result<&[u8]> {
    let mut filled = 0;
    while filled < HEAD {
        match rustix::io::pread(&file, &mut buffer[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(&buffer[..filled])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const WASM: Choice = Choice::Wasm { engine: None };
    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn decide_on(choice: Choice, name: &str, content: &[u8]) -> Result<Verdict, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        decide(choice, &file, Path::new(name)).map_err(|error| error.to_string())
    }

    fn wasm(kind: Kind) -> Result<Verdict, String> {
        Ok(Verdict::Wasm { engine: None, kind })
    }

    #[test]
    fn a_guess_goes_by_content_whatever_the_name() {
        assert_eq!(decide_on(Choice::Guess, "/app", MODULE), wasm(Kind::Module));
        assert_eq!(
            decide_on(Choice::Guess, "/app", COMPONENT),
            wasm(Kind::Component)
        );
        assert_eq!(
            decide_on(Choice::Guess, "/app", b"\x7fELF\x02\x01\x01"),
            Ok(Verdict::Native)
        );
        assert_eq!(
            decide_on(Choice::Guess, "/app", b"#!/bin/sh\n"),
            Ok(Verdict::Native)
        );
        assert_eq!(
            decide_on(Choice::Guess, "/app", b"plain words"),
            Ok(Verdict::Native)
        );
        assert_eq!(decide_on(Choice::Guess, "/app", b""), Ok(Verdict::Native));
    }

    #[test]
    fn text_counts_only_where_a_module_is_meant() {
        let text = b"\n (module)";
        assert_eq!(decide_on(Choice::Guess, "/a.wat", text), wasm(Kind::Text));
        assert_eq!(
            decide_on(Choice::Guess, "/a.wasm", b";; x\n(module)"),
            wasm(Kind::Text)
        );
        assert_eq!(decide_on(WASM, "/a", text), wasm(Kind::Text));
        assert_eq!(decide_on(Choice::Guess, "/a", text), Ok(Verdict::Native));
    }

    #[test]
    fn native_is_never_looked_at() {
        let closed_for_reading = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/null")
            .unwrap();
        let verdict = decide(Choice::Native, &closed_for_reading, Path::new("/a.wasm")).unwrap();
        assert_eq!(verdict, Verdict::Native);
    }

    #[test]
    fn a_lying_file_is_told_apart_in_one_line() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        let cases: [(&str, &[u8], &str); 5] = [
            ("/a.wasm", png, "it is a PNG image"),
            ("/a.wasm", b"\x7fELF", "it is an ELF program"),
            ("/a.wat", b"", "it is empty"),
            ("/a.wasm", b"\0as", "neither with"),
            ("/a.wasm", b"\x1f\x8b\x08", "gzip"),
        ];
        for (name, content, reason) in cases {
            let line = decide_on(Choice::Guess, name, content).unwrap_err();
            assert!(line.contains(reason) && line.contains(name), "{line}");
            assert!(!line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn an_annotation_makes_an_elf_program_an_error() {
        let line = decide_on(WASM, "/bin/sh", b"\x7fELF").unwrap_err();
        assert_eq!(
            line,
            "\"/bin/sh\" is not a Wasm module: it is an ELF program"
        );
    }

    #[test]
    fn other_versions_and_truncated_headers_are_named() {
        let newer = decide_on(Choice::Guess, "/app", b"\0asm\x02\0\0\0").unwrap_err();
        assert!(newer.contains("version 2 (layer 0)"), "{newer}");
        let component = decide_on(Choice::Guess, "/app", b"\0asm\x0e\0\x01\0").unwrap_err();
        assert!(component.contains("version 14 (layer 1)"), "{component}");
        let short = decide_on(Choice::Guess, "/app", b"\0asm\x01\0").unwrap_err();
        assert!(short.contains("has 6 bytes"), "{short}");
    }
}
