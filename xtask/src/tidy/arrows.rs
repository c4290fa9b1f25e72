//! Which crate may use which: the table of the architecture and ADR 1. A new arrow is a decision with an ADR.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{process::Run, workspace};

/// Each member and the members that it may depend on, in any kind of dependency.
const ARROWS: &[(&str, &[&str])] = &[
    ("stockade-enforcer-common", &[]),
    ("stockade-enforcer-ebpf", &["stockade-enforcer-common"]),
    ("stockade-crds", &[]),
    ("stockade-policy", &["stockade-crds", "stockade-enforcer-common"]),
    ("stockade-enforcer-kernel", &["stockade-policy", "stockade-enforcer-common"]),
    (
        "stockade-enforcer",
        &["stockade-enforcer-kernel", "stockade-policy", "stockade-crds", "stockade-enforcer-common"],
    ),
    ("stockade-webhooks", &["stockade-policy", "stockade-crds"]),
    ("stockade-operator", &["stockade-policy", "stockade-crds", "stockade-webhooks"]),
    ("stockade-cli", &["stockade-policy", "stockade-crds"]),
    ("stockade-e2e", &["stockade-crds"]),
    ("stockade-xtask", &["stockade-enforcer-common"]),
    ("stockade-gen", &["stockade-crds", "stockade-policy", "stockade-webhooks", "stockade-enforcer-common"]),
];

/// What a member must not be built with, not even through others: this is what keeps it pure, small or without a client.
const OUT_OF_REACH: &[(&str, &[&str])] = &[
    ("stockade-crds", &["tokio", "hyper", "kube-client", "aya"]),
    ("stockade-policy", &["tokio", "hyper", "kube-client", "aya", "axum", "reqwest"]),
    ("stockade-enforcer-common", &["libc", "serde"]),
    ("stockade-enforcer-kernel", &["hyper", "kube-client", "axum"]),
    ("stockade-webhooks", &["kube-client", "aya"]),
    ("stockade-operator", &["aya"]),
    ("stockade-cli", &["aya"]),
    ("stockade-xtask", &["tokio", "hyper", "kube-client", "aya"]),
];

/// Compares the arrows that `cargo metadata` shows with the table.
pub(super) fn check(metadata: &Value) -> Result<Vec<String>> {
    let table: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let packages = metadata.get("packages").and_then(Value::as_array).context("cargo metadata has no packages")?;
    let name = |value: &Value| value.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let members: BTreeSet<String> = packages.iter().map(name).collect();
    let mut wrong = Vec::new();
    for package in packages {
        let from = name(package);
        let Some(allowed) = table.get(from.as_str()) else {
            wrong.push(format!("{from} is in no row of the arrow table (xtask/src/tidy/arrows.rs)"));
            continue;
        };
        let dependencies = package.get("dependencies").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for to in dependencies.iter().map(name).filter(|to| members.contains(to) && *to != from) {
            if !allowed.contains(&to.as_str()) {
                wrong.push(format!("{from} must not use {to}: a new arrow is a decision with an ADR"));
            }
        }
    }
    for known in table.keys().filter(|known| !members.contains(**known)) {
        wrong.push(format!("the arrow table names {known}, which is no member"));
    }
    Ok(wrong)
}

/// Looks through everything that each member is built with.
pub(super) fn check_reach() -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (member, forbidden) in OUT_OF_REACH {
        // `cargo tree` for one package resolves its features alone; the metadata of a workspace mixes everybody's.
        let args = ["tree", "--package", member, "--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
        let tree = Run::new("cargo").args(args).current_dir(workspace::root()).output()?;
        wrong.extend(reached(member, forbidden, &tree));
    }
    Ok(wrong)
}

fn reached(member: &str, forbidden: &[&str], tree: &str) -> Vec<String> {
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    let found = forbidden.iter().filter(|name| names.contains(**name));
    found.map(|name| format!("{member} must not be built with {name}, not even through others")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(extra: &[(&str, &str)]) -> Value {
        let packages: Vec<_> = ARROWS
            .iter()
            .map(|(from, to)| {
                let mut to: Vec<_> = to.iter().chain(&["serde"]).map(|to| json!({ "name": to })).collect();
                let extra = extra.iter().filter(|(name, _)| name == from);
                to.extend(extra.map(|(_, to)| json!({"name": to, "kind": "dev"})));
                json!({"name": from, "dependencies": to})
            })
            .collect();
        json!({ "packages": packages })
    }

    #[test]
    fn the_table_itself_is_right_and_any_other_arrow_is_not() {
        assert!(check(&metadata(&[])).unwrap().is_empty());
        let wrong = check(&metadata(&[("stockade-policy", "stockade-operator")])).unwrap();
        assert_eq!(wrong.len(), 1);
        assert!(wrong[0].starts_with("stockade-policy must not use stockade-operator"), "{wrong:?}");
    }

    #[test]
    fn a_member_without_a_row_and_a_row_without_a_member_are_wrong() {
        let metadata = json!({"packages": [{"name": "stockade-new", "dependencies": []}]});
        let wrong = check(&metadata).unwrap();
        assert!(wrong[0].starts_with("stockade-new is in no row"), "{wrong:?}");
        assert_eq!(wrong.len(), 1 + ARROWS.len());
    }

    #[test]
    fn a_name_is_reached_only_when_it_is_whole() {
        let tree = "stockade-policy v0.1.0 (/x)\nserde v1.0.0\ntokio-stream v1.0.0\n";
        assert!(reached("stockade-policy", &["tokio"], tree).is_empty());
        assert_eq!(reached("stockade-policy", &["tokio"], &format!("{tree}tokio v1.0.0\n")).len(), 1);
    }
}
