//! The cgroup that a process of `exec` goes into: the container's own, or one below it (`exec --cgroup`).

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::dir::Directory;
use super::error::{CgroupError, PathFlaw};
use super::handle::{Cgroup, Member, Mode};
use super::hierarchy;
use super::path::{Relative, own_cgroup};

/// Where a new process of the container is put. On v2 it is born there; on v1 it has to be added.
#[derive(Debug)]
pub struct Target {
    directories: Vec<Directory>,
    birth: Option<OwnedFd>,
    path: PathBuf,
}

impl Target {
    /// For clone3(2) with CLONE_INTO_CGROUP.
    #[must_use]
    pub fn birth_dir(&self) -> Option<BorrowedFd<'_>> {
        self.birth.as_ref().map(AsFd::as_fd)
    }

    /// What to tell where the kernel refused to let a process be born there: EBUSY if the cgroup has passed controllers on
    /// to cgroups below it (see [`Cgroup::target_beside`]).
    #[must_use]
    pub fn refused(&self, source: io::Error) -> CgroupError {
        CgroupError::Join {
            path: self.path.clone(),
            source,
        }
    }

    /// Moves `pid` there; for v1, and for a kernel without CLONE_INTO_CGROUP (before Linux 5.7).
    ///
    /// # Errors
    /// Those of writing cgroup.procs.
    pub fn add(&self, pid: i32) -> Result<(), CgroupError> {
        self.directories
            .iter()
            .try_for_each(|directory| directory.adopt(pid))
    }
}

impl Cgroup {
    /// The target for a process that `exec` starts. `sub` holds the arguments of `--cgroup`: one path below the container's
    /// cgroup, or on v1 also several of the form `controller[,controller]:path`.
    ///
    /// # Errors
    /// A cgroup that is not there is not made.
    pub fn exec_target(&self, sub: &[String]) -> Result<Target, CgroupError> {
        let subs = parse(sub)?;
        for (controller, _) in &subs {
            let known = controller.is_empty() || self.is_member(controller);
            if !known {
                return Err(CgroupError::SubControllerUnknown {
                    controller: controller.clone(),
                });
            }
        }
        let mut directories = Vec::new();
        for member in &self.record.members {
            let directory = Directory::open(&member.path)?;
            directories.push(match sub_of(&subs, member) {
                None => directory,
                Some(sub) => match relative(sub)? {
                    None => directory,
                    Some(below) => open_to_join(&directory, &below)?,
                },
            });
        }
        self.target(directories)
    }

    /// The cgroup that the container's first process is in now, if it is below the container's own.
    ///
    /// Once a container has made cgroups of its own and enabled controllers for them, its own cgroup takes no process any
    /// more (EBUSY, cgroups(7) "no internal processes"): then `exec` follows the first process, as in runc.
    ///
    /// # Errors
    /// On v1, which has no such rule, and if the process is not in the container's cgroup.
    pub fn target_beside(&self, init: i32) -> Result<Target, CgroupError> {
        let file = format!("/proc/{init}/cgroup");
        let text = fs::read_to_string(&file).map_err(|source| CgroupError::Read {
            path: file.into(),
            source,
        })?;
        let member = self.main_member().ok_or(CgroupError::NoCgroup {
            action: "exec --cgroup",
        })?;
        let of_init = own_cgroup(&text, "").unwrap_or_default();
        let below = inside(&member.path, of_init).ok_or_else(|| CgroupError::OwnCgroup {
            own: of_init.to_owned(),
        })?;
        let directory = Directory::open(&member.path)?;
        let directory = match relative(below).ok().flatten() {
            None => directory,
            Some(below) => directory.open_below(below.as_str())?,
        };
        self.target(vec![directory])
    }

    fn is_member(&self, controller: &str) -> bool {
        let mut members = self.record.members.iter();
        members.any(|member| member.controllers.iter().any(|one| one == controller))
    }

    fn target(&self, mut directories: Vec<Directory>) -> Result<Target, CgroupError> {
        let path = directories
            .first()
            .map(|directory| directory.path().to_owned());
        let birth = match self.record.mode {
            Mode::V2 => directories.pop().map(Directory::into_fd),
            _ => None,
        };
        Ok(Target {
            directories,
            birth,
            path: path.unwrap_or_default(),
        })
    }
}

fn open_to_join(container: &Directory, below: &Relative) -> Result<Directory, CgroupError> {
    container
        .open_below(below.as_str())
        .map_err(|error| match error {
            CgroupError::Open { path, source } => CgroupError::Join { path, source },
            other => other,
        })
}

/// What of `path`, as /proc/PID/cgroup has it, is below the container's directory.
fn inside<'a>(container: &Path, path: &'a str) -> Option<&'a str> {
    let container = container.strip_prefix(hierarchy::ROOT).ok()?.to_str()?;
    let below = path.strip_prefix('/')?.strip_prefix(container)?;
    (below.is_empty() || below.starts_with('/')).then_some(below)
}

fn sub_of<'a>(subs: &'a [(String, String)], member: &Member) -> Option<&'a str> {
    let about =
        |controller: &String| controller.is_empty() || member.controllers.contains(controller);
    subs.iter()
        .find(|(controller, _)| about(controller))
        .map(|(_, path)| path.as_str())
}

/// `/` and the like name the container's own cgroup.
fn relative(sub: &str) -> Result<Option<Relative>, CgroupError> {
    match Relative::parse(Path::new(sub)) {
        Ok(relative) => Ok(Some(relative)),
        Err(PathFlaw::Root) => Ok(None),
        Err(flaw) => Err(CgroupError::SubPath {
            sub: sub.into(),
            flaw,
        }),
    }
}

/// The arguments as pairs of controller (empty: all) and path.
fn parse(arguments: &[String]) -> Result<Vec<(String, String)>, CgroupError> {
    let mut subs: Vec<(String, String)> = Vec::new();
    for argument in arguments {
        let Some((controllers, path)) = argument.split_once(':') else {
            if arguments.len() > 1 {
                return Err(CgroupError::SubControllerMissing {
                    argument: argument.clone(),
                });
            }
            subs.push((String::new(), argument.clone()));
            continue;
        };
        for controller in controllers.split(',') {
            if controller.is_empty() {
                return Err(CgroupError::SubControllerEmpty {
                    argument: argument.clone(),
                });
            }
            if subs.iter().any(|(known, _)| known == controller) {
                return Err(CgroupError::SubControllerTwice {
                    controller: controller.to_owned(),
                });
            }
            subs.push((controller.to_owned(), path.to_owned()));
        }
    }
    Ok(subs)
}

#[cfg(test)]
mod unit {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Vec<(String, String)>, CgroupError> {
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        parse(&arguments)
    }

    fn pair(controller: &str, path: &str) -> (String, String) {
        (controller.into(), path.into())
    }

    #[test]
    fn a_path_alone_is_for_all_controllers() {
        assert_eq!(parsed(&["a/b"]).unwrap(), [pair("", "a/b")]);
        assert_eq!(parsed(&[]).unwrap(), []);
    }

    #[test]
    fn controllers_can_share_a_path() {
        assert_eq!(
            parsed(&["cpu,memory:a", "pids:b"]).unwrap(),
            [pair("cpu", "a"), pair("memory", "a"), pair("pids", "b")]
        );
    }

    #[test]
    fn bad_arguments_are_told_as_runc_tells_them() {
        for (arguments, message) in [
            (
                vec!["a", "cpu:b"],
                "invalid --cgroup argument: a (missing <controller>: prefix)",
            ),
            (
                vec!["cpu,:b"],
                "invalid --cgroup argument: cpu,:b (empty <controller> prefix)",
            ),
            (
                vec!["cpu:a", "memory,cpu:b"],
                "invalid --cgroup argument(s): controller cpu specified multiple times",
            ),
        ] {
            assert_eq!(parsed(&arguments).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_sub_cgroup_is_below_the_container() {
        let error = relative("../x").unwrap_err().to_string();
        assert!(error.contains(" ../x is not a sub cgroup path"), "{error}");
        assert_eq!(relative("/").unwrap(), None);
    }

    #[test]
    fn only_what_is_below_the_container_is_inside_it() {
        let container = Path::new("/sys/fs/cgroup/docker/x");
        assert_eq!(inside(container, "/docker/xy"), None);
        assert_eq!(inside(container, "/docker/x/init"), Some("/init"));
        assert_eq!(inside(container, "/docker/x"), Some(""));
        assert_eq!(inside(container, "/other"), None);
    }
}
