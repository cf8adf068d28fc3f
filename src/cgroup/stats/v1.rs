//! Statistics of cgroup v1 (Documentation/admin-guide/cgroup-v1/).

use super::files::{self, number, numbers, pairs, ranges};
use super::{Blkio, BlkioEntry, Cpu, CpuSet, Hugetlb, Memory, MemoryEntry, Pids, Stats};

/// Reads a file of a controller.
type Read<'a> = &'a dyn Fn(&str, &str) -> Option<String>;

pub(super) fn stats(read: Read<'_>) -> Stats {
    Stats {
        cpu: cpu(read),
        cpuset: cpuset(read),
        memory: memory(read),
        pids: pids(read),
        blkio: blkio(read),
        hugetlb: files::huge_page_sizes()
            .into_iter()
            .filter_map(|size| Some((size.clone(), hugetlb(read, &size)?)))
            .collect(),
        ..Stats::default()
    }
}

fn value(read: Read<'_>, controller: &str, file: &str) -> u64 {
    read(controller, file)
        .and_then(|text| number(&text))
        .unwrap_or(0)
}

/// The kernel shows ticks of 1/100 s to programs on every architecture that we know (USER_HZ).
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

fn cpu(read: Read<'_>) -> Cpu {
    let mut cpu = Cpu::default();
    let stat = pairs(&read("cpuacct", "cpuacct.stat").unwrap_or_default());
    let ticks = |name: &str| {
        stat.get(name)
            .map_or(0, |ticks| ticks * NANOSECONDS_PER_TICK)
    };
    cpu.usage.user = ticks("user");
    cpu.usage.kernel = ticks("system");
    cpu.usage.total = value(read, "cpuacct", "cpuacct.usage");
    cpu.usage.percpu = numbers(&read("cpuacct", "cpuacct.usage_percpu").unwrap_or_default());
    // A header line, then: CPU, user, system.
    let all = read("cpuacct", "cpuacct.usage_all").unwrap_or_default();
    for line in all.lines().skip(1) {
        if let [_, user, kernel] = numbers(line)[..] {
            cpu.usage.percpu_user.push(user);
            cpu.usage.percpu_kernel.push(kernel);
        }
    }
    let stat = pairs(&read("cpu", "cpu.stat").unwrap_or_default());
    let count = |name: &str| stat.get(name).copied().unwrap_or(0);
    cpu.throttling.periods = count("nr_periods");
    cpu.throttling.throttled_periods = count("nr_throttled");
    cpu.throttling.throttled_time = count("throttled_time");
    cpu
}

fn cpuset(read: Read<'_>) -> CpuSet {
    // Mounted without its prefix where the `noprefix` option was used (Android).
    let text = |name: &str| {
        read("cpuset", &format!("cpuset.{name}"))
            .or_else(|| read("cpuset", name))
            .unwrap_or_default()
    };
    let number = |name: &str| number(&text(name)).unwrap_or(0);
    CpuSet {
        cpus: ranges(&text("cpus")),
        cpu_exclusive: number("cpu_exclusive"),
        mems: ranges(&text("mems")),
        mem_hardwall: number("mem_hardwall"),
        mem_exclusive: number("mem_exclusive"),
        memory_migrate: number("memory_migrate"),
        memory_spread_page: number("memory_spread_page"),
        memory_spread_slab: number("memory_spread_slab"),
        memory_pressure: number("memory_pressure"),
        sched_load_balance: number("sched_load_balance"),
        sched_relax_domain_level: text("sched_relax_domain_level").trim().parse().unwrap_or(0),
    }
}

fn memory(read: Read<'_>) -> Memory {
    let raw = pairs(&read("memory", "memory.stat").unwrap_or_default());
    Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: memory_entry(read, "memory"),
        swap: memory_entry(read, "memory.memsw"),
        kernel: memory_entry(read, "memory.kmem"),
        kernel_tcp: memory_entry(read, "memory.kmem.tcp"),
        raw,
        psi: None,
    }
}

fn memory_entry(read: Read<'_>, prefix: &str) -> MemoryEntry {
    let number = |name: &str| value(read, "memory", &format!("{prefix}.{name}"));
    MemoryEntry {
        limit: number("limit_in_bytes"),
        usage: number("usage_in_bytes"),
        max: number("max_usage_in_bytes"),
        failcnt: number("failcnt"),
    }
}

fn pids(read: Read<'_>) -> Pids {
    let limit = value(read, "pids", "pids.max");
    Pids {
        current: value(read, "pids", "pids.current"),
        limit: if limit == u64::MAX { 0 } else { limit },
    }
}

/// Which files there are depends on the I/O scheduler (BFQ, CFQ before Linux 5.0); the throttling layer counts always, and
/// only this cgroup's own where it is old.
fn blkio(read: Read<'_>) -> Blkio {
    let entries = |name: &str| {
        let files = [
            format!("blkio.bfq.{name}_recursive"),
            format!("blkio.{name}_recursive"),
            format!("blkio.throttle.{name}_recursive"),
            format!("blkio.throttle.{name}"),
        ];
        let found = files.iter().filter_map(|file| read("blkio", file));
        let mut tables = found.map(|text| blkio_entries(&text));
        tables.find(|table| !table.is_empty()).unwrap_or_default()
    };
    Blkio {
        io_service_bytes_recursive: entries("io_service_bytes"),
        io_serviced_recursive: entries("io_serviced"),
        io_queued_recursive: entries("io_queued"),
        io_service_time_recursive: entries("io_service_time"),
        io_wait_time_recursive: entries("io_wait_time"),
        io_merged_recursive: entries("io_merged"),
        io_time_recursive: entries("time"),
        sectors_recursive: entries("sectors"),
        psi: None,
    }
}

/// `8:0 Read 100` or `8:0 100`, and a line `Total 100` at the end.
fn blkio_entries(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let (op, count) = rest.rsplit_once(' ').unwrap_or(("", rest));
        Some(BlkioEntry {
            major: number(major)?,
            minor: number(minor)?,
            op: op.into(),
            value: number(count)?,
        })
    };
    text.lines().filter_map(entry).collect()
}

fn hugetlb(read: Read<'_>, size: &str) -> Option<Hugetlb> {
    let number = |file: String| number(&read("hugetlb", &file)?);
    // What is reserved counts, used or not; Linux 5.7.
    let reserved = format!("hugetlb.{size}.rsvd");
    let (prefix, usage) = match number(format!("{reserved}.usage_in_bytes")) {
        Some(usage) => (reserved, usage),
        None => {
            let prefix = format!("hugetlb.{size}");
            let usage = number(format!("{prefix}.usage_in_bytes"))?;
            (prefix, usage)
        }
    };
    Some(Hugetlb {
        usage,
        max: number(format!("{prefix}.max_usage_in_bytes")).unwrap_or(0),
        failcnt: number(format!("{prefix}.failcnt")).unwrap_or(0),
    })
}

#[cfg(test)]
mod unit {
    use super::*;

    fn from(files: &[(&str, &str)]) -> Stats {
        stats(&|_, name| {
            let found = files.iter().find(|(file, _)| *file == name);
            found.map(|(_, text)| format!("{text}\n"))
        })
    }

    #[test]
    fn cpu_time_is_in_nanoseconds_for_each_cpu_and_mode() {
        let stats = from(&[
            ("cpuacct.stat", "user 3\nsystem 2"),
            ("cpuacct.usage", "55"),
            ("cpuacct.usage_percpu", "30 25"),
            ("cpuacct.usage_all", "cpu user system\n0 10 20\n1 15 10"),
            ("cpu.stat", "nr_periods 4\nnr_throttled 1\nthrottled_time 9"),
        ]);
        let usage = stats.cpu.usage;
        assert_eq!(
            (usage.user, usage.kernel, usage.total),
            (30_000_000, 20_000_000, 55)
        );
        assert_eq!(
            (usage.percpu_user, usage.percpu_kernel),
            (vec![10, 15], vec![20, 10])
        );
        assert_eq!(stats.cpu.throttling.throttled_time, 9);
    }

    #[test]
    fn the_first_table_that_has_entries_is_the_one_of_the_scheduler() {
        let stats = from(&[
            ("blkio.bfq.io_serviced_recursive", "Total 0"),
            (
                "blkio.throttle.io_serviced_recursive",
                "8:0 Read 5\n8:0 Total 5\nTotal 5",
            ),
            ("blkio.time_recursive", "8:16 77"),
        ]);
        let serviced = stats.blkio.io_serviced_recursive;
        assert_eq!((serviced.len(), serviced[0].value), (2, 5));
        let time = &stats.blkio.io_time_recursive[0];
        assert_eq!((time.minor, time.op.as_str(), time.value), (16, "", 77));
    }
}
