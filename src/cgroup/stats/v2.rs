//! Statistics of cgroup v2 (Documentation/admin-guide/cgroup-v2.rst).

use super::files::{self, number, pairs, pressure};
use super::{Blkio, BlkioEntry, Cpu, Hugetlb, Memory, MemoryEntry, Pids, Pressure, Stats};

type Read<'a> = &'a dyn Fn(&str) -> Option<String>;

pub(super) fn stats(read: Read<'_>) -> Stats {
    Stats {
        cpu: cpu(read),
        memory: memory(read),
        pids: pids(read),
        blkio: io(read),
        hugetlb: files::huge_page_sizes()
            .into_iter()
            .filter_map(|size| Some((size.clone(), hugetlb(read, &size)?)))
            .collect(),
        ..Stats::default()
    }
}

fn stall(read: Read<'_>, file: &str) -> Option<Pressure> {
    read(file).map(|text| pressure(&text))
}

fn cpu(read: Read<'_>) -> Cpu {
    let stat = pairs(&read("cpu.stat").unwrap_or_default());
    let count = |name: &str| stat.get(name).copied().unwrap_or(0);
    // The kernel counts in microseconds here, runc's form in nanoseconds.
    let nanoseconds = |name: &str| count(name).saturating_mul(1000);
    let mut cpu = Cpu {
        psi: stall(read, "cpu.pressure"),
        ..Cpu::default()
    };
    cpu.usage.total = nanoseconds("usage_usec");
    cpu.usage.user = nanoseconds("user_usec");
    cpu.usage.kernel = nanoseconds("system_usec");
    cpu.throttling.periods = count("nr_periods");
    cpu.throttling.throttled_periods = count("nr_throttled");
    cpu.throttling.throttled_time = nanoseconds("throttled_usec");
    cpu
}

fn memory(read: Read<'_>) -> Memory {
    let raw = pairs(&read("memory.stat").unwrap_or_default());
    let usage = memory_entry(read, "memory");
    let mut swap = memory_entry(read, "memory.swap");
    // v2 counts swap apart, v1 and the form of runc together with memory. The maxima came at different times and have no
    // sum.
    swap.usage = swap.usage.saturating_add(usage.usage);
    swap.limit = swap.limit.saturating_add(usage.limit);
    swap.max = 0;
    Memory {
        cache: raw.get("file").copied().unwrap_or(0),
        usage,
        swap,
        raw,
        psi: stall(read, "memory.pressure"),
        ..Memory::default()
    }
}

fn memory_entry(read: Read<'_>, prefix: &str) -> MemoryEntry {
    let number = |name: &str| {
        let text = read(&format!("{prefix}.{name}"));
        text.and_then(|text| number(&text)).unwrap_or(0)
    };
    MemoryEntry {
        limit: number("max"),
        usage: number("current"),
        max: number("peak"), // Linux 5.19, for swap 6.5
        failcnt: 0,
    }
}

fn pids(read: Read<'_>) -> Pids {
    let Some(current) = read("pids.current").and_then(|text| number(&text)) else {
        // Without the controller nobody counts threads, but the processes can be.
        let processes = read("cgroup.procs").or_else(|| read("cgroup.threads"));
        return Pids {
            current: processes.map_or(0, |text| text.lines().count() as u64),
            limit: 0,
        };
    };
    let limit = read("pids.max").and_then(|text| number(&text));
    Pids {
        current,
        limit: limit.filter(|&limit| limit != u64::MAX).unwrap_or(0),
    }
}

fn io(read: Read<'_>) -> Blkio {
    let mut io = Blkio {
        psi: stall(read, "io.pressure"),
        ..Blkio::default()
    };
    for line in read("io.stat").unwrap_or_default().lines() {
        let mut fields = line.split_whitespace();
        let device = fields.next().and_then(|device| device.split_once(':'));
        let Some((major, minor)) =
            device.and_then(|(major, minor)| Some((number(major)?, number(minor)?)))
        else {
            continue;
        };
        for (name, value) in fields.filter_map(|field| field.split_once('=')) {
            let (op, entries) = match name {
                "rbytes" => ("Read", &mut io.io_service_bytes_recursive),
                "wbytes" => ("Write", &mut io.io_service_bytes_recursive),
                "rios" => ("Read", &mut io.io_serviced_recursive),
                "wios" => ("Write", &mut io.io_serviced_recursive),
                // Discards have no place in the form.
                _ => continue,
            };
            entries.push(BlkioEntry {
                major,
                minor,
                op: op.into(),
                value: number(value).unwrap_or(0),
            });
        }
    }
    io
}

fn hugetlb(read: Read<'_>, size: &str) -> Option<Hugetlb> {
    let number = |file: String| number(&read(&file)?);
    // What is reserved counts, used or not; Linux 5.7.
    let usage = number(format!("hugetlb.{size}.rsvd.current"))
        .or_else(|| number(format!("hugetlb.{size}.current")))?;
    let events = pairs(&read(&format!("hugetlb.{size}.events")).unwrap_or_default());
    Some(Hugetlb {
        usage,
        max: 0,
        failcnt: events.get("max").copied().unwrap_or(0),
    })
}

#[cfg(test)]
mod unit {
    use super::*;

    fn from(files: &[(&str, &str)]) -> Stats {
        stats(&|name| {
            let found = files.iter().find(|(file, _)| *file == name);
            found.map(|(_, text)| format!("{text}\n"))
        })
    }

    #[test]
    fn swap_is_reported_together_with_memory() {
        let stats = from(&[
            ("memory.current", "100"),
            ("memory.max", "1000"),
            ("memory.peak", "300"),
            ("memory.swap.current", "7"),
            ("memory.swap.max", "50"),
            ("memory.stat", "anon 60\nfile 40"),
        ]);
        let memory = stats.memory;
        assert_eq!(
            (memory.usage.usage, memory.usage.max, memory.cache),
            (100, 300, 40)
        );
        assert_eq!((memory.swap.usage, memory.swap.limit), (107, 1050));
        let unlimited = from(&[("memory.max", "max"), ("memory.swap.max", "max")]);
        assert_eq!(unlimited.memory.swap.limit, u64::MAX);
    }

    #[test]
    fn processes_are_counted_without_the_pids_controller() {
        assert_eq!(from(&[("cgroup.procs", "1\n2")]).pids.current, 2);
        let stats = from(&[("pids.current", "3"), ("pids.max", "max")]);
        assert_eq!(
            stats.pids,
            Pids {
                current: 3,
                limit: 0
            }
        );
    }

    #[test]
    fn io_is_told_in_the_tables_of_v1() {
        let stats = from(&[(
            "io.stat",
            "8:16 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0",
        )]);
        let bytes: Vec<_> = stats.blkio.io_service_bytes_recursive;
        assert_eq!((bytes[0].op.as_str(), bytes[0].value), ("Read", 10));
        assert_eq!((bytes[1].op.as_str(), bytes[1].minor), ("Write", 16));
        assert_eq!(stats.blkio.io_serviced_recursive.len(), 2);
    }

    #[test]
    fn the_json_has_the_keys_of_runc_and_leaves_out_what_runc_leaves_out() {
        let text = serde_json::to_string(&Stats::default()).unwrap();
        assert!(
            text.starts_with(
                r#"{"cpu":{"usage":{"kernel":0,"user":0},"throttling":{}},"cpuset":{"#
            ),
            "{text}"
        );
        assert!(
            text.contains(r#""memory":{"usage":{"limit":0,"failcnt":0},"swap":{"#),
            "{text}"
        );
        let end = r#""pids":{},"blkio":{},"hugetlb":{},"intel_rdt":{},"network_interfaces":null}"#;
        assert!(text.ends_with(end), "{text}");
    }
}
