//! The environment of the container's process.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use oci_spec::runtime::Process;

/// The most of /etc/passwd that is read, in bytes: the image decides how long the file is.
const LONGEST_PASSWD: u64 = 1 << 20;

/// The variables in the order of the config, each once (the last one counts, as in runc), and HOME.
///
/// Called after the pivot: /etc/passwd is the container's. It is parsed here and not by getpwuid(3), which would load
/// what the image's nsswitch.conf names.
#[must_use]
pub fn build(process: &Process) -> Vec<String> {
    let mut env = deduplicate(process.env().as_deref().unwrap_or_default());
    let has_home = env.iter().any(|variable| {
        variable
            .strip_prefix("HOME=")
            .is_some_and(|home| !home.is_empty())
    });
    if !has_home {
        env.retain(|variable| !variable.starts_with("HOME="));
        env.push(format!("HOME={}", home(process.user().uid())));
    }
    env
}

fn deduplicate(env: &[String]) -> Vec<String> {
    let name = |variable: &String| variable.split('=').next().unwrap_or_default().to_owned();
    let mut kept: Vec<String> = Vec::with_capacity(env.len() + 1);
    for variable in env {
        match kept
            .iter_mut()
            .find(|earlier| name(earlier) == name(variable))
        {
            Some(earlier) => earlier.clone_from(variable),
            None => kept.push(variable.clone()),
        }
    }
    kept
}

fn home(uid: u32) -> String {
    // O_NONBLOCK: a FIFO in place of the file must not hold us up.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open("/etc/passwd");
    let mut text = Vec::new();
    if let Ok(file) = opened
        && file.metadata().is_ok_and(|metadata| metadata.is_file())
        && file.take(LONGEST_PASSWD).read_to_end(&mut text).is_ok()
        && let Some(home) = home_in(&String::from_utf8_lossy(&text), uid)
    {
        return home;
    }
    "/".into()
}

/// passwd(5): name, password, uid, gid, comment, home, shell.
fn home_in(passwd: &str, uid: u32) -> Option<String> {
    let entries = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let mut own =
        entries.filter(|fields| fields.get(2).and_then(|text| text.parse().ok()) == Some(uid));
    let home = own.find_map(|fields| fields.get(5).map(|home| (*home).to_owned()))?;
    (!home.is_empty()).then_some(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_stays_and_the_last_value_counts() {
        let env = ["B=1", "A=1", "B=2"].map(String::from);
        assert_eq!(deduplicate(&env), ["B=2", "A=1"]);
    }

    #[test]
    fn the_home_is_that_of_the_uid() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n# no\nweb:x:33:33::/srv:\n";
        assert_eq!(home_in(passwd, 33).as_deref(), Some("/srv"));
        assert_eq!(home_in(passwd, 34), None);
    }
}
