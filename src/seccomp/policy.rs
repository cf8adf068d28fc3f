//! A profile as plain data: for each system call interface, what every number gets. The front end makes it,
//! the back end turns it into instructions, and neither knows of the other.
#![forbid(unsafe_code)]

use super::abi::Abi;

/// What the kernel does with a call: a `SECCOMP_RET_*` value with its data in the low 16 bits.
pub(super) type Action = u32;

#[derive(Debug)]
pub(super) struct Policy {
    pub(super) default: Action,
    /// The native interface first; each at most once.
    pub(super) interfaces: Vec<Interface>,
}

#[derive(Debug)]
pub(super) struct Interface {
    pub(super) abi: &'static Abi,
    /// Sorted by number, each number once.
    pub(super) syscalls: Vec<(u32, Verdict)>,
    /// Numbers above this one are answered with ENOSYS.
    pub(super) last_known: Option<u32>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Always(Action),
    /// The first rule that matches decides, in the order of the profile; the default action if none does.
    When(Vec<Rule>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) action: Action,
    /// All have to hold.
    pub(super) conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// 0 to 5.
    pub(super) argument: u8,
    pub(super) test: Test,
    /// Whether the test has to fail instead of to hold.
    pub(super) negated: bool,
}

/// The three tests that, with their negations, make up all operators of the OCI specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    MaskedEqual { mask: u64, value: u64 },
    Greater(u64),
    GreaterOrEqual(u64),
}
