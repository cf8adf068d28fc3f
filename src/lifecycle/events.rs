//! `events`: what a container uses, and when its memory runs out.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Container, ContainerId, Error, Result, Runtime, Status};
use crate::cgroup::Stats;

/// Something to tell of a container.
#[derive(Debug)]
pub enum Event {
    Stats(Box<Stats>),
    /// A process was killed, or has to wait, for want of memory.
    Oom,
}

/// What the container uses now.
///
/// # Errors
/// [`Error::NoEvents`] for a container that has stopped.
pub fn stats(runtime: &Runtime, id: &ContainerId) -> Result<Event> {
    read(&find(runtime, id)?)
}

/// Tells what the container uses each `interval`, and at once of each time that it runs out of memory, until it is over or
/// `tell` says no.
///
/// # Errors
/// [`Error::NoEvents`] for a container that has stopped; those of the kernel's notifications.
pub fn follow(
    runtime: &Runtime,
    id: &ContainerId,
    interval: Duration,
    mut tell: impl FnMut(&Event) -> bool,
) -> Result<()> {
    let container = find(runtime, id)?;
    let failed = |source| Error::Stats {
        id: id.to_string(),
        source,
    };
    let watch_failed = |source| Error::Watch {
        id: id.to_string(),
        source,
    };
    let mut watch = container.cgroup.watch_oom().map_err(failed)?;
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        // poll(2) counts in milliseconds: rounded up, or the last one would be spent spinning.
        let left = left + Duration::from_millis(1);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(watch_failed(errno.into())),
        }
        let happened = watch.look().map_err(watch_failed)?;
        for _ in 0..happened.oom {
            if !tell(&Event::Oom) {
                return Ok(());
            }
        }
        if happened.over {
            return Ok(());
        }
        if Instant::now() < next {
            continue;
        }
        next += interval;
        match read(&container) {
            Ok(event) if tell(&event) => {}
            Ok(_) => return Ok(()),
            // It went between the look and the reading.
            Err(_) if !container.cgroup.exists() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn find(runtime: &Runtime, id: &ContainerId) -> Result<Container> {
    let container = Container::find(runtime, id)?;
    match container.status() {
        Status::Stopped => Err(Error::NoEvents { id: id.to_string() }),
        _ => Ok(container),
    }
}

fn read(container: &Container) -> Result<Event> {
    match container.cgroup.stats() {
        Ok(stats) => Ok(Event::Stats(Box::new(stats))),
        Err(source) => Err(Error::Stats {
            id: container.record.id.clone(),
            source,
        }),
    }
}
