//! Socket activation (sd_listen_fds(3)): descriptors of our caller that are the container's.

use std::env;

/// How many descriptors from 3 on are meant for the container: those of LISTEN_FDS, if LISTEN_PID says that they were given
/// to this process and not to one further up that left the variables in the environment.
#[must_use]
pub fn listen_fds() -> u32 {
    let number = |name: &str| env::var(name).ok()?.parse().ok();
    count(
        number("LISTEN_PID"),
        number("LISTEN_FDS"),
        std::process::id(),
    )
}

fn count(pid: Option<u32>, fds: Option<u32>, own: u32) -> u32 {
    match (pid, fds) {
        (Some(pid), Some(fds)) if pid == own => fds,
        _ => 0,
    }
}

/// The variables for the process that takes them over; `pid` is its own, as it sees it.
#[must_use]
pub fn variables(fds: u32, pid: u32) -> [String; 2] {
    [format!("LISTEN_FDS={fds}"), format!("LISTEN_PID={pid}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_that_were_meant_for_another_process_do_not_count() {
        assert_eq!(count(Some(7), Some(2), 7), 2);
        assert_eq!(count(Some(8), Some(2), 7), 0);
        assert_eq!(count(None, Some(2), 7), 0);
        assert_eq!(count(Some(7), None, 7), 0);
    }
}
