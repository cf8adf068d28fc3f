//! `list`

use clap::Args;

use super::Subcommand;
use crate::cli::{self, Outcome, table};
use crate::lifecycle::{self, Runtime, StateReport};

#[derive(Debug, Args)]
pub(super) struct List {
    /// select one of: table or json
    #[arg(long, short, default_value = "table", value_parser = ["table", "json"])]
    format: String,
    /// show the ids only
    #[arg(long, short)]
    quiet: bool,
}

impl Subcommand for List {
    const NAME: &'static str = "list";
    const ABOUT: &'static str = "list the containers below --root";
    const OPERANDS: &'static str = "";
    const COUNT: (usize, usize) = (0, 0);
    const DETAILS: &'static str = "";

    fn run(self, runtime: &Runtime) -> Outcome {
        let containers = lifecycle::list(runtime)?;
        let text = match self.format.as_str() {
            _ if self.quiet => ids(&containers),
            "json" => json(&containers)?,
            _ => rows(&containers),
        };
        cli::print(text.as_bytes())
    }
}

fn ids(containers: &[StateReport]) -> String {
    containers
        .iter()
        .map(|container| format!("{}\n", container.id))
        .collect()
}

/// One line; Go writes an empty list as `null`, and so it is in runc's output.
fn json(containers: &[StateReport]) -> serde_json::Result<String> {
    let text = match containers {
        [] => "null".into(),
        some => serde_json::to_string(some)?,
    };
    Ok(text + "\n")
}

fn rows(containers: &[StateReport]) -> String {
    let title = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from);
    let row = |container: &StateReport| {
        [
            container.id.clone(),
            container.pid.to_string(),
            container.status.clone(),
            container.bundle.display().to_string(),
            container.created.clone(),
            container.owner.clone(),
        ]
    };
    let rows: Vec<_> = std::iter::once(title)
        .chain(containers.iter().map(row))
        .collect();
    table::align(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> StateReport {
        StateReport {
            oci_version: "1.2.1".into(),
            id: "web".into(),
            pid: 7,
            status: "running".into(),
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: "2026-01-02T03:04:05.123456789Z".into(),
            annotations: std::collections::BTreeMap::new(),
            owner: "root".into(),
        }
    }

    #[test]
    fn the_table_has_runcs_columns() {
        assert_eq!(
            rows(&[container()]),
            "ID          PID         STATUS      BUNDLE      CREATED                          OWNER\n\
             web         7           running     /b          2026-01-02T03:04:05.123456789Z   root\n"
        );
    }

    #[test]
    fn json_is_one_line_in_runcs_key_order() {
        assert_eq!(
            json(&[container()]).unwrap(),
            "[{\"ociVersion\":\"1.2.1\",\"id\":\"web\",\"pid\":7,\"status\":\"running\",\"bundle\":\"/b\",\
             \"rootfs\":\"/b/rootfs\",\"created\":\"2026-01-02T03:04:05.123456789Z\",\"owner\":\"root\"}]\n"
        );
        assert_eq!(json(&[]).unwrap(), "null\n");
    }

    #[test]
    fn quiet_shows_one_id_a_line() {
        assert_eq!(ids(&[container(), container()]), "web\nweb\n");
    }
}
