//! Keys of a document in another case than the specification has them in.
//!
//! Go, in which runc and the engines are written, reads `pagesize` and `CPU` as `pageSize` and `cpu`, and configs in the
//! field rely on it. Here such a key would be ignored without a word, and with it what it asks for.

use serde_json::{Map, Value};

/// The keys of config.json and process.json, sorted. (The parts for other systems than Linux are not read.)
const KNOWN: [&str; 146] = [
    "access",
    "action",
    "additionalGids",
    "allow",
    "ambient",
    "annotations",
    "apparmorProfile",
    "architectures",
    "args",
    "blockIO",
    "bounding",
    "burst",
    "capabilities",
    "cgroupsPath",
    "checkBeforeUpdate",
    "class",
    "classID",
    "closID",
    "consoleSize",
    "containerID",
    "cpu",
    "cpuAffinity",
    "cpus",
    "createContainer",
    "createRuntime",
    "cwd",
    "deadline",
    "defaultAction",
    "defaultErrnoRet",
    "destination",
    "devices",
    "disableOOMKiller",
    "domain",
    "domainname",
    "effective",
    "enableCMT",
    "enableMBM",
    "enableMonitoring",
    "env",
    "errnoRet",
    "execCPUAffinity",
    "fileMode",
    "final",
    "flags",
    "gid",
    "gidMappings",
    "hard",
    "hcaHandles",
    "hcaObjects",
    "height",
    "hooks",
    "hostID",
    "hostname",
    "hugepageLimits",
    "idle",
    "index",
    "inheritable",
    "initial",
    "intelRdt",
    "ioPriority",
    "kernel",
    "kernelTCP",
    "l3CacheSchema",
    "leafWeight",
    "limit",
    "linux",
    "listenerMetadata",
    "listenerPath",
    "major",
    "maskedPaths",
    "memBwSchema",
    "memory",
    "memoryPolicy",
    "mems",
    "minor",
    "mode",
    "mountLabel",
    "mounts",
    "name",
    "names",
    "namespaces",
    "nanosecs",
    "netDevices",
    "network",
    "nice",
    "noNewPrivileges",
    "nodes",
    "ociVersion",
    "oomScoreAdj",
    "op",
    "options",
    "pageSize",
    "path",
    "period",
    "permitted",
    "personality",
    "pids",
    "policy",
    "poststart",
    "poststop",
    "prestart",
    "priorities",
    "priority",
    "process",
    "quota",
    "rate",
    "rdma",
    "readonly",
    "readonlyPaths",
    "realtimePeriod",
    "realtimeRuntime",
    "reservation",
    "resources",
    "rlimits",
    "root",
    "rootfsPropagation",
    "runtime",
    "scheduler",
    "schemata",
    "seccomp",
    "secs",
    "selinuxLabel",
    "shares",
    "size",
    "soft",
    "source",
    "startContainer",
    "swap",
    "swappiness",
    "syscalls",
    "sysctl",
    "terminal",
    "throttleReadBpsDevice",
    "throttleReadIOPSDevice",
    "throttleWriteBpsDevice",
    "throttleWriteIOPSDevice",
    "timeOffsets",
    "timeout",
    "type",
    "uid",
    "uidMappings",
    "umask",
    "unified",
    "useHierarchy",
    "user",
    "username",
];

/// Objects whose keys are the user's own.
const FREE: [&str; 6] = [
    "annotations",
    "netDevices",
    "rdma",
    "sysctl",
    "timeOffsets",
    "unified",
];

/// Whether some key looks like one of ours in another case. One pass over the text, without parsing it: nearly no document
/// has any.
pub(super) fn has_unusual_case(text: &[u8]) -> bool {
    let mut at = 0;
    while let Some(begin) = find(text, at, b'"') {
        let Some(end) = end_of_string(text, begin + 1) else {
            return false;
        };
        let after = &text[end + 1..];
        let is_key = after.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
        if is_key && usual(&text[begin + 1..end]).is_some() {
            return true;
        }
        at = end + 1;
    }
    false
}

fn find(text: &[u8], from: usize, byte: u8) -> Option<usize> {
    let found = text.get(from..)?.iter().position(|&one| one == byte)?;
    Some(from + found)
}

fn end_of_string(text: &[u8], from: usize) -> Option<usize> {
    let mut escaped = false;
    let end = text.get(from..)?.iter().position(|&byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    Some(from + end)
}

/// The key of the specification that is meant, if `key` is not one already.
fn usual(key: &[u8]) -> Option<&'static str> {
    if KNOWN
        .binary_search_by(|known| known.as_bytes().cmp(key))
        .is_ok()
    {
        return None;
    }
    let same = |known: &&&str| known.as_bytes().eq_ignore_ascii_case(key);
    KNOWN.iter().find(same).copied()
}

/// Gives the keys their usual case. Where a document has both, the usual one counts.
pub(super) fn rename(document: &mut Value) {
    match document {
        Value::Array(values) => values.iter_mut().for_each(rename),
        Value::Object(object) => rename_in(object),
        _ => {}
    }
}

fn rename_in(object: &mut Map<String, Value>) {
    for (key, mut value) in std::mem::take(object) {
        let known = usual(key.as_bytes());
        let name = known.unwrap_or(&key);
        if !FREE.contains(&name) {
            rename(&mut value);
        }
        match known {
            Some(known) if object.contains_key(known) => {}
            Some(known) => drop(object.insert(known.to_owned(), value)),
            None => drop(object.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_keys_are_sorted_for_the_search() {
        assert!(KNOWN.is_sorted());
    }

    #[test]
    fn keys_of_a_usual_document_are_left_alone() {
        let text =
            br#"{"process":{"args":["CPU","Memory"]},"annotations":{"io.x/CPU":"\"cpu\": 1"}}"#;
        assert!(!has_unusual_case(text));
        let spec = include_bytes!("../../tests/fixtures/runc-1.3.6-spec.json");
        assert!(!has_unusual_case(spec));
    }

    #[test]
    fn keys_in_another_case_mean_what_they_mean_to_go() {
        let text = br#"{"CPU" : {"Cpus":"0"}, "hugepageLimits":[{"pagesize":"2MB","limit":1}]}"#;
        assert!(has_unusual_case(text));
        let mut document = serde_json::from_slice(text).unwrap();
        rename(&mut document);
        let expected =
            json!({"cpu": {"cpus": "0"}, "hugepageLimits": [{"pageSize": "2MB", "limit": 1}]});
        assert_eq!(document, expected);
    }

    #[test]
    fn keys_of_the_user_stay_as_they_are() {
        let mut document = json!({"Annotations": {"Path": "x"}, "Root": {"Path": "y"}});
        rename(&mut document);
        let expected = json!({"annotations": {"Path": "x"}, "root": {"path": "y"}});
        assert_eq!(document, expected);
    }
}
