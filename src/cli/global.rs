//! The options before the command.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};
use std::{env, fs, io};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Command, FromArgMatches};

use super::args::Plain;
use super::usage::UsageError;
use crate::lifecycle::Runtime;
use crate::report::{Format, Level, Reporter};

/// The options before the command, by the names of runc and, where those are more, of crun.
#[derive(Debug, Default, Args)]
pub(super) struct Global {
    /// log what is done, step by step
    #[arg(long)]
    debug: bool,
    /// append errors and other messages to this file, too (standard error gets the bare error)
    #[arg(long)]
    log: Option<PathBuf>,
    /// the form of log lines, 'text' or 'json'
    #[arg(long, default_value = "text")]
    log_format: OsString,
    /// least important messages to log: 'debug', 'info', 'warning' or 'error' (default: "info")
    #[arg(long, value_parser = parse_level)]
    log_level: Option<Level>,
    /// directory of the state of containers, best on a tmpfs (default: "/run/tandem", or "tandem" in $XDG_RUNTIME_DIR
    /// for users other than root)
    #[arg(long, value_parser = OsStringValueParser::new().map(PathBuf::from))]
    root: Option<PathBuf>,
    /// make cgroups through systemd; cgroupsPath then has the form "slice:prefix:name"
    #[arg(long)]
    systemd_cgroup: bool,
    /// who makes cgroups: 'cgroupfs' or 'systemd' (the name that crun has for --systemd-cgroup)
    #[arg(long, value_parser = ["cgroupfs", "systemd", "disabled"])]
    cgroup_manager: Option<String>,
    /// 'true', 'false' or 'auto'; taken for the sake of callers, changes nothing in this version
    #[arg(long, default_value = "auto", value_parser = parse_rootless)]
    rootless: String,
    /// print the version
    #[arg(long, short)]
    pub(super) version: bool,
}

/// Why the global options cannot be honoured.
#[derive(Debug, thiserror::Error)]
pub(super) enum GlobalError {
    #[error("Option --root argument should not be set to / (name a directory below it)")]
    RootIsSlash,
    #[error("cannot find the current directory, which --root {root:?} is relative to")]
    CurrentDirectory { root: PathBuf, source: io::Error },
    #[error(
        "--cgroup-manager disabled is not supported (use \"cgroupfs\" or \"systemd\", or leave it out)"
    )]
    NoCgroups,
}

impl Global {
    pub(super) fn definitions() -> Command {
        Self::augment_args(super::command::plain_definitions("global"))
    }

    pub(super) fn from_options(definitions: Command, plain: Plain) -> Result<Self, UsageError> {
        let parse = |plain: Plain| {
            let mut values = definitions.try_get_matches_from(plain.into_arguments())?;
            Self::from_arg_matches_mut(&mut values)
        };
        let global = parse(plain).map_err(|error| UsageError::from_clap(&error))?;
        match Format::parse(&global.log_format) {
            Some(_) => Ok(global),
            None => Err(UsageError::LogFormat(global.log_format)),
        }
    }

    /// Opens the log.
    pub(super) fn reporter(&self, program: &str) -> Result<Reporter, crate::report::LogError> {
        let level = match self.debug {
            true => Level::Debug,
            false => self.log_level.unwrap_or(Level::Info),
        };
        let format = Format::parse(&self.log_format).unwrap_or_default();
        Reporter::open(program, self.log.as_deref(), format, level)
    }

    pub(super) fn runtime(&self, program: &str) -> Result<Runtime, GlobalError> {
        let manager = self.cgroup_manager.as_deref();
        if manager == Some("disabled") {
            return Err(GlobalError::NoCgroups);
        }
        Ok(Runtime {
            name: program.to_owned(),
            root: match &self.root {
                Some(root) => absolute_root(root)?,
                None => default_root(&Caller::current()),
            },
            systemd_cgroup: self.systemd_cgroup || manager == Some("systemd"),
            debug: self.debug,
        })
    }
}

fn parse_level(text: &str) -> Result<Level, &'static str> {
    match text {
        "debug" => Ok(Level::Debug),
        "info" => Ok(Level::Info),
        "warning" | "warn" => Ok(Level::Warning),
        "error" => Ok(Level::Error),
        _ => Err("use debug, info, warning or error"),
    }
}

fn parse_rootless(text: &str) -> Result<String, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        known @ ("true" | "false" | "auto") => Ok(known.to_owned()),
        "1" | "t" => Ok("true".into()),
        "0" | "f" => Ok("false".into()),
        _ => Err("use true, false or auto"),
    }
}

/// Makes `root` absolute and refuses `/`, however it is written: `delete` removes directories below it.
fn absolute_root(root: &Path) -> Result<PathBuf, GlobalError> {
    let absolute = std::path::absolute(root).map_err(|source| GlobalError::CurrentDirectory {
        root: root.to_owned(),
        source,
    })?;
    let clean = without_dots(&absolute);
    match clean.parent() {
        Some(_) => Ok(clean),
        None => Err(GlobalError::RootIsSlash),
    }
}

/// Takes `..` out by the text of the path, as Go's `filepath.Clean` does: engines get the same directory as from runc.
fn without_dots(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// What of the calling process decides where state lives.
struct Caller {
    is_root: bool,
    in_user_namespace: bool,
    user: Option<OsString>,
    runtime_dir: Option<OsString>,
}

impl Caller {
    fn current() -> Self {
        let is_root = nix::unistd::Uid::effective().is_root();
        let runtime_dir = env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
        Self {
            is_root,
            // Asked only where it matters: this is on the path of every command.
            in_user_namespace: is_root && runtime_dir.is_some() && in_user_namespace(),
            user: env::var_os("USER"),
            runtime_dir,
        }
    }
}

/// The initial user namespace maps all ids to themselves, user_namespaces(7).
fn in_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| !map.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}

/// runc's rule: a user's own directory, unless the user is root; root of a user namespace counts as a user unless
/// `$USER` says root.
fn default_root(caller: &Caller) -> PathBuf {
    let is_user = !caller.is_root
        || (caller.in_user_namespace && caller.user.as_deref() != Some(OsStr::new("root")));
    match &caller.runtime_dir {
        Some(dir) if is_user => Path::new(dir).join("tandem"),
        _ => PathBuf::from("/run/tandem"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(is_root: bool, in_user_namespace: bool, user: Option<&str>) -> Caller {
        Caller {
            is_root,
            in_user_namespace,
            user: user.map(OsString::from),
            runtime_dir: Some("/run/user/7".into()),
        }
    }

    #[test]
    fn only_users_other_than_root_have_state_in_their_runtime_directory() {
        let own = PathBuf::from("/run/user/7/tandem");
        let common = PathBuf::from("/run/tandem");
        assert_eq!(default_root(&caller(false, false, Some("me"))), own);
        assert_eq!(default_root(&caller(true, true, Some("me"))), own);
        assert_eq!(default_root(&caller(true, true, None)), own);
        assert_eq!(default_root(&caller(true, true, Some("root"))), common);
        assert_eq!(default_root(&caller(true, false, Some("me"))), common);
        let without = Caller {
            runtime_dir: None,
            ..caller(false, false, None)
        };
        assert_eq!(default_root(&without), common);
    }

    #[test]
    fn a_root_that_comes_out_as_slash_is_refused() {
        for bad in ["/", "//", "/.", "/a/..", "/../..", "/a/../b/.."] {
            assert!(
                matches!(absolute_root(Path::new(bad)), Err(GlobalError::RootIsSlash)),
                "{bad}"
            );
        }
        assert_eq!(
            absolute_root(Path::new("/run/x/../y/./z/")).unwrap(),
            Path::new("/run/y/z")
        );
        assert!(absolute_root(Path::new("state")).unwrap().is_absolute());
    }
}
