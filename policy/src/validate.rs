//! Stage 3: a raw object → every fault it has, or the one thing that it means.

use serde_json::Value;

use crate::fault::Fault;
use crate::ir::ValidatedPolicy;

/// What is to be said about one document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judgement {
    /// What refuses it; sorted by path, then code.
    pub faults: Vec<Fault>,
    /// What is doubtful about it.
    pub warnings: Vec<Fault>,
    /// What it means: present exactly when there are no faults.
    pub policy: Option<ValidatedPolicy>,
}

/// Judges a whole object (`apiVersion`, `kind`, `metadata`, `spec`), whatever it is: never panics.
#[must_use]
pub fn judge(object: &Value) -> Judgement {
    let _ = object;
    Judgement {
        faults: vec![Fault {
            path: "spec".into(),
            code: "Unsupported",
            message: "nothing can be judged yet".into(),
            help: "wait for the validator".into(),
        }],
        ..Judgement::default()
    }
}
