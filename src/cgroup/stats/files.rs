//! The forms that the files of a cgroup have.

use std::collections::BTreeMap;
use std::fs;

use super::{Pressure, Stall};

/// One number. `max` is the largest there is: no limit.
pub(super) fn number(text: &str) -> Option<u64> {
    match text.trim() {
        "max" => Some(u64::MAX),
        digits => digits.parse().ok(),
    }
}

/// Lines of a name and a number.
pub(super) fn pairs(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), number(value)?))
    };
    text.lines().filter_map(pair).collect()
}

/// Numbers between spaces.
pub(super) fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().filter_map(number).collect()
}

/// `0-2,7`
pub(super) fn ranges(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    let parts = text.trim().split(',');
    parts.filter_map(range).flatten().collect()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same with `full`.
pub(super) fn pressure(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let stall = match fields.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        for (name, value) in fields.filter_map(|field| field.split_once('=')) {
            set_stall(stall, name, value);
        }
    }
    pressure
}

fn set_stall(stall: &mut Stall, name: &str, value: &str) {
    let average = || value.parse().unwrap_or_default();
    match name {
        "avg10" => stall.avg10 = average(),
        "avg60" => stall.avg60 = average(),
        "avg300" => stall.avg300 = average(),
        "total" => stall.total = value.parse().unwrap_or_default(),
        _ => {}
    }
}

/// The sizes of huge pages that the host has, as the files of the hugetlb controller name them.
pub(super) fn huge_page_sizes() -> Vec<String> {
    let entries = fs::read_dir("/sys/kernel/mm/hugepages");
    let names = entries.into_iter().flatten().flatten();
    let mut sizes: Vec<_> = names
        .filter_map(|entry| page_size(entry.file_name().to_str()?))
        .collect();
    sizes.sort();
    sizes
}

/// `hugepages-2048kB` → `2MB`
fn page_size(name: &str) -> Option<String> {
    let kib: u64 = name
        .strip_prefix("hugepages-")?
        .strip_suffix("kB")?
        .parse()
        .ok()?;
    Some(match kib {
        0..1024 => format!("{kib}KB"),
        1024..0x10_0000 => format!("{}MB", kib >> 10),
        _ => format!("{}GB", kib >> 20),
    })
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn cpu_lists_name_each_cpu() {
        assert_eq!(ranges("0-2,7\n"), [0, 1, 2, 7]);
        assert_eq!(ranges("\n"), Vec::<u16>::new());
    }

    #[test]
    fn pressure_has_both_lines() {
        let text = "some avg10=1.50 avg60=0.00 avg300=0.25 total=42\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        let read = pressure(text);
        assert_eq!((read.some.avg10, read.some.avg300), (1.5, 0.25));
        assert_eq!((read.some.total, read.full.total), (42, 7));
    }

    #[test]
    fn page_sizes_are_named_as_the_controller_names_them() {
        for (name, size) in [
            ("hugepages-64kB", "64KB"),
            ("hugepages-2048kB", "2MB"),
            ("hugepages-1048576kB", "1GB"),
        ] {
            assert_eq!(page_size(name).as_deref(), Some(size));
        }
        assert_eq!(page_size("other"), None);
    }
}
