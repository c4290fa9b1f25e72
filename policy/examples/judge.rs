//! Judges the YAML documents that are named as arguments, and prints what is to be said about each.

use std::error::Error;

use serde_json::Value;
use stockade_policy::judge;

fn main() -> Result<(), Box<dyn Error>> {
    for path in std::env::args().skip(1) {
        let documents: Vec<Value> = serde_saphyr::from_multiple(&std::fs::read_to_string(&path)?)?;
        for document in documents {
            let judgement = judge(&document);
            let verdict = judgement
                .policy
                .as_ref()
                .map_or("refused".into(), |policy| format!("accepted, digest {}", stockade_policy::digest(policy)));
            println!("{path}: {verdict}");
            for fault in judgement.faults.iter().chain(&judgement.warnings) {
                println!("  {fault}");
            }
        }
    }
    Ok(())
}
