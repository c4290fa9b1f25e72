//! Every document below `testdata/policies` means what its place says: those in `valid` are accepted, those in `invalid`
//! have exactly the faults and warnings listed beside them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use stockade_policy::fault::Fault;
use stockade_policy::judge;

/// Where the documents are.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/policies").join(name)
}

fn documents(name: &str) -> BTreeMap<String, PathBuf> {
    let mut documents = BTreeMap::new();
    for entry in fs::read_dir(folder(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            documents.insert(path.file_stem().unwrap().to_string_lossy().into_owned(), path);
        }
    }
    assert!(!documents.is_empty(), "no documents in {name}");
    documents
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `path code`, one a line, as in the `.faults.json` files.
fn lines(faults: &[Fault]) -> Vec<(String, String)> {
    faults.iter().map(|fault| (fault.path.clone(), fault.code.to_owned())).collect()
}

fn show(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("\n  {fault}")).collect()
}

/// `NAME.faults.json`: what is expected of `NAME.yaml`.
fn expected(document: &Path) -> (Vec<(String, String)>, Vec<(String, String)>) {
    let path = document.with_extension("faults.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let value: Value = serde_json::from_str(&text).unwrap();
    let list = |name: &str| {
        let entries = value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        entries
            .iter()
            .map(|entry| {
                let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap().to_owned();
                (text("path"), text("code"))
            })
            .collect()
    };
    (list("faults"), list("warnings"))
}

#[test]
fn valid_documents_are_accepted_without_a_remark() {
    for (name, path) in documents("valid") {
        let judgement = judge(&read(&path));
        assert!(judgement.faults.is_empty(), "{name} has faults:{}", show(&judgement.faults));
        assert!(judgement.warnings.is_empty(), "{name} has warnings:{}", show(&judgement.warnings));
        assert!(judgement.policy.is_some(), "{name} means nothing");
    }
}

#[test]
fn invalid_documents_have_exactly_the_faults_beside_them() {
    for (name, path) in documents("invalid") {
        let judgement = judge(&read(&path));
        let (faults, warnings) = expected(&path);
        assert_eq!(lines(&judgement.faults), faults, "{name}:{}", show(&judgement.faults));
        assert_eq!(lines(&judgement.warnings), warnings, "{name}:{}", show(&judgement.warnings));
        assert_eq!(judgement.policy.is_some(), faults.is_empty(), "{name}");
    }
}
