//! What is wrong with a document: where, what, and how to fix it.

use serde::Serialize;

/// One thing that is wrong with a document (a fault refuses it) or doubtful about it (a warning does not).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// Where, as a Kubernetes field path: `spec.kprobes[0].selectors[1].matchPIDs[0].values[2]`.
    pub path: String,
    /// The stable name of the class of fault, in CamelCase: `PidZero`.
    pub code: &'static str,
    /// One sentence: what is ambiguous, contradictory or unknown.
    pub message: String,
    /// One sentence: what to write instead.
    pub help: String,
}

impl Fault {
    /// `CODE: what; fix`, the text that goes behind a field path.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}: {}; {}", self.code, self.message, self.help)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.text())
    }
}
