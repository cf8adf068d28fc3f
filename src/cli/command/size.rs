//! Amounts of memory as a user writes them.

/// A text that is no amount of memory.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid size: {0:?} (use bytes, a number with k, m, g, t or p, or -1 for no limit)")]
pub(super) struct BadSize(String);

/// Reads bytes, or a number with a unit in powers of 1024 in any case, with or without `B` or `iB` behind it, as runc does
/// (`50M`, `1.5g`, `512 KiB`). -1 means without limit.
pub(super) fn parse(text: &str) -> Result<i64, BadSize> {
    let bad = || BadSize(text.to_owned());
    if text == "-1" {
        return Ok(-1);
    }
    let end = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let shift = shift_of(&unit).ok_or_else(bad)?;
    match number.parse::<i64>() {
        // Whole numbers apart: a float has not enough digits for all of them.
        Ok(whole) => whole.checked_mul(1 << shift).ok_or_else(bad),
        Err(_not_whole) => {
            let number: f64 = number.parse().map_err(|_no_number| bad())?;
            let bytes = number * (1_i64 << shift) as f64;
            match bytes < i64::MAX as f64 {
                true => Ok(bytes as i64),
                false => Err(bad()),
            }
        }
    }
}

fn shift_of(unit: &str) -> Option<u32> {
    let letter = match unit {
        "" | "b" => return Some(0),
        _ => unit
            .strip_suffix("ib")
            .or_else(|| unit.strip_suffix('b'))
            .unwrap_or(unit),
    };
    match letter {
        "k" => Some(10),
        "m" => Some(20),
        "g" => Some(30),
        "t" => Some(40),
        "p" => Some(50),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024_in_any_spelling() {
        for (text, bytes) in [
            ("0", 0),
            ("67108864", 67_108_864),
            ("50M", 50 << 20),
            ("50m", 50 << 20),
            ("50MB", 50 << 20),
            ("50 MiB", 50 << 20),
            ("1.5g", 3 << 29),
            ("2k", 2048),
            ("7b", 7),
            ("9223372036854775807", i64::MAX),
            ("-1", -1),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "", "M", "-2", "1x", "1.2.3", "ib", "9999999p", "1e3", "0x10", "NaN",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
