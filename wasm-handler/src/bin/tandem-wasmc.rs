//! Compiles a Wasm module: standard input is the module, standard output gets the native code.
//!
//! `tandem` runs it at create when its cache has no code for a module. `--key` prints what code of this program is valid for.
//! Exit status: 0, 65 if the module is at fault (sysexits(3) EX_DATAERR), 70 for anything else, 64 for usage.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use wasm_handler::engine::compile::{self, Refusal};
use wasm_handler::engine::config;
use wasm_handler::sys::confine::{self, ConfineError};

const USAGE: u8 = 64;
const REFUSED: u8 = 65;
const FAILED: u8 = 70;

#[derive(Debug, thiserror::Error)]
enum CompilerError {
    #[error("usage: tandem-wasmc < module > code, or tandem-wasmc --key")]
    Usage,
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Confine(#[from] ConfineError),
    #[error("cannot set the engine up: {0}")]
    Engine(String),
    #[error("cannot read the module: {0}")]
    Read(io::Error),
    #[error("cannot write the code: {0}")]
    Write(io::Error),
}

fn main() -> ExitCode {
    let Err(error) = run() else {
        return ExitCode::SUCCESS;
    };
    // Nothing is left to report to if this fails.
    writeln!(io::stderr(), "{error}").ok();
    ExitCode::from(match error {
        CompilerError::Usage => USAGE,
        CompilerError::Refused(_) => REFUSED,
        _ => FAILED,
    })
}

fn run() -> Result<(), CompilerError> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [] => compile(),
        [flag] if flag == "--key" => print_key(),
        _ => Err(CompilerError::Usage),
    }
}

fn compile() -> Result<(), CompilerError> {
    confine::confine()?;
    let mut module = Vec::new();
    io::stdin()
        .read_to_end(&mut module)
        .map_err(CompilerError::Read)?;
    let engine = engine()?;
    let code = compile::compile(&engine, &module)?;
    io::stdout().write_all(&code).map_err(CompilerError::Write)
}

fn print_key() -> Result<(), CompilerError> {
    let key = compile::key(&engine()?).map_err(|error| engine_error(&error))?;
    writeln!(io::stdout(), "{key}").map_err(CompilerError::Write)
}

fn engine() -> Result<wasmtime::Engine, CompilerError> {
    config::engine().map_err(|error| engine_error(&error))
}

fn engine_error(error: &wasmtime::Error) -> CompilerError {
    CompilerError::Engine(format!("{error:#}"))
}
