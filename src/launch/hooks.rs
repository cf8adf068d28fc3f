//! Hooks: programs that the config names for the points of a container's life (config.md, "POSIX-platform Hooks").

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use oci_spec::runtime::Hook;
use serde::Serialize;

use crate::sys::process::{pidfd_open, signal_words};

/// The state of the container as a hook reads it from its standard input (runtime.md, "State").
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HookState<'a> {
    pub oci_version: &'a str,
    pub id: &'a str,
    pub status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    pub bundle: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<&'a std::collections::BTreeMap<String, String>>,
}

/// Why a hook counts as failed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    #[error("error running {kind} hook #{index}: {path:?}: cannot start it")]
    Start {
        kind: &'static str,
        index: usize,
        path: PathBuf,
        source: io::Error,
    },
    #[error("error running {kind} hook #{index}: {path:?}: {status}{output}")]
    Failed {
        kind: &'static str,
        index: usize,
        path: PathBuf,
        status: Ending,
        output: Output,
    },
    #[error(
        "error running {kind} hook #{index}: {path:?}: no end within its timeout of {seconds} s, it was killed"
    )]
    Timeout {
        kind: &'static str,
        index: usize,
        path: PathBuf,
        seconds: i64,
    },
    #[error("error running {kind} hook #{index}: {path:?}: cannot talk to it")]
    Pipe {
        kind: &'static str,
        index: usize,
        path: PathBuf,
        source: io::Error,
    },
}

/// How a hook ended, in the words of runc: `exit status 1`, `signal: killed`.
#[derive(Debug)]
pub struct Ending(ExitStatus);

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.0.code(), self.0.signal()) {
            (Some(code), _) => write!(f, "exit status {code}"),
            (None, Some(signal)) => write!(f, "signal: {}", signal_words(signal).to_lowercase()),
            (None, None) => write!(f, "{}", self.0),
        }
    }
}

/// What a failed hook printed, shown behind its exit status.
#[derive(Debug)]
pub struct Output(String);

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(f, ", output: {}", self.0)
        }
    }
}

/// Where a hook runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place<'a> {
    /// Its working directory; that of the caller where there is none.
    pub directory: Option<&'a Path>,
    /// The environment of a hook whose config gives none.
    pub env: &'a [String],
}

/// The most of a hook's output that is kept, in bytes: the end of it, where the reason stands.
const KEPT_OUTPUT: usize = 4096;

/// Runs the hooks of one kind in order, up to the first that fails.
///
/// # Errors
/// That of the hook that failed.
pub fn run(
    kind: &'static str,
    hooks: Option<&Vec<Hook>>,
    state: &HookState<'_>,
    place: Place<'_>,
) -> Result<(), HookError> {
    for (index, hook) in hooks.into_iter().flatten().enumerate() {
        let attempt = Attempt {
            kind,
            index,
            hook,
            place,
        };
        attempt.run(state)?;
    }
    Ok(())
}

struct Attempt<'a> {
    kind: &'static str,
    index: usize,
    hook: &'a Hook,
    place: Place<'a>,
}

impl Attempt<'_> {
    fn run(&self, state: &HookState<'_>) -> Result<(), HookError> {
        let mut child = self.command().spawn().map_err(|source| HookError::Start {
            kind: self.kind,
            index: self.index,
            path: self.hook.path().clone(),
            source,
        })?;
        let document = serde_json::to_vec(state).expect("a state has only string keys");
        if let Some(mut stdin) = child.stdin.take() {
            // A hook that does not read its input has done nothing wrong (and SIGPIPE is off in this program).
            match stdin.write_all(&document) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    self.end(&mut child);
                    return Err(self.pipe(error));
                }
                _ => {}
            }
        }
        let output = self.follow(&mut child)?;
        let status = child.wait().map_err(|source| self.pipe(source))?;
        if status.success() {
            return Ok(());
        }
        Err(HookError::Failed {
            kind: self.kind,
            index: self.index,
            path: self.hook.path().clone(),
            status: Ending(status),
            output: Output(printable(&output)),
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.hook.path());
        if let Some((name, rest)) = self
            .hook
            .args()
            .as_ref()
            .and_then(|args| args.split_first())
        {
            command.arg0(name).args(rest);
        }
        command.env_clear();
        let env = self.hook.env().as_deref().unwrap_or(self.place.env);
        for variable in env {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            if !name.is_empty() {
                command.env(name, value);
            }
        }
        // A group of its own, so that a timeout ends what the hook itself has started, too.
        command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(directory) = self.place.directory.filter(|directory| directory.is_dir()) {
            command.current_dir(directory);
        }
        command
    }

    /// Collects what the hook prints until it ends or its time is over.
    ///
    /// Waits for the process and not for the end of its output: a daemon that the hook leaves behind keeps the
    /// pipe open.
    fn follow(&self, child: &mut Child) -> Result<Vec<u8>, HookError> {
        let deadline = self
            .hook
            .timeout()
            .map(|seconds| Instant::now() + Duration::from_secs(seconds.unsigned_abs()));
        let pidfd = pidfd_open(child.id() as i32).map_err(|source| self.pipe(source))?;
        let mut pipes: Vec<Box<dyn ReadFd>> = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            pipes.push(Box::new(stdout));
        }
        if let Some(stderr) = child.stderr.take() {
            pipes.push(Box::new(stderr));
        }
        let mut kept = Vec::new();
        loop {
            let mut fds: Vec<PollFd<'_>> = vec![PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            fds.extend(
                pipes
                    .iter()
                    .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)),
            );
            match poll(&mut fds, remaining(deadline)) {
                Err(nix::errno::Errno::EINTR) => continue,
                Err(errno) => return Err(self.pipe(errno.into())),
                Ok(0) => {
                    self.end(child);
                    return Err(HookError::Timeout {
                        kind: self.kind,
                        index: self.index,
                        path: self.hook.path().clone(),
                        seconds: self.hook.timeout().unwrap_or_default(),
                    });
                }
                Ok(_) => {}
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
            let mut index = 0;
            pipes.retain_mut(|pipe| {
                index += 1;
                !ready[index] || read_some(pipe.as_mut(), &mut kept)
            });
            // What was printed before the end is in the pipes by now and was read above, or is left unread.
            if ready[0] {
                return Ok(kept);
            }
        }
    }

    fn end(&self, child: &mut Child) {
        let group = nix::unistd::Pid::from_raw(child.id() as i32);
        if let Err(errno) = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL) {
            tracing::debug!(
                "cannot kill {} hook {:?}: {errno}",
                self.kind,
                self.hook.path()
            );
        }
        if let Err(error) = child.wait() {
            tracing::debug!(
                "cannot wait for {} hook {:?}: {error}",
                self.kind,
                self.hook.path()
            );
        }
    }

    fn pipe(&self, source: io::Error) -> HookError {
        HookError::Pipe {
            kind: self.kind,
            index: self.index,
            path: self.hook.path().clone(),
            source,
        }
    }
}

trait ReadFd: Read + AsFd {}
impl<T: Read + AsFd> ReadFd for T {}

/// Reads what is there; `false` at the end of the stream.
fn read_some(pipe: &mut dyn ReadFd, kept: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    match pipe.read(&mut buffer) {
        Ok(0) | Err(_) => false,
        Ok(length) => {
            kept.extend_from_slice(&buffer[..length]);
            let excess = kept.len().saturating_sub(KEPT_OUTPUT);
            kept.drain(..excess);
            true
        }
    }
}

fn remaining(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else {
        return PollTimeout::NONE;
    };
    let left = deadline.saturating_duration_since(Instant::now());
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}

/// One line without terminal sequences: an error message must not break the log's format, nor the reader's terminal.
fn printable(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output).trim().replace('\n', "; ");
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::HookBuilder;

    fn sh(script: &str, timeout: Option<i64>) -> Vec<Hook> {
        let args = vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()];
        let mut hook = HookBuilder::default()
            .path("/bin/sh")
            .args(args)
            .build()
            .unwrap();
        hook.set_timeout(timeout);
        hook.set_env(Some(vec!["PATH=/usr/bin:/bin".into()]));
        vec![hook]
    }

    fn outcome(script: &str, timeout: Option<i64>) -> Result<(), HookError> {
        let state = HookState {
            oci_version: "1.2.0",
            id: "web",
            status: "creating",
            pid: Some(7),
            bundle: Path::new("/"),
            annotations: None,
        };
        let hooks = sh(script, timeout);
        run("prestart", Some(&hooks), &state, Place::default())
    }

    #[test]
    fn a_hook_reads_the_state_from_its_standard_input() {
        outcome(r#"grep -q '"id":"web","status":"creating","pid":7'"#, None).unwrap();
    }

    #[test]
    fn a_hook_that_ignores_its_input_has_not_failed() {
        outcome("exec <&-; exit 0", None).unwrap();
    }

    #[test]
    fn what_a_failed_hook_printed_is_in_the_error() {
        let error = outcome("echo out of cheese >&2; exit 3", None)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("exit status 3") && error.contains("out of cheese"),
            "{error}"
        );
    }

    #[test]
    fn a_killed_hook_is_told_by_the_name_of_the_signal() {
        let error = outcome("kill -SYS $$", None).unwrap_err().to_string();
        assert!(error.contains("signal: bad system call"), "{error}");
    }

    #[test]
    fn a_hook_without_an_environment_gets_that_of_its_place() {
        let state = HookState {
            oci_version: "1.2.0",
            id: "web",
            status: "created",
            pid: Some(7),
            bundle: Path::new("/"),
            annotations: None,
        };
        let place = Place {
            directory: Some(Path::new("/usr")),
            env: &["PATH=/usr/bin:/bin".into(), "ONE=two".into()],
        };
        let mut hooks = sh("test \"$ONE $PWD\" = 'two /usr'", None);
        hooks[0].set_env(None);
        run("startContainer", Some(&hooks), &state, place).unwrap();
    }

    #[test]
    fn a_hook_past_its_timeout_is_killed_with_its_children() {
        let begin = Instant::now();
        let error = outcome("sleep 60 & sleep 60", Some(1)).unwrap_err();
        assert!(
            matches!(error, HookError::Timeout { seconds: 1, .. }),
            "{error}"
        );
        assert!(begin.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_daemon_that_a_hook_leaves_behind_does_not_hold_it_up() {
        let begin = Instant::now();
        outcome("sleep 5 & exit 0", Some(4)).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(4));
    }
}
