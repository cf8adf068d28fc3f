//! `linux.resources` as the files of cgroup v2 (Documentation/admin-guide/cgroup-v2.rst).

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxResources, LinuxThrottleDevice,
    LinuxWeightDevice,
};

use super::{Absent, Write, controller_of, convert};
use crate::cgroup::error::{CgroupError, LimitFlaw};

/// The writes for `resources`, devices apart. `read` gives the content of a file of the cgroup as it is now, for what an
/// update leaves out.
pub(in crate::cgroup) fn plan(
    resources: &LinuxResources,
    read: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Write>, CgroupError> {
    let mut writes = Vec::new();
    if let Some(pids) = resources.pids() {
        let limit = "linux.resources.pids.limit";
        // Any negative number is "unlimited" in the runtime specification here.
        let value = convert::limit(limit, pids.limit().max(-1))?;
        writes.extend(value.map(|value| Write::new(limit, "pids.max", value)));
    }
    if let Some(memory) = resources.memory() {
        plan_memory(memory, &read, &mut writes)?;
    }
    if let Some(io) = resources.block_io() {
        plan_io(io, &mut writes)?;
    }
    if let Some(cpu) = resources.cpu() {
        plan_cpu(cpu, &read, &mut writes)?;
    }
    for hugepages in resources.hugepage_limits().iter().flatten() {
        plan_hugepages(hugepages, &mut writes)?;
    }
    plan_rdma(resources, &mut writes)?;
    refuse_network(resources)?;
    plan_unified(resources, &mut writes)?;
    Ok(writes)
}

/// Swap before memory: the swap file exists only where the kernel counts swap, and there the lower limit must not be
/// missed for a moment.
fn plan_memory(
    memory: &LinuxMemory,
    read: impl Fn(&str) -> Option<String>,
    writes: &mut Vec<Write>,
) -> Result<(), CgroupError> {
    let limit = memory.limit().unwrap_or(0);
    let both = memory.swap().unwrap_or(0);
    let number = |file: &str| read(file)?.trim().parse::<i64>().ok();
    if memory.check_before_update() == Some(true) && (limit > 0 || both > 0) {
        // As in runc, a usage that cannot be read is no reason to fail: the check is a courtesy.
        let usage = number("memory.current").and_then(|bytes| u64::try_from(bytes).ok());
        check_usage(limit, both, usage.unwrap_or(0))?;
    }
    // Swap is given with memory in it. Alone it is meant with the memory that is allowed now.
    let memory_of_swap = match (limit, both) {
        (0, 1..) => number("memory.max").unwrap_or(0),
        _ => limit,
    };

    let name = "linux.resources.memory.swap";
    if let Some(swap) = convert::swap(memory_of_swap, both)? {
        let value = match swap {
            -1 => "max".to_owned(),
            swap => swap.to_string(),
        };
        // Where swap is not counted there is no file: fine if no limit, or no swap at all, was asked for.
        let absent = match swap {
            -1 | 0 => Absent::Skip,
            _ => Absent::Fail,
        };
        writes.push(Write::new(name, "memory.swap.max", value).or(absent));
    }
    let name = "linux.resources.memory.limit";
    let value = convert::limit(name, limit)?;
    writes.extend(value.map(|value| Write::new(name, "memory.max", value)));
    let name = "linux.resources.memory.reservation";
    let value = convert::limit(name, memory.reservation().unwrap_or(0))?;
    writes.extend(value.map(|value| Write::new(name, "memory.low", value)));

    refuse(
        "linux.resources.memory.kernelTCP",
        memory.kernel_tcp().is_some_and(|bytes| bytes > 0),
    )?;
    refuse(
        "linux.resources.memory.disableOOMKiller",
        memory.disable_oom_killer() == Some(true),
    )?;
    // Go writes -1 into this unsigned field to say "unset".
    let swappiness = memory.swappiness().filter(|&value| value != u64::MAX);
    refuse("linux.resources.memory.swappiness", swappiness.is_some())
}

/// For `checkBeforeUpdate`: a limit below what is in use would end processes.
pub(in crate::cgroup) fn check_usage(limit: i64, both: i64, usage: u64) -> Result<(), CgroupError> {
    for (what, limit) in [("memory+swap", both), ("memory", limit)] {
        if u64::try_from(limit).is_ok_and(|bytes| bytes > 0 && bytes <= usage) {
            return Err(CgroupError::BelowUsage { what, limit, usage });
        }
    }
    Ok(())
}

fn plan_io(io: &LinuxBlockIo, writes: &mut Vec<Write>) -> Result<(), CgroupError> {
    if let Some(weight) = io.weight().filter(|&weight| weight != 0) {
        let name = "linux.resources.blockIO.weight";
        check_weight(name, weight)?;
        // BFQ takes the weights of cgroup v1 as they are; it is there only while its module is loaded.
        let instead = Write::new(name, "io.weight", convert::io_weight(weight));
        writes
            .push(Write::new(name, "io.bfq.weight", weight).or(Absent::Instead(Box::new(instead))));
    }
    for device in io.weight_device().iter().flatten() {
        plan_device_weight(device, writes)?;
    }
    refuse(
        "linux.resources.blockIO.leafWeight",
        io.leaf_weight().is_some_and(|weight| weight != 0),
    )?;
    let throttles = [
        (
            "linux.resources.blockIO.throttleReadBpsDevice",
            "rbps",
            io.throttle_read_bps_device(),
        ),
        (
            "linux.resources.blockIO.throttleWriteBpsDevice",
            "wbps",
            io.throttle_write_bps_device(),
        ),
        (
            "linux.resources.blockIO.throttleReadIOPSDevice",
            "riops",
            io.throttle_read_iops_device(),
        ),
        (
            "linux.resources.blockIO.throttleWriteIOPSDevice",
            "wiops",
            io.throttle_write_iops_device(),
        ),
    ];
    for (limit, key, devices) in throttles {
        for device in devices.iter().flatten() {
            writes.push(Write::new(limit, "io.max", throttle(device, key)));
        }
    }
    Ok(())
}

/// A rate of zero lifts the limit on cgroup v1; v2 calls that `max` and refuses zero.
fn throttle(device: &LinuxThrottleDevice, key: &str) -> String {
    let (major, minor) = (device.major(), device.minor());
    match device.rate() {
        0 => format!("{major}:{minor} {key}=max"),
        rate => format!("{major}:{minor} {key}={rate}"),
    }
}

fn plan_device_weight(
    device: &LinuxWeightDevice,
    writes: &mut Vec<Write>,
) -> Result<(), CgroupError> {
    let name = "linux.resources.blockIO.weightDevice";
    refuse(
        "linux.resources.blockIO.weightDevice.leafWeight",
        device.leaf_weight().is_some_and(|weight| weight != 0),
    )?;
    let Some(weight) = device.weight().filter(|&weight| weight != 0) else {
        return Ok(());
    };
    check_weight(name, weight)?;
    let number = format!("{}:{}", device.major(), device.minor());
    let converted = format!("{number} {}", convert::io_weight(weight));
    let instead = Write::new(name, "io.weight", converted);
    writes.push(
        Write::new(name, "io.bfq.weight", format!("{number} {weight}"))
            .or(Absent::Instead(Box::new(instead))),
    );
    Ok(())
}

pub(in crate::cgroup) fn check_weight(limit: &'static str, weight: u16) -> Result<(), CgroupError> {
    match weight {
        10..=1000 => Ok(()),
        _ => Err(CgroupError::Limit {
            limit,
            value: weight.to_string(),
            flaw: LimitFlaw::Weight,
        }),
    }
}

fn plan_cpu(
    cpu: &LinuxCpu,
    read: impl Fn(&str) -> Option<String>,
    writes: &mut Vec<Write>,
) -> Result<(), CgroupError> {
    if let Some(idle) = cpu.idle() {
        writes.push(Write::new("linux.resources.cpu.idle", "cpu.idle", idle));
    }
    if let Some(shares) = cpu.shares().filter(|&shares| shares != 0) {
        let weight = convert::cpu_weight(shares);
        writes.push(Write::new(
            "linux.resources.cpu.shares",
            "cpu.weight",
            weight,
        ));
    }
    if let Some(burst) = cpu.burst() {
        let name = "linux.resources.cpu.burst";
        // More than the quota that still holds is refused until the new quota is there.
        writes.push(Write::new(name, "cpu.max.burst", burst).again());
    }
    let quota = cpu.quota().unwrap_or(0);
    let period = cpu.period().unwrap_or(0);
    if quota != 0 || period != 0 {
        let name = match quota {
            0 => "linux.resources.cpu.period",
            _ => "linux.resources.cpu.quota",
        };
        // One file has both. What is not given stays; the kernel starts with these.
        let now = read("cpu.max").unwrap_or_else(|| "max 100000".into());
        let (quota_now, period_now) = now.trim().split_once(' ').unwrap_or(("max", "100000"));
        let quota = match quota {
            0 => quota_now.to_owned(),
            1.. => quota.to_string(),
            _ => "max".to_owned(),
        };
        let period = match period {
            0 => period_now.to_owned(),
            period => period.to_string(),
        };
        writes.push(Write::new(name, "cpu.max", format!("{quota} {period}")));
    }
    let runtime = cpu.realtime_runtime().is_some_and(|value| value != 0);
    refuse("linux.resources.cpu.realtimeRuntime", runtime)?;
    let period = cpu.realtime_period().is_some_and(|value| value != 0);
    refuse("linux.resources.cpu.realtimePeriod", period)?;

    let sets = [
        ("linux.resources.cpu.cpus", "cpuset.cpus", cpu.cpus()),
        ("linux.resources.cpu.mems", "cpuset.mems", cpu.mems()),
    ];
    for (limit, file, set) in sets {
        let set = set.iter().filter(|set| !set.is_empty());
        writes.extend(set.map(|set| Write::new(limit, file, set)));
    }
    Ok(())
}

fn plan_hugepages(
    hugepages: &LinuxHugepageLimit,
    writes: &mut Vec<Write>,
) -> Result<(), CgroupError> {
    let name = "linux.resources.hugepageLimits";
    let size = convert::page_size(hugepages.page_size())?;
    let value = match hugepages.limit() {
        ..0 => "max".to_owned(),
        limit => limit.to_string(),
    };
    writes.push(Write::new(name, format!("hugetlb.{size}.max"), &value));
    // Reserving counts as well as using, or a process that only maps can starve others. Linux 5.7.
    writes.push(Write::new(name, format!("hugetlb.{size}.rsvd.max"), value).or(Absent::Skip));
    Ok(())
}

pub(in crate::cgroup) fn plan_rdma(
    resources: &LinuxResources,
    writes: &mut Vec<Write>,
) -> Result<(), CgroupError> {
    let name = "linux.resources.rdma";
    let mut devices: Vec<_> = resources.rdma().iter().flatten().collect();
    devices.sort_by_key(|(device, _)| device.as_str());
    for (device, limits) in devices {
        let mut line = convert::device_name(name, device)?.to_owned();
        if let Some(handles) = limits.hca_handles() {
            line.push_str(&format!(" hca_handle={handles}"));
        }
        if let Some(objects) = limits.hca_objects() {
            line.push_str(&format!(" hca_object={objects}"));
        }
        writes.push(Write::new(name, "rdma.max", line));
    }
    Ok(())
}

fn refuse_network(resources: &LinuxResources) -> Result<(), CgroupError> {
    let Some(network) = resources.network() else {
        return Ok(());
    };
    refuse(
        "linux.resources.network.classID",
        network.class_id().is_some_and(|id| id != 0),
    )?;
    refuse(
        "linux.resources.network.priorities",
        network.priorities().iter().flatten().next().is_some(),
    )
}

/// Last, so that a key given here wins over what was computed above.
fn plan_unified(resources: &LinuxResources, writes: &mut Vec<Write>) -> Result<(), CgroupError> {
    let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
    unified.sort();
    for (key, value) in unified {
        if key.contains(['/', '\0']) {
            return Err(CgroupError::UnifiedSlash { key: key.clone() });
        }
        let parts = key.split_once('.');
        if !parts.is_some_and(|(controller, name)| !controller.is_empty() && !name.is_empty()) {
            return Err(CgroupError::UnifiedForm { key: key.clone() });
        }
        // Files such as io.max take one line a write.
        for line in value.lines() {
            writes.push(Write {
                limit: format!("unified resource {key:?}").into(),
                controller: controller_of(key).to_owned().into(),
                file: key.clone().into(),
                value: line.to_owned(),
                absent: Absent::Fail,
                again: false,
            });
        }
    }
    Ok(())
}

fn refuse(limit: &'static str, asked: bool) -> Result<(), CgroupError> {
    match asked {
        true => Err(CgroupError::Unsupported {
            limit,
            version: "v2",
        }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(resources: &str) -> Result<Vec<String>, CgroupError> {
        let resources = serde_json::from_str(resources).unwrap();
        let read = |file: &str| (file == "memory.current").then(|| "4096\n".into());
        let writes = plan(&resources, read)?;
        Ok(writes.iter().map(line).collect())
    }

    fn line(write: &Write) -> String {
        let absent = match &write.absent {
            Absent::Fail => String::new(),
            Absent::Skip => " or skip".into(),
            Absent::Instead(other) => format!(" or {}", line(other)),
        };
        format!("{}={}{absent}", write.file, write.value)
    }

    fn refused(resources: &str) -> String {
        planned(resources).unwrap_err().to_string()
    }

    #[test]
    fn what_engines_always_send_is_no_limit() {
        for nothing in [
            r#"{}"#,
            r#"{"memory":{"disableOOMKiller":false},"blockIO":{},"pids":{"limit":0},"cpu":{}}"#,
            r#"{"memory":{"limit":0,"swap":0,"reservation":0},"cpu":{"shares":0,"quota":0,"period":0,
                "realtimeRuntime":0,"realtimePeriod":0,"cpus":"","mems":""},"blockIO":{"weight":0,"leafWeight":0}}"#,
            r#"{"hugepageLimits":[],"network":{},"rdma":{},"unified":{}}"#,
        ] {
            assert_eq!(planned(nothing).unwrap(), [""; 0], "{nothing}");
        }
    }

    #[test]
    fn memory_of_docker() {
        assert_eq!(
            planned(r#"{"memory":{"limit":67108864,"swap":134217728,"reservation":1048576}}"#)
                .unwrap(),
            [
                "memory.swap.max=67108864",
                "memory.max=67108864",
                "memory.low=1048576"
            ]
        );
    }

    #[test]
    fn no_swap_and_any_swap_need_no_swap_accounting() {
        assert_eq!(
            planned(r#"{"memory":{"limit":100,"swap":100}}"#).unwrap(),
            ["memory.swap.max=0 or skip", "memory.max=100"]
        );
        assert_eq!(
            planned(r#"{"memory":{"limit":-1}}"#).unwrap(),
            ["memory.swap.max=max or skip", "memory.max=max"]
        );
    }

    #[test]
    fn check_before_update_refuses_less_than_is_in_use() {
        let memory = r#"{"memory":{"limit":4096,"checkBeforeUpdate":true}}"#;
        assert!(refused(memory).contains("rejecting memory limit 4096 <= usage 4096"));
        let memory = r#"{"memory":{"limit":1024,"swap":2048,"checkBeforeUpdate":true}}"#;
        assert!(refused(memory).contains("rejecting memory+swap limit 2048 <= usage 4096"));
        let memory = r#"{"memory":{"limit":4097,"checkBeforeUpdate":true}}"#;
        assert_eq!(planned(memory).unwrap(), ["memory.max=4097"]);
    }

    #[test]
    fn cpu_in_the_order_that_the_kernel_wants() {
        assert_eq!(
            planned(
                r#"{"cpu":{"shares":1024,"quota":50000,"burst":1000,"idle":0,"cpus":"0-1","mems":"0"}}"#
            )
            .unwrap(),
            [
                "cpu.idle=0",
                "cpu.weight=100",
                "cpu.max.burst=1000",
                "cpu.max=50000 100000",
                "cpuset.cpus=0-1",
                "cpuset.mems=0"
            ]
        );
        assert_eq!(
            planned(r#"{"cpu":{"quota":-1,"period":20000}}"#).unwrap(),
            ["cpu.max=max 20000"]
        );
    }

    #[test]
    fn what_an_update_leaves_out_stays() {
        let update = |json: &str| {
            let read = |file: &str| match file {
                "cpu.max" => Some("50000 200000\n".into()),
                "memory.max" => Some("1000\n".into()),
                _ => None,
            };
            let writes = plan(&serde_json::from_str(json).unwrap(), read).unwrap();
            writes.iter().map(line).collect::<Vec<_>>()
        };
        assert_eq!(update(r#"{"cpu":{"quota":-1}}"#), ["cpu.max=max 200000"]);
        assert_eq!(update(r#"{"cpu":{"period":1000}}"#), ["cpu.max=50000 1000"]);
        assert_eq!(
            update(r#"{"memory":{"swap":1500}}"#),
            ["memory.swap.max=500"]
        );
    }

    #[test]
    fn io_weights_go_to_bfq_as_they_are_and_to_io_weight_converted() {
        assert_eq!(
            planned(
                r#"{"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":10}]}}"#
            )
            .unwrap(),
            [
                "io.bfq.weight=500 or io.weight=4950",
                "io.bfq.weight=8:0 10 or io.weight=8:0 1"
            ]
        );
        assert!(refused(r#"{"blockIO":{"weight":5}}"#).contains("between 10 and 1000"));
    }

    #[test]
    fn throttles_of_all_four_kinds() {
        let device = |rate| format!(r#"[{{"major":8,"minor":16,"rate":{rate}}}]"#);
        let io = format!(
            r#"{{"blockIO":{{"throttleReadBpsDevice":{},"throttleWriteBpsDevice":{},
                "throttleReadIOPSDevice":{},"throttleWriteIOPSDevice":{}}}}}"#,
            device(1),
            device(2),
            device(3),
            device(0)
        );
        assert_eq!(
            planned(&io).unwrap(),
            [
                "io.max=8:16 rbps=1",
                "io.max=8:16 wbps=2",
                "io.max=8:16 riops=3",
                "io.max=8:16 wiops=max"
            ]
        );
    }

    #[test]
    fn huge_pages_are_limited_when_reserved_and_when_used() {
        assert_eq!(
            planned(r#"{"hugepageLimits":[{"pageSize":"2MB","limit":0}]}"#).unwrap(),
            ["hugetlb.2MB.max=0", "hugetlb.2MB.rsvd.max=0 or skip"]
        );
    }

    #[test]
    fn rdma_devices_have_one_line_each() {
        assert_eq!(
            planned(
                r#"{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000},"a":{"hcaObjects":1}}}"#
            )
            .unwrap(),
            [
                "rdma.max=a hca_object=1",
                "rdma.max=mlx5_1 hca_handle=3 hca_object=10000"
            ]
        );
    }

    #[test]
    fn unified_comes_last_and_by_line() {
        assert_eq!(
            planned(
                r#"{"unified":{"io.max":"8:0 rbps=1\n8:16 rbps=2","memory.high":"1"},"pids":{"limit":7}}"#
            )
            .unwrap(),
            ["pids.max=7", "io.max=8:0 rbps=1", "io.max=8:16 rbps=2", "memory.high=1"]
        );
    }

    #[test]
    fn unified_names_no_file_but_of_this_cgroup() {
        for key in ["../memory.max", "a/b.c", "/memory.max"] {
            let error = refused(&format!(r#"{{"unified":{{"{key}":"1"}}}}"#));
            assert!(error.contains("no slashes"), "{error}");
        }
        for key in ["", ".", "..", "memory", ".max", "memory."] {
            let error = refused(&format!(r#"{{"unified":{{"{key}":"1"}}}}"#));
            assert!(error.contains("CONTROLLER.PARAMETER"), "{error}");
        }
    }

    #[test]
    fn what_v2_cannot_do_is_refused_by_name() {
        for (resources, limit) in [
            (
                r#"{"memory":{"disableOOMKiller":true}}"#,
                "memory.disableOOMKiller",
            ),
            (r#"{"memory":{"swappiness":10}}"#, "memory.swappiness"),
            (r#"{"memory":{"kernelTCP":10}}"#, "memory.kernelTCP"),
            (r#"{"blockIO":{"leafWeight":10}}"#, "blockIO.leafWeight"),
            (r#"{"cpu":{"realtimeRuntime":5}}"#, "cpu.realtimeRuntime"),
            (r#"{"network":{"classID":5}}"#, "network.classID"),
            (
                r#"{"network":{"priorities":[{"name":"eth0","priority":1}]}}"#,
                "network.priorities",
            ),
        ] {
            let error = refused(resources);
            assert_eq!(
                error,
                format!(
                    "cannot set linux.resources.{limit}: cgroup v2 has no such limit; leave it out"
                )
            );
        }
    }
}
