//! How a call of `tandem` ended.

use std::process::Output;

#[derive(Debug)]
pub struct Outcome {
    /// The exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Outcome {
    /// What was printed, without the last newline, by a call that has to succeed.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout.trim_end()
    }

    /// The one line of a call that has to fail with this status and to say all of these words.
    #[track_caller]
    pub fn refused(&self, code: i32, words: &[&str]) -> &str {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        for word in words {
            let plain = self.stderr.replace("\\\"", "\"");
            assert!(plain.contains(word), "{word:?} is not in: {plain}");
        }
        &self.stderr
    }
}
