//! Word from the kernel that a container ran out of memory, or is over.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::dir::Directory;
use super::error::CgroupError;
use super::handle::{Cgroup, Mode};

/// What has happened since the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Happened {
    /// How often memory ran out.
    pub oom: u64,
    /// Nothing is in the cgroup any more, or it is gone.
    pub over: bool,
}

/// Watches a container's cgroup; readable when something has happened.
#[derive(Debug)]
pub struct OomWatch(Kind);

#[derive(Debug)]
enum Kind {
    /// The kernel sends a modification of `memory.events` and `cgroup.events` (cgroup-v2.rst).
    V2 {
        inotify: Inotify,
        directory: Directory,
        kills: u64,
    },
    /// An eventfd that is registered in `cgroup.event_control` (cgroup-v1/memory.rst, section 10).
    V1 {
        event: EventFd,
        directory: Directory,
    },
}

impl Cgroup {
    /// Starts to watch.
    ///
    /// # Errors
    /// A container without a cgroup cannot be watched, nor on cgroup v1 one without a memory cgroup.
    pub fn watch_oom(&self) -> Result<OomWatch, CgroupError> {
        let missing = CgroupError::NoCgroup {
            action: "watching for want of memory",
        };
        let member = self.member_of("memory").ok_or(missing)?;
        let directory = Directory::open(&member.path)?;
        let kind = match self.record.mode {
            Mode::V1 => watch_v1(directory)?,
            _ => watch_v2(directory)?,
        };
        Ok(OomWatch(kind))
    }
}

fn watch_v2(directory: Directory) -> Result<Kind, CgroupError> {
    let error = |file: &str| {
        let path = directory.path().join(file);
        move |errno: Errno| CgroupError::Read {
            path,
            source: errno.into(),
        }
    };
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
        .map_err(error("cgroup.events"))?;
    let watch = |file: &str| {
        let path = directory.path().join(file);
        inotify
            .add_watch(&path, AddWatchFlags::IN_MODIFY)
            .map_err(error(file))
    };
    watch("cgroup.events")?;
    // Where the memory controller is not on there is no such file, and nothing to run out of.
    if directory.has("memory.events") {
        watch("memory.events")?;
    }
    let kills = oom_kills(&directory);
    Ok(Kind::V2 {
        inotify,
        directory,
        kills,
    })
}

fn watch_v1(directory: Directory) -> Result<Kind, CgroupError> {
    let control = directory.open_file("memory.oom_control")?;
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let event = EventFd::from_flags(flags).map_err(|errno| CgroupError::Read {
        path: directory.path().join("memory.oom_control"),
        source: errno.into(),
    })?;
    let line = format!("{} {}", event.as_fd().as_raw_fd(), control.as_raw_fd());
    directory.write("cgroup.event_control", &line)?;
    Ok(Kind::V1 { event, directory })
}

fn count_of(directory: &Directory, file: &str, key: &str) -> Option<u64> {
    let text = directory.read(file).ok()?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    value.trim().parse().ok()
}

fn oom_kills(directory: &Directory) -> u64 {
    count_of(directory, "memory.events", "oom_kill").unwrap_or(0)
}

impl OomWatch {
    /// What has happened since the last call; does not wait.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn look(&mut self) -> io::Result<Happened> {
        match &mut self.0 {
            Kind::V2 {
                inotify,
                directory,
                kills,
            } => {
                match inotify.read_events() {
                    Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
                // Only the counts tell: the files change for other reasons, too, and the kernel may send word late.
                let now = oom_kills(directory);
                let oom = now.saturating_sub(std::mem::replace(kills, now.max(*kills)));
                let populated = count_of(directory, "cgroup.events", "populated");
                Ok(Happened {
                    oom,
                    over: populated.unwrap_or(0) == 0,
                })
            }
            Kind::V1 { event, directory } => match event.read() {
                // The removal of the cgroup is an event as well.
                Ok(count) => Ok(match directory.has("cgroup.event_control") {
                    true => Happened {
                        oom: count,
                        over: false,
                    },
                    false => Happened { oom: 0, over: true },
                }),
                Err(Errno::EAGAIN | Errno::EINTR) => Ok(Happened::default()),
                Err(errno) => Err(errno.into()),
            },
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::V2 { inotify, .. } => inotify.as_fd(),
            Kind::V1 { event, .. } => event.as_fd(),
        }
    }
}
