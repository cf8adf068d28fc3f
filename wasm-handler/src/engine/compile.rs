//! A module in, native code out. Runs in the confined compiler, on the host, never in a container.

use std::borrow::Cow;

use sha2::{Digest, Sha256};
use wasmtime::Engine;

use super::config;

/// Why there is no code: all of it the module's doing.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("it is truncated: it has {0} bytes, its header alone takes 8")]
    Truncated(usize),
    #[error("it is empty")]
    Empty,
    #[error("it is neither a binary module nor text: {0}")]
    Text(String),
    #[error("{0}")]
    Invalid(String),
}

/// What code of this build, on this host, is valid for, fit to name a folder: the engine, its version, and a hash of its
/// settings and of the processor's features.
///
/// The engine writes all of that into what it compiles, and compares it when it loads it. So the hash is of the code of an
/// empty module: what a load would look at is in it, whatever a later version adds to that.
pub fn key(engine: &Engine) -> wasmtime::Result<String> {
    let empty = engine.precompile_module(b"\0asm\x01\0\0\0")?;
    let digest = Sha256::digest(&empty);
    let short: String = digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(format!("wasmtime-{}-{short}", config::VERSION))
}

/// Compiles a module or component, binary or text.
pub fn compile(engine: &Engine, source: &[u8]) -> Result<Vec<u8>, Refusal> {
    let binary = to_binary(source)?;
    // The layer field tells a component from a core module; other versions are refused by the parser, by name.
    let component = match *binary {
        [_, _, _, _, _, _, layer, _, ..] => layer == 1,
        _ => return Err(Refusal::Truncated(binary.len())),
    };
    let compiled = match component {
        true => engine.precompile_component(&binary),
        false => engine.precompile_module(&binary),
    };
    compiled.map_err(|error| Refusal::Invalid(format!("{error:#}")))
}

fn to_binary(source: &[u8]) -> Result<Cow<'_, [u8]>, Refusal> {
    match source {
        [] => Err(Refusal::Empty),
        [0, b'a', b's', b'm', ..] => Ok(source.into()),
        _ => {
            let text = str::from_utf8(source);
            let text = text.map_err(|error| Refusal::Text(error.to_string()))?;
            let parsed = wat::parse_str(text);
            parsed
                .map(Cow::Owned)
                .map_err(|error| Refusal::Text(in_one_line(&error.to_string())))
        }
    }
}

/// The parser's first line, and the place that it shows below in a drawing of the source.
fn in_one_line(error: &str) -> String {
    let mut lines = error.lines();
    let reason = lines.next().unwrap_or_default();
    let place = lines.find_map(|line| line.trim_start().strip_prefix("--> <anon>:"));
    match place {
        Some(place) => format!("{reason} (line and column {place})"),
        None => reason.into(),
    }
}
