//! The report as SARIF 2.1.0, which tools that show the results of code scanning read.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stockade_policy::fault::codes;

use super::report::{Entry, Finding, Report};

/// The whole log.
pub(crate) fn log(report: &Report) -> Value {
    let levels = |entry: &Entry| -> Vec<Value> {
        let faults = entry.faults.iter().map(|finding| result("error", entry, finding));
        faults.chain(entry.warnings.iter().map(|finding| result("warning", entry, finding))).collect()
    };
    let results: Vec<Value> = report.entries.iter().flat_map(levels).collect();
    let found = report.entries.iter().flat_map(|entry| entry.faults.iter().chain(&entry.warnings));
    let names: BTreeSet<&str> = found.map(|finding| finding.code).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "stockade",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": "https://github.com/stockade-dev/stockade/blob/main/docs/faults.md",
                "rules": names.into_iter().map(rule).collect::<Vec<_>>(),
            }},
            // Columns are counted in code points.
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(name: &str) -> Value {
    match codes::named(name) {
        None => json!({"id": name}),
        Some(code) => json!({
            "id": name,
            "shortDescription": {"text": code.when},
            "fullDescription": {"text": code.why},
            "helpUri": format!("https://github.com/stockade-dev/stockade/blob/main/docs/faults.md#{}", name.to_lowercase()),
        }),
    }
}

fn result(level: &str, entry: &Entry, finding: &Finding) -> Value {
    let Finding { path, code, message, help, line, column, place: _ } = finding;
    let text = if help.is_empty() { message.clone() } else { format!("{message}; {help}") };
    json!({
        "ruleId": code,
        "level": level,
        "message": {"text": text},
        "locations": [{
            "physicalLocation": {
                "artifactLocation": {"uri": uri(&entry.file)},
                "region": {"startLine": line, "startColumn": column},
            },
            "logicalLocations": [{"fullyQualifiedName": path}],
        }],
    })
}

/// A path as a relative reference: what has a meaning in one is escaped.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
