//! Every member opts in to the shared lints and says under which licence it is; the licences' texts are there.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use toml::{Table, Value};

/// Licence files at the root, and a line that each must contain.
const TEXTS: &[(&str, &str)] = &[("LICENSE", "Apache License"), ("LICENSE-GPL", "GNU GENERAL PUBLIC LICENSE")];
/// What the kernel loads, and what is compiled into it, has to be under a licence that the kernel knows.
const DUAL: &[&str] = &["enforcer-ebpf", "enforcer-common"];

/// Checks the manifests of all members.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (file, line) in TEXTS {
        if !fs::read_to_string(root.join(file)).is_ok_and(|text| text.contains(line)) {
            wrong.push(format!("{file} is missing or is not the licence that it should be"));
        }
    }
    let members = read(&root.join("Cargo.toml"))?;
    let members = members.get("workspace").and_then(|workspace| workspace.get("members")).and_then(Value::as_array);
    for member in members.context("the workspace has no members")?.iter().filter_map(Value::as_str) {
        wrong.extend(manifest(member, &read(&root.join(member).join("Cargo.toml"))?));
    }
    Ok(wrong)
}

fn read(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("cannot read {}", path.display()))
}

fn manifest(member: &str, manifest: &Table) -> Vec<String> {
    let get = |table: &str, key: &str| manifest.get(table).and_then(|table| table.get(key)).cloned();
    let shared = |value: Option<Value>| value.and_then(|value| value.get("workspace")?.as_bool()) == Some(true);
    let mut wrong = Vec::new();
    if get("lints", "workspace").and_then(|value| value.as_bool()) != Some(true) {
        wrong.push(format!("{member}/Cargo.toml does not have `[lints] workspace = true`"));
    }
    if DUAL.contains(&member) {
        let licence = get("package", "license");
        if !licence.as_ref().and_then(Value::as_str).is_some_and(|licence| licence.contains("GPL-2.0")) {
            wrong.push(format!("{member} ends up in the kernel: its licence must be `Apache-2.0 OR GPL-2.0-only`"));
        }
    } else if !shared(get("package", "license")) {
        wrong.push(format!("{member}/Cargo.toml does not have `license.workspace = true`"));
    }
    for key in ["edition", "rust-version", "version"] {
        if !shared(get("package", key)) {
            wrong.push(format!("{member}/Cargo.toml does not have `{key}.workspace = true`"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(licence: &str, lints: &str) -> Table {
        let text = format!(
            "package = {{ edition.workspace = true, rust-version.workspace = true, version.workspace = true, {licence} }}\n{lints}"
        );
        text.parse().unwrap()
    }

    #[test]
    fn a_member_without_lints_or_licence_is_wrong() {
        let lints = "lints.workspace = true";
        assert!(manifest("policy", &with("license.workspace = true", lints)).is_empty());
        assert_eq!(manifest("policy", &with("license.workspace = true", "")).len(), 1);
        assert_eq!(manifest("policy", &with("license = 'MIT'", lints)).len(), 1);
        assert_eq!(manifest("policy", &Table::new()).len(), 5);
    }

    #[test]
    fn what_ends_up_in_the_kernel_is_under_the_kernels_licence_too() {
        let lints = "lints.workspace = true";
        assert!(manifest("enforcer-ebpf", &with("license = 'Apache-2.0 OR GPL-2.0-only'", lints)).is_empty());
        assert_eq!(manifest("enforcer-ebpf", &with("license.workspace = true", lints)).len(), 1);
    }
}
