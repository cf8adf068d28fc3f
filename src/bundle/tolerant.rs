//! A second try at a document that the typed parse refused, for what runc takes with a warning.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The capability sets of `process.capabilities` (config.md, "Linux Process").
const SETS: [&str; 5] = [
    "bounding",
    "effective",
    "permitted",
    "inheritable",
    "ambient",
];

/// Parses again without the capabilities that no kernel known to us has. If that does not help, the caller gets
/// the error of the `first` parse, which has the line and column.
pub(super) fn parse<T: DeserializeOwned>(
    text: &[u8],
    first: serde_json::Error,
) -> Result<T, serde_json::Error> {
    let Ok(mut document) = serde_json::from_slice::<Value>(text) else {
        return Err(first);
    };
    // A process.json is a process itself; a config.json has one.
    let process = match document.get_mut("process") {
        Some(process) => process,
        None => &mut document,
    };
    drop_unknown_capabilities(process);
    complete_user(process);
    add_defaults(process);
    rename_scheduler_flags(process);
    serde_json::from_value(document).map_err(|_later| first)
}

/// What Go reads as zero where it is missing: the user is root, the I/O priority the highest of its class.
fn add_defaults(process: &mut Value) {
    let Some(process) = process.as_object_mut() else {
        return;
    };
    let user = process.entry("user").or_insert(Value::Null);
    if user.is_null() {
        *user = json!({});
    }
    for id in ["uid", "gid"] {
        if let Some(user) = user.as_object_mut() {
            user.entry(id).or_insert(json!(0));
        }
    }
    if let Some(priority) = process.get_mut("ioPriority").and_then(Value::as_object_mut) {
        priority.entry("priority").or_insert(json!(0));
    }
}

/// oci-spec 0.10 derives other names for two flags than the specification has (config.md, "scheduler").
fn rename_scheduler_flags(process: &mut Value) {
    let flags = process
        .pointer_mut("/scheduler/flags")
        .and_then(Value::as_array_mut);
    for flag in flags.into_iter().flatten() {
        let derived = match flag.as_str() {
            Some("SCHED_FLAG_RESET_ON_FORK") => "SCHED_RESET_ON_FORK",
            Some("SCHED_FLAG_DL_OVERRUN") => "SCHED_FLAG_D_L_OVERRUN",
            _ => continue,
        };
        *flag = derived.into();
    }
}

/// `process.user`, `uid` and `gid` are required by the specification; runc takes root for what is left out, and so do configs
/// written for it.
fn complete_user(process: &mut Value) {
    let Some(process) = process
        .as_object_mut()
        .filter(|process| process.contains_key("cwd"))
    else {
        return;
    };
    let user = process
        .entry("user")
        .or_insert_with(|| Value::Object(serde_json::Map::new()));
    for id in ["uid", "gid"] {
        if let Some(user) = user.as_object_mut() {
            user.entry(id).or_insert_with(|| 0.into());
        }
    }
}

fn drop_unknown_capabilities(process: &mut Value) {
    for set in SETS {
        let names = process
            .pointer_mut(&format!("/capabilities/{set}"))
            .and_then(Value::as_array_mut);
        let Some(names) = names else { continue };
        names.retain(|name| {
            let known =
                serde_json::from_value::<oci_spec::runtime::Capability>(name.clone()).is_ok();
            if !known {
                // A profile written for a newer kernel has to work on this one: less is granted, never more.
                tracing::warn!("ignoring unknown capability {name} in the {set} set");
            }
            known
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_process;

    #[test]
    fn an_unknown_capability_is_left_out_and_the_known_ones_stay() {
        let text = br#"{"cwd":"/","user":{"uid":0,"gid":0},"capabilities":{"bounding":["CAP_FUTURE","CAP_KILL"]}}"#;
        let process = parse_process(text).unwrap();
        let sets = process.capabilities().clone().unwrap();
        assert_eq!(sets.bounding().clone().unwrap().len(), 1);
    }

    #[test]
    fn a_process_without_a_user_runs_as_root() {
        let text = br#"{"cwd":"/","args":["true"],"ioPriority":{"class":"IOPRIO_CLASS_IDLE"}}"#;
        let process = parse_process(text).unwrap();
        assert_eq!((process.user().uid(), process.user().gid()), (0, 0));
        assert_eq!(process.io_priority().as_ref().unwrap().priority(), 0);
    }

    #[test]
    fn scheduler_flags_have_the_names_of_the_specification() {
        let flags = [
            "RESET_ON_FORK",
            "RECLAIM",
            "DL_OVERRUN",
            "KEEP_POLICY",
            "KEEP_PARAMS",
        ];
        for flag in flags.map(|flag| format!("SCHED_FLAG_{flag}")) {
            let text = format!(
                r#"{{"cwd":"/","scheduler":{{"policy":"SCHED_OTHER","flags":["{flag}"]}}}}"#
            );
            parse_process(text.as_bytes()).unwrap();
        }
    }

    #[test]
    fn a_user_that_is_left_out_is_root() {
        let process = parse_process(br#"{"cwd":"/","args":["true"]}"#).unwrap();
        assert_eq!((process.user().uid(), process.user().gid()), (0, 0));
        let process = parse_process(br#"{"cwd":"/","user":{"uid":7}}"#).unwrap();
        assert_eq!((process.user().uid(), process.user().gid()), (7, 0));
    }

    #[test]
    fn a_broken_document_keeps_the_error_with_its_place() {
        let error = super::super::parse(b"{\"ociVersion\": 1,\n}").unwrap_err();
        assert_eq!(error.line(), 1);
    }
}
