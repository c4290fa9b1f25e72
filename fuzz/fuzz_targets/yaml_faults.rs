//! A text → the findings of `stockade lint`: each has a path or is about the whole document, and a place in the text.
#![no_main]
#![allow(dead_code, unreachable_pub, missing_docs)]

use libfuzzer_sys::fuzz_target;

// The command's own modules, without its client of a cluster, which would be most of what is built.
#[path = "../../cli/src/document.rs"]
mod document;
#[path = "../../cli/src/lines.rs"]
mod lines;
#[path = "../../cli/src/source.rs"]
mod source;
#[path = "../../cli/src/tree.rs"]
mod tree;
/// No cluster is asked.
mod cluster {
    use std::borrow::Cow;

    use stockade_policy::{NodeFacts, ValidatedPolicy};

    pub struct Nodes {
        pub facts: Vec<NodeFacts>,
    }

    impl Nodes {
        pub fn about<'p>(&self, policy: &'p ValidatedPolicy) -> Cow<'p, ValidatedPolicy> {
            Cow::Borrowed(policy)
        }
    }
}

#[path = "../../cli/src/lint"]
mod lint {
    pub mod judge;
    pub mod report;
}

fuzz_target!(|text: &str| {
    let source = source::Source { name: "p.yaml".into(), text: text.into(), found: false, path: None, marked: false };
    let mut report = lint::report::Report::default();
    lint::judge::judge_source(&source, 0, None, &mut report);
    for entry in &report.entries {
        for finding in entry.faults.iter().chain(&entry.warnings) {
            let nowhere = finding.path.is_empty() && entry.judged;
            assert!(!nowhere || finding.code == "WrongType", "{finding:?}");
            assert!(finding.place.start <= text.len() && finding.line >= 1 && finding.column >= 1, "{finding:?}");
            assert!(finding.message.len() + finding.help.len() < 2000, "{finding:?}");
        }
    }
});
