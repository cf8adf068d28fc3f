//! Signals as a user writes them.

/// A text that names no signal.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown signal {0:?} (use a number from 0 to {LAST_REAL_TIME} or a name such as TERM)")]
pub(super) struct UnknownSignal(String);

// The real-time signals as glibc gives them to programs, which is what images mean by SIGRTMIN+3 (systemd's stop
// signal): the kernel's 32 and 33 belong to the threads library, signal(7).
const FIRST_REAL_TIME: i32 = 34;
const LAST_REAL_TIME: i32 = 64;

/// Reads a number (0 asks whether there is a process) or a name, in any case, with or without `SIG`.
pub(super) fn parse(text: &str) -> Result<i32, UnknownSignal> {
    let unknown = || UnknownSignal(text.to_owned());
    let in_range = |number: &i32| (0..=LAST_REAL_TIME).contains(number);
    if let Ok(number) = text.parse() {
        return Some(number).filter(in_range).ok_or_else(unknown);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
        .or_else(|| real_time(name))
        .ok_or_else(unknown)
}

/// `RTMIN`, `RTMIN+n`, `RTMAX`, `RTMAX-n`
fn real_time(name: &str) -> Option<i32> {
    let offset = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse::<i32>().ok(),
        false => None,
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => FIRST_REAL_TIME,
        (_, Some("")) => LAST_REAL_TIME,
        (Some(rest), _) => FIRST_REAL_TIME.checked_add(offset(rest.strip_prefix('+')?)?)?,
        (_, Some(rest)) => LAST_REAL_TIME.checked_sub(offset(rest.strip_prefix('-')?)?)?,
        (None, None) => return None,
    };
    (FIRST_REAL_TIME..=LAST_REAL_TIME)
        .contains(&number)
        .then_some(number)
}

/// All names of signal(7) that Linux has; numbers differ between architectures, so libc has them.
const NAMES: [(&str, i32); 34] = [
    ("ABRT", libc::SIGABRT),
    ("ALRM", libc::SIGALRM),
    ("BUS", libc::SIGBUS),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("FPE", libc::SIGFPE),
    ("HUP", libc::SIGHUP),
    ("ILL", libc::SIGILL),
    ("INT", libc::SIGINT),
    ("IO", libc::SIGIO),
    ("IOT", libc::SIGIOT),
    ("KILL", libc::SIGKILL),
    ("PIPE", libc::SIGPIPE),
    ("POLL", libc::SIGPOLL),
    ("PROF", libc::SIGPROF),
    ("PWR", libc::SIGPWR),
    ("QUIT", libc::SIGQUIT),
    ("SEGV", libc::SIGSEGV),
    ("STKFLT", libc::SIGSTKFLT),
    ("STOP", libc::SIGSTOP),
    ("SYS", libc::SIGSYS),
    ("TERM", libc::SIGTERM),
    ("TRAP", libc::SIGTRAP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("VTALRM", libc::SIGVTALRM),
    ("WINCH", libc::SIGWINCH),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_in_any_case_are_signals() {
        for (text, number) in [
            ("0", 0),
            ("9", 9),
            ("15", 15),
            ("64", 64),
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("Kill", 9),
            ("winch", libc::SIGWINCH),
            ("RTMIN", 34),
            ("RTMIN+3", 37),
            ("SIGRTMIN+3", 37),
            ("sigrtmax-1", 63),
            ("RTMAX", 64),
        ] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_signals() {
        for text in [
            "",
            "-9",
            "-1",
            "65",
            "FOO",
            "SIG",
            "SIGSIGTERM",
            "TERM ",
            "RTMIN+31",
            "RTMIN-1",
            "RTMAX-31",
            "RTMIN+-1",
            "RTMIN++1",
            "RTMIN+99999999999",
            "9x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
