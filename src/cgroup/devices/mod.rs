//! Which devices a container may open: the rules of `linux.resources.devices`.
//!
//! The last rule that matches decides, access by access, as the runtime specification has it. To the rules of config.json
//! come those that every container needs, in three parts:
//!
//! 1. everything is denied,
//! 2. the devices of every container (/dev/null and the like) are allowed,
//! 3. then the rules of config.json, so that a rule there can take one of those devices away,
//! 4. last, making a node of any device is allowed (not opening it), as in runc: an image with nodes can be unpacked.
//!
//! A rule for all devices and all accesses starts anew, and what was before it is forgotten; if it allows everything,
//! nothing is added to it. `program` is the form for cgroup v2, `list` that for v1.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::error::{CgroupError, DeviceRuleFlaw};

pub(super) mod attach;
pub(super) mod list;
pub(super) mod program;

/// A set of accesses, numbered as BPF_DEVCG_ACC_* of linux/bpf.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Access(u8);

impl Access {
    pub(super) const MKNOD: Self = Self(1);
    pub(super) const READ: Self = Self(2);
    pub(super) const WRITE: Self = Self(4);
    pub(super) const ALL: Self = Self(7);

    pub(super) fn bits(self) -> u8 {
        self.0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Configs for runc on cgroup v1 deny with `a`, which stood for all there; more is never allowed by it.
    fn parse(text: &str, allow: bool) -> Result<Self, DeviceRuleFlaw> {
        let mut access = Self(0);
        for letter in text.chars() {
            access = access.union(match letter {
                'r' => Self::READ,
                'w' => Self::WRITE,
                'm' => Self::MKNOD,
                'a' if !allow => Self::ALL,
                _ => return Err(DeviceRuleFlaw::Access(text.into())),
            });
        }
        match access.is_empty() {
            true => Err(DeviceRuleFlaw::NoAccess),
            false => Ok(access),
        }
    }
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (access, letter) in [(Self::READ, "r"), (Self::WRITE, "w"), (Self::MKNOD, "m")] {
            if !self.intersection(access).is_empty() {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// The kind of a device, numbered as BPF_DEVCG_DEV_* of linux/bpf.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Block = 1,
    Char = 2,
}

/// One rule. `None` stands for any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub allow: bool,
    pub kind: Option<Kind>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: Access,
}

impl Rule {
    const fn allow(kind: Kind, major: Option<u32>, minor: Option<u32>, access: Access) -> Self {
        Self {
            allow: true,
            kind: Some(kind),
            major,
            minor,
            access,
        }
    }

    /// Whether it decides about every device and every access.
    pub(super) fn is_total(&self) -> bool {
        self.kind.is_none()
            && self.major.is_none()
            && self.minor.is_none()
            && self.access == Access::ALL
    }

    fn parse(rule: &LinuxDeviceCgroup) -> Result<Self, DeviceRuleFlaw> {
        let kind = match rule.typ() {
            None | Some(LinuxDeviceType::A) => None,
            Some(LinuxDeviceType::B) => Some(Kind::Block),
            Some(LinuxDeviceType::C) => Some(Kind::Char),
            Some(LinuxDeviceType::U | LinuxDeviceType::P) => return Err(DeviceRuleFlaw::Type),
        };
        let access = Access::parse(rule.access().as_deref().unwrap_or_default(), rule.allow())?;
        Ok(Self {
            allow: rule.allow(),
            kind,
            major: number(rule.major())?,
            minor: number(rule.minor())?,
            access,
        })
    }
}

/// Go programs write -1 for any device.
fn number(number: Option<i64>) -> Result<Option<u32>, DeviceRuleFlaw> {
    match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number)
            .map(Some)
            .map_err(|_out_of_range| DeviceRuleFlaw::Number(number)),
    }
}

/// The devices of every container: null, zero, full, random, urandom, tty, and the pseudo-terminals with their ptmx
/// (runtime specification, "Default Devices"; the console is one of the pseudo-terminals). And tun, which runc took out in
/// 1.2.0 and had to put back in 1.2.4: images that make a VPN make its node themselves.
const ALWAYS: [Rule; 9] = {
    const fn device(major: u32, minor: Option<u32>) -> Rule {
        Rule::allow(Kind::Char, Some(major), minor, Access::ALL)
    }
    [
        device(1, Some(3)),
        device(1, Some(5)),
        device(1, Some(7)),
        device(1, Some(8)),
        device(1, Some(9)),
        device(5, Some(0)),
        device(5, Some(2)),
        device(10, Some(200)),
        device(136, None),
    ]
};

const MAKE_NODES: [Rule; 2] = [
    Rule::allow(Kind::Char, None, None, Access::MKNOD),
    Rule::allow(Kind::Block, None, None, Access::MKNOD),
];

/// What holds for a device that no rule matches, and the rules in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    pub allow_by_default: bool,
    pub rules: Vec<Rule>,
}

impl Rules {
    /// The rules of config.json with those of every container.
    pub(super) fn of(given: &[LinuxDeviceCgroup]) -> Result<Self, CgroupError> {
        let mut parsed = Vec::with_capacity(given.len());
        for (index, rule) in given.iter().enumerate() {
            let rule = Rule::parse(rule).map_err(|flaw| CgroupError::DeviceRule { index, flaw })?;
            parsed.push(rule);
        }
        let total = parsed.iter().rposition(Rule::is_total);
        let rest = &parsed[total.map_or(0, |at| at + 1)..];
        let allow_by_default = total.is_some_and(|at| parsed[at].allow);
        let rules = match allow_by_default {
            true => rest.to_vec(),
            false => [&ALWAYS, rest, &MAKE_NODES].concat(),
        };
        Ok(Self {
            allow_by_default,
            rules,
        })
    }

    /// What the rules say of one access, read off them in the plainest way: the measure for both forms.
    #[cfg(test)]
    fn allows(&self, kind: Kind, major: u32, minor: u32, access: Access) -> bool {
        let allows_one = |one: Access| {
            let matches = |rule: &&Rule| {
                rule.kind.is_none_or(|wanted| wanted == kind)
                    && rule.major.is_none_or(|wanted| wanted == major)
                    && rule.minor.is_none_or(|wanted| wanted == minor)
                    && !rule.access.intersection(one).is_empty()
            };
            let last = self.rules.iter().rev().find(matches);
            last.map_or(self.allow_by_default, |rule| rule.allow)
        };
        [Access::READ, Access::WRITE, Access::MKNOD]
            .into_iter()
            .filter(|one| !access.intersection(*one).is_empty())
            .all(allows_one)
    }
}

#[cfg(test)]
pub(super) fn rules(json: &str) -> Rules {
    let given: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).unwrap();
    Rules::of(&given).unwrap()
}

/// What Docker writes.
#[cfg(test)]
pub(super) const DOCKER: &str = r#"[{"allow":false,"access":"rwm"},
    {"allow":true,"type":"c","major":5,"minor":1,"access":"rwm"},
    {"allow":false,"type":"c","major":10,"minor":229,"access":"rwm"}]"#;

#[cfg(test)]
mod tests {
    use super::*;

    const RW: Access = Access(6);

    #[test]
    fn without_rules_only_the_devices_of_every_container_are_allowed() {
        for json in ["[]", r#"[{"allow":false,"access":"rwm"}]"#] {
            let rules = rules(json);
            assert!(rules.allows(Kind::Char, 1, 3, RW));
            assert!(rules.allows(Kind::Char, 136, 17, Access::ALL));
            assert!(rules.allows(Kind::Block, 8, 0, Access::MKNOD));
            assert!(!rules.allows(Kind::Block, 8, 0, Access::READ));
            assert!(!rules.allows(Kind::Char, 10, 232, RW));
            assert!(!rules.allows(Kind::Char, 5, 1, RW));
        }
    }

    #[test]
    fn a_rule_of_the_config_can_take_a_default_device_away() {
        let rules = rules(r#"[{"allow":false,"type":"c","major":1,"minor":8,"access":"rw"}]"#);
        assert!(!rules.allows(Kind::Char, 1, 8, Access::READ));
        assert!(rules.allows(Kind::Char, 1, 9, Access::READ));
    }

    #[test]
    fn privileged_containers_have_every_device() {
        let rules = rules(r#"[{"allow":false,"access":"rwm"},{"allow":true,"access":"rwm"}]"#);
        assert!(rules.allow_by_default);
        assert_eq!(rules.rules, []);
    }

    #[test]
    fn a_deny_after_allowing_everything_holds_for_nodes_too() {
        let rules = rules(
            r#"[{"allow":true,"access":"rwm"},{"allow":false,"type":"b","major":8,"access":"rwm"}]"#,
        );
        assert!(!rules.allows(Kind::Block, 8, 3, Access::MKNOD));
        assert!(rules.allows(Kind::Char, 8, 3, Access::ALL));
    }

    #[test]
    fn type_a_with_a_number_means_that_number_only() {
        let rules = rules(r#"[{"allow":true,"type":"a","major":10,"minor":232,"access":"rw"}]"#);
        assert!(rules.allows(Kind::Char, 10, 232, RW));
        assert!(rules.allows(Kind::Block, 10, 232, RW));
        assert!(!rules.allows(Kind::Char, 10, 233, RW));
    }

    #[test]
    fn all_accesses_can_be_denied_by_a_letter_but_not_allowed() {
        assert_eq!(Access::parse("rwa", false), Ok(Access::ALL));
        assert!(Access::parse("rwa", true).is_err());
    }

    #[test]
    fn a_bad_rule_is_told_by_its_index() {
        for (rule, message) in [
            (r#"{"allow":true}"#, "its access cannot be empty"),
            (
                r#"{"allow":true,"access":"rx"}"#,
                "its access \"rx\" may only contain \"r\", \"w\" and \"m\"",
            ),
            (
                r#"{"allow":true,"type":"p","access":"r"}"#,
                "its type must be \"a\", \"b\" or \"c\"",
            ),
            (
                r#"{"allow":true,"major":-2,"access":"r"}"#,
                "the device number -2 is out of range",
            ),
        ] {
            let json = format!(r#"[{{"allow":false,"access":"rwm"}},{rule}]"#);
            let given: Vec<LinuxDeviceCgroup> = serde_json::from_str(&json).unwrap();
            let error = Rules::of(&given).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("invalid rule 1 of linux.resources.devices: {message}")
            );
        }
    }
}
