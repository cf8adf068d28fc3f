//! Values of config.json, which speaks cgroup v1, in the units of cgroup v2.

use crate::cgroup::error::{CgroupError, LimitFlaw};

/// `cpu.shares` (2 to 262144, default 1024) as `cpu.weight` (1 to 10000, default 100).
///
/// The curve is the one that runc 1.4, crun 1.23 and systemd use: 2 gives 1, 1024 gives 100, 262144 gives 10000, where the
/// older straight line gave a container with the default shares a weight of 39.
pub(crate) fn cpu_weight(shares: u64) -> u64 {
    const MIN_SHARES: u64 = 2;
    const MAX_SHARES: u64 = 262_144;
    const MAX_WEIGHT: u64 = 10_000;
    match shares {
        ..=MIN_SHARES => 1,
        MAX_SHARES.. => MAX_WEIGHT,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            let weight = 10f64.powf(exponent).ceil();
            (weight as u64).clamp(1, MAX_WEIGHT)
        }
    }
}

/// `blkio.weight` (10 to 1000) as `io.weight` (1 to 10000), linearly as runc and crun do.
pub(crate) fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

/// The part of `memory.swap` (memory and swap together) that cgroup v2 counts as swap. `None` is unset; -1 unlimited.
pub(crate) fn swap(memory: i64, both: i64) -> Result<Option<i64>, CgroupError> {
    let flaw = |flaw| CgroupError::Limit {
        limit: "linux.resources.memory.swap",
        value: both.to_string(),
        flaw,
    };
    match (memory, both) {
        // Unlimited memory with nothing said of swap: both, as cgroup v1 has it.
        (-1, 0) => Ok(Some(-1)),
        (_, 0) => Ok(None),
        (_, -1) => Ok(Some(-1)),
        (_, ..-1) => Err(flaw(LimitFlaw::Negative)),
        (-1, both) => Ok(Some(both)),
        (0, _) => Err(flaw(LimitFlaw::SwapWithoutLimit)),
        (memory, both) if both < memory => Err(flaw(LimitFlaw::SwapBelowLimit)),
        (memory, both) => Ok(Some(both - memory)),
    }
}

/// A limit as the `.max`, `.low` files of v2 take it; nothing where it is unset (0).
pub(crate) fn limit(name: &'static str, value: i64) -> Result<Option<String>, CgroupError> {
    match value {
        0 => Ok(None),
        -1 => Ok(Some("max".into())),
        ..-1 => Err(CgroupError::Limit {
            limit: name,
            value: value.to_string(),
            flaw: LimitFlaw::Negative,
        }),
        value => Ok(Some(value.to_string())),
    }
}

/// Checks `hugepageLimits[].pageSize`, which becomes a part of a file name.
pub(crate) fn page_size(size: &str) -> Result<&str, CgroupError> {
    let units = ["KB", "MB", "GB"];
    let digits = units.iter().find_map(|unit| size.strip_suffix(unit));
    if digits.is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    }) {
        return Ok(size);
    }
    Err(CgroupError::Limit {
        limit: "linux.resources.hugepageLimits.pageSize",
        value: size.into(),
        flaw: LimitFlaw::PageSize,
    })
}

/// Checks the name of a network interface or RDMA device, which becomes the first word of a line.
pub(crate) fn device_name<'a>(limit: &'static str, name: &'a str) -> Result<&'a str, CgroupError> {
    let plain = |c: char| !c.is_whitespace() && !c.is_control();
    if !name.is_empty() && name.chars().all(plain) {
        return Ok(name);
    }
    Err(CgroupError::Limit {
        limit,
        value: name.into(),
        flaw: LimitFlaw::DeviceName,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_shares_are_the_default_weight() {
        assert_eq!(cpu_weight(1024), 100);
    }

    #[test]
    fn shares_keep_their_ends_and_their_order() {
        for (shares, weight) in [
            (0, 1),
            (1, 1),
            (2, 1),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
        let weights: Vec<_> = (2..=262_144).map(cpu_weight).collect();
        assert!(weights.is_sorted());
        assert!(weights.iter().all(|weight| (1..=10_000).contains(weight)));
    }

    #[test]
    fn io_weights_keep_their_ends() {
        assert_eq!(io_weight(10), 1);
        assert_eq!(io_weight(500), 4950);
        assert_eq!(io_weight(1000), 10_000);
    }

    #[test]
    fn swap_is_what_is_left_above_memory() {
        assert_eq!(swap(100, 300).unwrap(), Some(200));
        assert_eq!(swap(100, 100).unwrap(), Some(0));
        assert_eq!(swap(100, -1).unwrap(), Some(-1));
        assert_eq!(swap(100, 0).unwrap(), None);
        assert_eq!(swap(0, 0).unwrap(), None);
        assert_eq!(swap(-1, 0).unwrap(), Some(-1));
        assert_eq!(swap(-1, 300).unwrap(), Some(300));
    }

    #[test]
    fn swap_without_or_below_memory_is_refused() {
        assert!(swap(0, 300).is_err());
        let error = swap(300, 100).unwrap_err().to_string();
        assert_eq!(
            error,
            "invalid linux.resources.memory.swap \"100\": memory and swap together must not be less than memory.limit"
        );
        assert!(swap(300, -2).is_err());
    }

    #[test]
    fn a_page_size_cannot_name_another_file() {
        for good in ["64KB", "2MB", "1GB"] {
            assert!(page_size(good).is_ok(), "{good}");
        }
        for bad in ["", "MB", "2", "2mb", "../2MB", "2MBMB", "2MB/x", "2MB.rsvd"] {
            assert!(page_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_device_name_is_one_word() {
        assert!(device_name("x", "mlx5_0").is_ok());
        for bad in ["", "a b", "a\nb"] {
            assert!(device_name("x", bad).is_err(), "{bad:?}");
        }
    }
}
