//! An error and its causes as one line.

use std::error::Error;
use std::{io, iter};

/// Joins an error and its causes by `: `, because other programs quote the line to their users.
#[must_use]
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let chain = iter::successors(Some(error), |&error| error.source());
    let texts: Vec<_> = chain.map(text).filter(|text| !text.is_empty()).collect();
    texts.join(": ")
}

/// The text of one error; those of the kernel in the words of runc, which engines search for
/// (`no such file or directory`, `permission denied`) to choose an exit status.
fn text(error: &(dyn Error + 'static)) -> String {
    match error.downcast_ref::<nix::errno::Errno>() {
        Some(errno) => in_lower_case(&in_words(*errno as i32)),
        None => without_number(error.to_string()),
    }
}

/// The standard library writes `No such file or directory (os error 2)`, alone or at the end of a longer text.
fn without_number(text: String) -> String {
    let parts = text.strip_suffix(')').and_then(|rest| {
        let (words, number) = rest.rsplit_once(" (os error ")?;
        Some((words, number.parse().ok()?))
    });
    let Some((words, number)) = parts else {
        return text;
    };
    let kernel = in_words(number);
    match words.strip_suffix(kernel.as_str()) {
        Some(before) => format!("{before}{}", in_lower_case(&kernel)),
        None => words.to_owned(),
    }
}

/// strerror(3)
fn in_words(number: i32) -> String {
    let text = io::Error::from_raw_os_error(number).to_string();
    match text.rsplit_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// `Permission denied` → `permission denied`; an abbreviation (`RPC struct is bad`) stays.
fn in_lower_case(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open {path:?}")]
    struct Open {
        path: &'static str,
        source: io::Error,
    }

    #[derive(Debug, thiserror::Error)]
    #[error(transparent)]
    struct Passed(#[from] Open);

    #[test]
    fn causes_follow_each_other_on_one_line() {
        let error = Passed(Open {
            path: "/x",
            source: io::Error::from_raw_os_error(libc::ENOENT),
        });
        assert_eq!(
            one_line(&error),
            "cannot open \"/x\": no such file or directory"
        );
    }

    #[test]
    fn kernel_errors_have_the_words_that_engines_search_for() {
        for (number, words) in [
            (libc::ENOENT, "no such file or directory"),
            (libc::EACCES, "permission denied"),
            (libc::EPERM, "operation not permitted"),
            (libc::EISDIR, "is a directory"),
            (libc::ESRCH, "no such process"),
            (libc::EBUSY, "device or resource busy"),
            (libc::EIO, "input/output error"),
            (libc::ELOOP, "too many levels of symbolic links"),
        ] {
            assert_eq!(one_line(&io::Error::from_raw_os_error(number)), words);
            assert_eq!(one_line(&nix::errno::Errno::from_raw(number)), words);
        }
    }

    #[test]
    fn an_error_made_of_words_is_quoted_as_it_is() {
        let error = io::Error::other("Something of ours");
        assert_eq!(one_line(&error), "Something of ours");
        let error = io::Error::other("cannot read /x: Permission denied (os error 13)");
        assert_eq!(one_line(&error), "cannot read /x: permission denied");
        let error = io::Error::other("odd (os error x)");
        assert_eq!(one_line(&error), "odd (os error x)");
    }
}
