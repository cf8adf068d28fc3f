//! `linux.resources` as the files of cgroup v1 (Documentation/admin-guide/cgroup-v1).

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxResources, LinuxWeightDevice,
};

use super::v2::{check_usage, check_weight, plan_rdma};
use super::{Absent, Write, convert};
use crate::cgroup::error::{CgroupError, LimitFlaw};

/// The writes for `resources`, devices apart. `read` gives the content of a file of the cgroup as it is now.
pub(in crate::cgroup) fn plan(
    resources: &LinuxResources,
    read: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Write>, CgroupError> {
    if resources.unified().iter().flatten().next().is_some() {
        return Err(CgroupError::UnifiedOnV1);
    }
    let mut writes = Vec::new();
    if let Some(cpu) = resources.cpu() {
        plan_cpuset(cpu, &mut writes);
    }
    if let Some(memory) = resources.memory() {
        plan_memory(memory, read, &mut writes)?;
    }
    if let Some(cpu) = resources.cpu() {
        plan_cpu(cpu, &mut writes);
    }
    if let Some(pids) = resources.pids() {
        let limit = "linux.resources.pids.limit";
        let value = convert::limit(limit, pids.limit().max(-1))?;
        writes.extend(value.map(|value| Write::new(limit, "pids.max", value)));
    }
    if let Some(io) = resources.block_io() {
        plan_io(io, &mut writes)?;
    }
    for hugepages in resources.hugepage_limits().iter().flatten() {
        let name = "linux.resources.hugepageLimits";
        let size = convert::page_size(hugepages.page_size())?;
        let value = hugepages.limit().max(-1);
        writes.push(Write::new(
            name,
            format!("hugetlb.{size}.limit_in_bytes"),
            value,
        ));
        // Linux 5.7, as on cgroup v2.
        let reserved = format!("hugetlb.{size}.rsvd.limit_in_bytes");
        writes.push(Write::new(name, reserved, value).or(Absent::Skip));
    }
    if let Some(network) = resources.network() {
        plan_network(network, &mut writes)?;
    }
    plan_rdma(resources, &mut writes)?;
    Ok(writes)
}

/// The CPUs and memory nodes alone: they have to be there before the first process is.
pub(in crate::cgroup) fn plan_cpuset(cpu: &LinuxCpu, writes: &mut Vec<Write>) {
    let sets = [
        ("linux.resources.cpu.cpus", "cpuset.cpus", cpu.cpus()),
        ("linux.resources.cpu.mems", "cpuset.mems", cpu.mems()),
    ];
    for (limit, file, set) in sets {
        let set = set.iter().filter(|set| !set.is_empty());
        writes.extend(set.map(|set| Write::new(limit, file, set)));
    }
}

fn plan_memory(
    memory: &LinuxMemory,
    read: impl Fn(&str) -> Option<String>,
    writes: &mut Vec<Write>,
) -> Result<(), CgroupError> {
    let limit = memory.limit().unwrap_or(0);
    let mut both = memory.swap().unwrap_or(0);
    for (name, value) in [
        ("linux.resources.memory.limit", limit),
        ("linux.resources.memory.swap", both),
    ] {
        convert::limit(name, value)?;
    }
    let check = memory.check_before_update() == Some(true) && (limit > 0 || both > 0);
    let number = |file: &str| -> Option<u64> { read(file)?.trim().parse().ok() };
    if check {
        let usage = number("memory.usage_in_bytes");
        check_usage(limit, both, usage.unwrap_or(0))?;
    }
    // Unlimited memory would not be unlimited below an old limit of memory and swap together.
    if limit == -1 && both == 0 {
        both = -1;
    }
    let memory_write = (limit != 0).then(|| {
        Write::new(
            "linux.resources.memory.limit",
            "memory.limit_in_bytes",
            limit,
        )
    });
    let swap_write = (both != 0).then(|| {
        let write = Write::new(
            "linux.resources.memory.swap",
            "memory.memsw.limit_in_bytes",
            both,
        );
        // Without swap accounting there is no limit to lift.
        write.or(if both == -1 {
            Absent::Skip
        } else {
            Absent::Fail
        })
    });
    // At no time may the limit of memory be above that of memory and swap together: the kernel refuses it (EINVAL).
    let rises = |both: u64| number("memory.limit_in_bytes").is_some_and(|now| now < both);
    let swap_first =
        limit != 0 && (both == -1 || u64::try_from(both).is_ok_and(|both| both > 0 && rises(both)));
    let pair = match swap_first {
        true => [swap_write, memory_write],
        false => [memory_write, swap_write],
    };
    writes.extend(pair.into_iter().flatten());

    if let Some(reservation) = memory.reservation().filter(|&bytes| bytes != 0) {
        let name = "linux.resources.memory.reservation";
        convert::limit(name, reservation)?;
        writes.push(Write::new(name, "memory.soft_limit_in_bytes", reservation));
    }
    if memory.disable_oom_killer() == Some(true) {
        let name = "linux.resources.memory.disableOOMKiller";
        writes.push(Write::new(name, "memory.oom_control", 1));
    }
    // Go writes -1 into this unsigned field to say "unset".
    if let Some(swappiness) = memory.swappiness().filter(|&value| value != u64::MAX) {
        let name = "linux.resources.memory.swappiness";
        if swappiness > 100 {
            return Err(CgroupError::Limit {
                limit: name,
                value: swappiness.to_string(),
                flaw: LimitFlaw::Swappiness,
            });
        }
        writes.push(Write::new(name, "memory.swappiness", swappiness));
    }
    if let Some(bytes) = memory.kernel_tcp().filter(|&bytes| bytes != 0) {
        let name = "linux.resources.memory.kernelTCP";
        convert::limit(name, bytes)?;
        writes.push(Write::new(name, "memory.kmem.tcp.limit_in_bytes", bytes));
    }
    Ok(())
}

fn plan_cpu(cpu: &LinuxCpu, writes: &mut Vec<Write>) {
    if let Some(shares) = cpu.shares().filter(|&shares| shares != 0) {
        writes.push(Write::new(
            "linux.resources.cpu.shares",
            "cpu.shares",
            shares,
        ));
    }
    // Period and burst are refused while they do not fit the quota that still holds; then they are written again after it.
    if let Some(period) = cpu.period().filter(|&period| period != 0) {
        let write = Write::new("linux.resources.cpu.period", "cpu.cfs_period_us", period);
        writes.push(write.again());
    }
    if let Some(burst) = cpu.burst() {
        let write = Write::new("linux.resources.cpu.burst", "cpu.cfs_burst_us", burst);
        writes.push(write.again());
    }
    if let Some(quota) = cpu.quota().filter(|&quota| quota != 0) {
        let quota = quota.max(-1);
        writes.push(Write::new(
            "linux.resources.cpu.quota",
            "cpu.cfs_quota_us",
            quota,
        ));
    }
    if let Some(idle) = cpu.idle() {
        writes.push(Write::new("linux.resources.cpu.idle", "cpu.idle", idle));
    }
    if let Some(period) = cpu.realtime_period().filter(|&period| period != 0) {
        let write = Write::new(
            "linux.resources.cpu.realtimePeriod",
            "cpu.rt_period_us",
            period,
        );
        writes.push(write.again());
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|&runtime| runtime != 0) {
        writes.push(Write::new(
            "linux.resources.cpu.realtimeRuntime",
            "cpu.rt_runtime_us",
            runtime,
        ));
    }
}

fn plan_io(io: &LinuxBlockIo, writes: &mut Vec<Write>) -> Result<(), CgroupError> {
    if let Some(weight) = io.weight().filter(|&weight| weight != 0) {
        let name = "linux.resources.blockIO.weight";
        check_weight(name, weight)?;
        writes.push(weight_write(
            name,
            "blkio.weight",
            "blkio.bfq.weight",
            weight.to_string(),
        ));
    }
    if let Some(weight) = io.leaf_weight().filter(|&weight| weight != 0) {
        let name = "linux.resources.blockIO.leafWeight";
        writes.push(Write::new(name, "blkio.leaf_weight", weight));
    }
    for device in io.weight_device().iter().flatten() {
        plan_device_weight(device, writes)?;
    }
    let throttles = [
        (
            "linux.resources.blockIO.throttleReadBpsDevice",
            "blkio.throttle.read_bps_device",
            io.throttle_read_bps_device(),
        ),
        (
            "linux.resources.blockIO.throttleWriteBpsDevice",
            "blkio.throttle.write_bps_device",
            io.throttle_write_bps_device(),
        ),
        (
            "linux.resources.blockIO.throttleReadIOPSDevice",
            "blkio.throttle.read_iops_device",
            io.throttle_read_iops_device(),
        ),
        (
            "linux.resources.blockIO.throttleWriteIOPSDevice",
            "blkio.throttle.write_iops_device",
            io.throttle_write_iops_device(),
        ),
    ];
    for (limit, file, devices) in throttles {
        for device in devices.iter().flatten() {
            let line = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            writes.push(Write::new(limit, file, line));
        }
    }
    Ok(())
}

fn plan_device_weight(
    device: &LinuxWeightDevice,
    writes: &mut Vec<Write>,
) -> Result<(), CgroupError> {
    let number = format!("{}:{}", device.major(), device.minor());
    if let Some(weight) = device.weight().filter(|&weight| weight != 0) {
        let name = "linux.resources.blockIO.weightDevice";
        check_weight(name, weight)?;
        writes.push(weight_write(
            name,
            "blkio.weight_device",
            "blkio.bfq.weight_device",
            format!("{number} {weight}"),
        ));
    }
    if let Some(weight) = device.leaf_weight().filter(|&weight| weight != 0) {
        let name = "linux.resources.blockIO.weightDevice.leafWeight";
        let line = format!("{number} {weight}");
        writes.push(Write::new(name, "blkio.leaf_weight_device", line));
    }
    Ok(())
}

/// CFQ, which had these files, is gone since Linux 5.0; BFQ has the same ones under its own name.
fn weight_write(name: &'static str, cfq: &'static str, bfq: &'static str, value: String) -> Write {
    let instead = Write::new(name, bfq, &value);
    Write::new(name, cfq, value).or(Absent::Instead(Box::new(instead)))
}

fn plan_network(network: &LinuxNetwork, writes: &mut Vec<Write>) -> Result<(), CgroupError> {
    if let Some(id) = network.class_id().filter(|&id| id != 0) {
        let name = "linux.resources.network.classID";
        writes.push(Write::new(name, "net_cls.classid", id));
    }
    let name = "linux.resources.network.priorities";
    for priority in network.priorities().iter().flatten() {
        let interface = convert::device_name(name, priority.name())?;
        let line = format!("{interface} {}", priority.priority());
        writes.push(Write::new(name, "net_prio.ifpriomap", line));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where memory is limited to `limit` bytes now, and 4096 of them are in use.
    fn planned_at(limit: u64, resources: &str) -> Result<Vec<String>, CgroupError> {
        let resources = serde_json::from_str(resources).unwrap();
        let read = |file: &str| match file {
            "memory.limit_in_bytes" => Some(format!("{limit}\n")),
            "memory.usage_in_bytes" => Some("4096\n".into()),
            _ => None,
        };
        let writes = plan(&resources, read)?;
        let line = |write: &Write| format!("{}={}", write.file, write.value);
        Ok(writes.iter().map(line).collect())
    }

    fn planned(resources: &str) -> Vec<String> {
        planned_at(u64::MAX, resources).unwrap()
    }

    fn refused(resources: &str) -> String {
        let error = planned_at(u64::MAX, resources).unwrap_err();
        error.to_string()
    }

    #[test]
    fn what_engines_always_send_is_no_limit() {
        for nothing in [
            r#"{}"#,
            r#"{"memory":{"disableOOMKiller":false},"blockIO":{},"pids":{"limit":0},"cpu":{}}"#,
            r#"{"memory":{"limit":0,"swap":0,"reservation":0,"kernel":0,"kernelTCP":0,"swappiness":18446744073709551615},
                "cpu":{"shares":0,"quota":0,"period":0,"cpus":"","mems":""},"network":{"classID":0},"unified":{}}"#,
        ] {
            assert_eq!(planned(nothing), [""; 0], "{nothing}");
        }
    }

    #[test]
    fn a_lower_limit_is_written_before_that_of_swap_and_a_higher_one_after() {
        let memory = r#"{"memory":{"limit":100,"swap":200}}"#;
        assert_eq!(
            planned_at(1000, memory).unwrap(),
            [
                "memory.limit_in_bytes=100",
                "memory.memsw.limit_in_bytes=200"
            ]
        );
        assert_eq!(
            planned_at(50, memory).unwrap(),
            [
                "memory.memsw.limit_in_bytes=200",
                "memory.limit_in_bytes=100"
            ]
        );
    }

    #[test]
    fn unlimited_memory_lifts_the_limit_of_swap_first() {
        assert_eq!(
            planned(r#"{"memory":{"limit":-1}}"#),
            ["memory.memsw.limit_in_bytes=-1", "memory.limit_in_bytes=-1"]
        );
    }

    #[test]
    fn check_before_update_refuses_less_than_is_in_use() {
        let error = refused(r#"{"memory":{"limit":100,"checkBeforeUpdate":true}}"#);
        assert!(
            error.contains("rejecting memory limit 100 <= usage 4096"),
            "{error}"
        );
    }

    #[test]
    fn the_rest_of_memory() {
        assert_eq!(
            planned(
                r#"{"memory":{"reservation":5,"disableOOMKiller":true,"swappiness":0,"kernelTCP":7}}"#
            ),
            [
                "memory.soft_limit_in_bytes=5",
                "memory.oom_control=1",
                "memory.swappiness=0",
                "memory.kmem.tcp.limit_in_bytes=7"
            ]
        );
        assert!(refused(r#"{"memory":{"swappiness":101}}"#).contains("between 0 and 100"));
    }

    #[test]
    fn cpu_keeps_shares_as_they_are() {
        assert_eq!(
            planned(
                r#"{"cpu":{"shares":512,"quota":50000,"period":100000,"burst":10,"idle":1,"cpus":"0","mems":"0",
                    "realtimeRuntime":1,"realtimePeriod":2}}"#
            ),
            [
                "cpuset.cpus=0",
                "cpuset.mems=0",
                "cpu.shares=512",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_burst_us=10",
                "cpu.cfs_quota_us=50000",
                "cpu.idle=1",
                "cpu.rt_period_us=2",
                "cpu.rt_runtime_us=1"
            ]
        );
    }

    #[test]
    fn weights_go_to_bfq_where_cfq_is_gone() {
        let resources = serde_json::from_str(
            r#"{"blockIO":{"weight":10,"weightDevice":[{"major":8,"minor":0,"weight":20}]}}"#,
        )
        .unwrap();
        let writes = plan(&resources, |_| None).unwrap();
        let instead = |write: &Write| match &write.absent {
            Absent::Instead(other) => format!("{}={}", other.file, other.value),
            other => format!("{other:?}"),
        };
        let instead: Vec<_> = writes.iter().map(instead).collect();
        assert_eq!(
            instead,
            ["blkio.bfq.weight=10", "blkio.bfq.weight_device=8:0 20"]
        );
    }

    #[test]
    fn network_and_huge_pages() {
        assert_eq!(
            planned(
                r#"{"network":{"classID":1048577,"priorities":[{"name":"eth0","priority":5}]},
                    "hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#
            ),
            [
                "hugetlb.2MB.limit_in_bytes=4194304",
                "hugetlb.2MB.rsvd.limit_in_bytes=4194304",
                "net_cls.classid=1048577",
                "net_prio.ifpriomap=eth0 5"
            ]
        );
    }

    #[test]
    fn unified_is_refused() {
        assert_eq!(
            refused(r#"{"unified":{"memory.high":"1"}}"#),
            "invalid configuration: cannot use unified on cgroup v1"
        );
    }

    #[test]
    fn pids() {
        assert_eq!(planned(r#"{"pids":{"limit":-1}}"#), ["pids.max=max"]);
        assert_eq!(planned(r#"{"pids":{"limit":9}}"#), ["pids.max=9"]);
    }
}
