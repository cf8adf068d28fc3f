//! Device rules as the exception list of cgroup v1 (Documentation/admin-guide/cgroup-v1/devices.rst).
//!
//! A v1 cgroup has one answer for every device and a list of exceptions from it, each for a kind, a number or all, and
//! some accesses. The order of rules is lost there, so it is worked out here; what the list cannot say is an error, where
//! the kernel would ignore the rule without a word.

use super::{Access, Kind, Rule, Rules};
use crate::cgroup::error::CgroupError;

/// What to write, in order.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cgroup) struct List {
    /// Whether everything but the exceptions is allowed.
    pub allow: bool,
    pub exceptions: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Exception {
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
    access: Access,
}

/// Works the order of the rules out.
pub(in crate::cgroup) fn compile(rules: &Rules) -> Result<List, CgroupError> {
    let mut exceptions: Vec<Exception> = Vec::new();
    for rule in &rules.rules {
        for change in by_kind(rule) {
            match rule.allow == rules.allow_by_default {
                false => add(&mut exceptions, change),
                true => remove(&mut exceptions, change)?,
            }
        }
    }
    exceptions.retain(|exception| !exception.access.is_empty());
    Ok(List {
        allow: rules.allow_by_default,
        exceptions: exceptions.iter().map(Exception::line).collect(),
    })
}

/// The kernel takes the type `a` for everything, whatever numbers stand beside it.
fn by_kind(rule: &Rule) -> impl Iterator<Item = Exception> {
    let kinds = match rule.kind {
        Some(kind) => vec![kind],
        None => vec![Kind::Block, Kind::Char],
    };
    let Rule {
        major,
        minor,
        access,
        ..
    } = *rule;
    kinds.into_iter().map(move |kind| Exception {
        kind,
        major,
        minor,
        access,
    })
}

fn add(exceptions: &mut Vec<Exception>, new: Exception) {
    match exceptions.iter_mut().find(|old| old.is_about(&new)) {
        Some(old) => old.access = old.access.union(new.access),
        None => exceptions.push(new),
    }
}

fn remove(exceptions: &mut [Exception], gone: Exception) -> Result<(), CgroupError> {
    for exception in exceptions {
        let common = exception.access.intersection(gone.access);
        if common.is_empty() || !exception.meets(&gone) {
            continue;
        }
        if !gone.covers(exception) {
            return Err(CgroupError::DeviceHole {
                denied: gone.line(),
                wider: exception.line(),
            });
        }
        exception.access = exception.access.difference(common);
    }
    Ok(())
}

impl Exception {
    /// Whether both are written with the same devices.
    fn is_about(&self, other: &Self) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }

    /// Whether some device is meant by both.
    fn meets(&self, other: &Self) -> bool {
        let meet = |one: Option<u32>, other: Option<u32>| match (one, other) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        self.kind == other.kind && meet(self.major, other.major) && meet(self.minor, other.minor)
    }

    /// Whether every device that `other` means is meant by this one.
    fn covers(&self, other: &Self) -> bool {
        let covers = |wide: Option<u32>, narrow: Option<u32>| wide.is_none() || wide == narrow;
        self.kind == other.kind
            && covers(self.major, other.major)
            && covers(self.minor, other.minor)
    }

    fn line(&self) -> String {
        let kind = match self.kind {
            Kind::Block => 'b',
            Kind::Char => 'c',
        };
        let number = |number: Option<u32>| number.map_or("*".into(), |number| number.to_string());
        let (major, minor) = (number(self.major), number(self.minor));
        format!("{kind} {major}:{minor} {}", self.access)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DOCKER, rules};
    use super::*;

    fn compiled(json: &str) -> List {
        compile(&rules(json)).unwrap()
    }

    #[test]
    fn docker_gets_its_list() {
        let list = compiled(DOCKER);
        assert!(!list.allow);
        assert_eq!(
            list.exceptions,
            [
                "c 1:3 rwm",
                "c 1:5 rwm",
                "c 1:7 rwm",
                "c 1:8 rwm",
                "c 1:9 rwm",
                "c 5:0 rwm",
                "c 5:2 rwm",
                "c 10:200 rwm",
                "c 136:* rwm",
                "c 5:1 rwm",
                "c *:* m",
                "b *:* m"
            ]
        );
    }

    #[test]
    fn a_privileged_container_has_no_exceptions() {
        let list = compiled(r#"[{"allow":true,"access":"rwm"}]"#);
        assert_eq!(
            list,
            List {
                allow: true,
                exceptions: vec![]
            }
        );
    }

    #[test]
    fn a_default_device_can_be_denied_in_part() {
        let list = compiled(r#"[{"allow":false,"type":"c","major":1,"minor":3,"access":"w"}]"#);
        assert_eq!(list.exceptions[0], "c 1:3 rm");
    }

    #[test]
    fn a_wide_deny_takes_the_narrow_exceptions_with_it() {
        let list = compiled(r#"[{"allow":false,"type":"c","access":"rwm"}]"#);
        assert_eq!(list.exceptions, ["c *:* m", "b *:* m"]);
    }

    #[test]
    fn a_hole_in_a_wider_rule_is_refused_not_ignored() {
        let error = compile(&rules(
            r#"[{"allow":true,"type":"b","major":8,"access":"rw"},
                {"allow":false,"type":"b","major":8,"minor":1,"access":"w"}]"#,
        ))
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "cgroup v1 cannot deny \"b 8:1 w\" while the wider rule \"b 8:* rw\" allows it: list the allowed devices one by one"
        );
    }

    #[test]
    fn type_a_with_a_number_becomes_both_kinds() {
        let list = compiled(r#"[{"allow":true,"major":10,"minor":232,"access":"rw"}]"#);
        assert!(list.exceptions.contains(&"b 10:232 rw".to_owned()));
        assert!(list.exceptions.contains(&"c 10:232 rw".to_owned()));
    }

    #[test]
    fn exceptions_from_allowing_everything_are_denials() {
        let list =
            compiled(r#"[{"allow":true,"access":"rwm"},{"allow":false,"type":"b","access":"w"}]"#);
        assert_eq!(
            list,
            List {
                allow: true,
                exceptions: vec!["b *:* w".into()]
            }
        );
    }
}
