//! What was found, and the JSON object that says it.

use std::ops::Range;

use serde::Serialize;
use serde_json::{Value, json};

use crate::source::SourceError;

/// Everything that one run found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) entries: Vec<Entry>,
    /// Objects of other kinds.
    pub(crate) skipped: usize,
}

/// One policy, or one thing that could not be judged.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    pub(crate) file: String,
    pub(crate) kind: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) accepted: bool,
    pub(crate) faults: Vec<Finding>,
    pub(crate) warnings: Vec<Finding>,
    /// Whether it could be judged at all.
    #[serde(skip)]
    pub(crate) judged: bool,
    /// Which source it was read from, if one could be.
    #[serde(skip)]
    pub(crate) source: Option<usize>,
}

/// A fault or a warning, and where its cause is written.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) help: String,
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in Unicode code points.
    pub(crate) column: usize,
    /// Bytes of the source.
    #[serde(skip)]
    pub(crate) place: Range<usize>,
}

/// Sums over a report.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Counts {
    pub(crate) documents: usize,
    pub(crate) accepted: usize,
    pub(crate) refused: usize,
    pub(crate) faults: usize,
    pub(crate) warnings: usize,
}

impl Report {
    pub(crate) fn counts(&self) -> Counts {
        let accepted = self.entries.iter().filter(|e| e.accepted).count();
        Counts {
            documents: self.entries.len(),
            accepted,
            refused: self.entries.len() - accepted,
            faults: self.entries.iter().map(|e| e.faults.len()).sum(),
            warnings: self.entries.iter().map(|e| e.warnings.len()).sum(),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({ "version": 1, "documents": self.entries, "summary": self.counts() })
    }

    pub(crate) fn add_unreadable(&mut self, error: &SourceError) {
        let finding = Finding {
            path: String::new(),
            code: "Unreadable",
            message: error.reason(),
            help: String::new(),
            line: 1,
            column: 1,
            place: 0..0,
        };
        self.entries.push(Entry::unjudged(error.file(), None, finding));
    }
}

impl Entry {
    /// What could not be judged, and why.
    pub(crate) fn unjudged(file: String, source: Option<usize>, why: Finding) -> Self {
        Self {
            file,
            kind: None,
            namespace: None,
            name: None,
            accepted: false,
            faults: vec![why],
            warnings: Vec::new(),
            judged: false,
            source,
        }
    }
}
