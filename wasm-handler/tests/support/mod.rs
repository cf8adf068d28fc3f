//! Runs the built handler programs without a container: the handoff and its descriptors are all they need.
#![allow(dead_code, reason = "each test program uses its part")]

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};
use tempfile::TempDir;
use wasm_handler::cache::{self, Artifact, ArtifactError, CacheRequest};
use wasm_handler::handoff::{self, ENVIRONMENT, Handoff};

pub const HANDLER: &str = env!("CARGO_BIN_EXE_tandem-wasm");
pub const COMPILER: &str = env!("CARGO_BIN_EXE_tandem-wasmc");

pub fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(name)
}

/// Binary code of a text module of the corpus.
pub fn binary(name: &str) -> Vec<u8> {
    wat::parse_file(corpus(name)).unwrap()
}

/// Compiles `source` without keeping it.
pub fn compile(source: &[u8]) -> Result<Artifact, ArtifactError> {
    compile_into(None, source)
}

pub fn compile_into(root: Option<&Path>, source: &[u8]) -> Result<Artifact, ArtifactError> {
    let mut module = tempfile::tempfile().unwrap();
    module.write_all(source).unwrap();
    let request = CacheRequest {
        root,
        compiler: Path::new(COMPILER),
    };
    cache::artifact(module.as_fd(), &request)
}

/// A guest to be run, as a container's config would describe it.
pub struct Guest {
    pub handoff: Handoff,
    artifact: OwnedFd,
    root: TempDir,
}

pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    pub fn code(&self) -> i32 {
        let code = self.status.code();
        code.unwrap_or_else(|| panic!("ended by {:?}: {}", self.status.signal(), self.stderr))
    }
}

impl Guest {
    pub fn of(name: &str) -> Guest {
        Guest::from_artifact(name, compile(&binary(name)).unwrap().fd)
    }

    pub fn from_artifact(name: &str, artifact: OwnedFd) -> Guest {
        let root = tempfile::tempdir().unwrap();
        let mut handoff = Handoff::new(name, &[name.to_owned()], &[], "/");
        handoff.preopens[0].directory = root.path().to_str().unwrap().into();
        Guest {
            handoff,
            artifact,
            root,
        }
    }

    pub fn args(mut self, args: &[&str]) -> Guest {
        self.handoff
            .argv
            .extend(args.iter().map(|arg| arg.to_string()));
        self
    }

    pub fn env(mut self, env: &[&str]) -> Guest {
        self.handoff.env = env.iter().map(|entry| entry.to_string()).collect();
        self
    }

    pub fn memory_limit(mut self, bytes: u64) -> Guest {
        self.handoff.memory_limit = Some(bytes);
        self
    }

    pub fn file(self, path: &str, content: &str) -> Guest {
        let path = self.root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    pub fn run(self) -> Outcome {
        self.run_with_input(b"")
    }

    pub fn run_with_input(self, input: &[u8]) -> Outcome {
        let mut running = self.spawn(Command::new(HANDLER));
        let mut stdin = running.child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input).unwrap());
            running.finish()
        })
    }

    /// Starts `command`, which leads to the handler, with the handoff and pipes for its stdio.
    pub fn spawn(mut self, mut command: Command) -> Running {
        self.handoff.artifact = Some(self.artifact.as_raw_fd());
        let document = handoff::seal(&self.handoff).unwrap();
        inherit(&self.artifact);
        inherit(&document);
        command
            .env_clear()
            .env(ENVIRONMENT, document.as_raw_fd().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Running {
            child: command.spawn().unwrap(),
            _root: self.root,
        }
    }
}

/// A started guest; its files last as long as it does.
pub struct Running {
    pub child: Child,
    _root: TempDir,
}

impl Running {
    /// Reads the first line of its output, so that it is known to run.
    pub fn first_line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.child.stdout.as_mut().unwrap();
        let mut byte = [0];
        while stdout.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0] as char);
        }
        line
    }

    pub fn finish(mut self) -> Outcome {
        drop(self.child.stdin.take());
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let mut pipe = self.child.stdout.take().unwrap();
        pipe.read_to_string(&mut stdout).unwrap();
        let mut pipe = self.child.stderr.take().unwrap();
        pipe.read_to_string(&mut stderr).unwrap();
        Outcome {
            status: self.child.wait().unwrap(),
            stdout,
            stderr,
        }
    }
}

/// Whatever other test starts a program now passes it on, too: the handler closes what it does not know.
pub fn inherit(fd: impl AsFd) {
    fcntl_setfd(fd, FdFlags::empty()).unwrap();
}
