//! Log lines as runc's logging library (logrus) writes them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::Level;

/// A line to be logged.
#[derive(Debug)]
pub(super) struct Line {
    level: Level,
    pub(super) message: String,
    /// What was added to the message by name.
    pub(super) fields: Vec<(&'static str, String)>,
}

impl Line {
    pub(super) fn new(level: Level, message: &str) -> Self {
        Self {
            level,
            message: message.to_owned(),
            fields: Vec::new(),
        }
    }
}

/// `time="…" level=error msg="…"`
pub(super) fn text(line: &Line, time: SystemTime) -> String {
    let mut text = format!(
        "time={} level={} msg={}",
        quoted(&timestamp(time)),
        line.level.name(),
        quoted_if_needed(&line.message)
    );
    for (name, value) in &line.fields {
        text += &format!(" {name}={}", quoted_if_needed(value));
    }
    text
}

/// `{"level":"error","msg":"…","time":"…"}`, keys in order as Go sorts them.
pub(super) fn json(line: &Line, time: SystemTime) -> String {
    let mut object: Map<String, Value> = line
        .fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
        .collect();
    object.insert("level".into(), line.level.name().into());
    object.insert("msg".into(), line.message.as_str().into());
    object.insert("time".into(), timestamp(time).into());
    Value::Object(object).to_string()
}

/// The bare message on one line: names that a container chose may hold newlines and terminal sequences.
pub(super) fn plain(message: &str) -> String {
    let mut line = String::with_capacity(message.len());
    for letter in message.chars() {
        match letter {
            '\t' => line.push(letter),
            _ if letter.is_control() => line.extend(letter.escape_default()),
            _ => line.push(letter),
        }
    }
    line
}

/// A string in the form of Go's `%q`.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            _ if letter.is_ascii_control() => {
                quoted.push_str(&format!("\\x{:02x}", u32::from(letter)));
            }
            _ if letter.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(letter))),
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// A value of only these characters stands without quotes in logrus's lines.
fn quoted_if_needed(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/@^+".contains(&byte);
    match !text.is_empty() && text.bytes().all(plain) {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// RFC 3339 with seconds, in UTC; nanoseconds would be no use in a log and are not in runc's.
pub(super) fn timestamp(time: SystemTime) -> String {
    // A clock before 1970 is shown as 1970.
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date of a day counted from 1970-01-01, in the Gregorian calendar: years are counted from March, so that the
/// leap day is the last of its year, in eras of 400 years, which all have 146 097 days.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_ERA: u64 = 146_097;
    let days = days + 719_468; // from 0000-03-01
    let (era, day) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_text_line_is_logruss() {
        let line = Line::new(Level::Error, "container \"a\" does\nnot exist");
        assert_eq!(
            text(&line, at(1_795_349_259)),
            r#"time="2026-11-22T12:07:39Z" level=error msg="container \"a\" does\nnot exist""#
        );
    }

    #[test]
    fn a_json_line_is_logruss() {
        let mut line = Line::new(Level::Debug, "a \"b\"\n");
        line.fields.push(("path", "/x".into()));
        assert_eq!(
            json(&line, at(0)),
            r#"{"level":"debug","msg":"a \"b\"\n","path":"/x","time":"1970-01-01T00:00:00Z"}"#
        );
    }

    #[test]
    fn a_plain_line_has_no_control_characters() {
        assert_eq!(
            plain("a\nb\x1b[31mc\td\u{9b}ä"),
            "a\\nb\\u{1b}[31mc\td\\u{9b}ä"
        );
    }

    #[test]
    fn fields_are_quoted_where_logrus_quotes_them() {
        let mut line = Line::new(Level::Info, "x");
        line.fields = vec![
            ("a", "/run/x".into()),
            ("b", "1 2".into()),
            ("c", String::new()),
        ];
        assert!(text(&line, at(0)).ends_with(r#"msg=x a=/run/x b="1 2" c="""#));
    }

    #[test]
    fn dates_follow_the_calendar() {
        for (seconds, expected) in [
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_735_689_600, "2025-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(at(seconds)), expected);
        }
    }
}
