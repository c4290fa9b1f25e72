//! Stage 3: a raw object → every fault it has, or the one thing that it means.
//!
//! First the structure (does the document consist of fields that exist, of the right types), then the meaning (is each field
//! unambiguous, can it be carried out, does it say something). Both always run, so that a person sees everything at once;
//! what the structure check has reported, the second step passes over.

mod actions;
pub(crate) mod addresses;
mod args;
mod arguments;
mod binaries;
mod capabilities;
mod cases;
mod changes;
mod covers;
mod document;
mod enforcers;
mod exclusions;
mod expression;
mod fields;
mod functions;
mod hook;
mod joint;
mod labels;
mod lists;
mod macros;
mod namespaces;
pub(crate) mod nearest;
mod node;
pub(crate) mod numbers;
pub(crate) mod options;
mod pids;
mod point;
mod ports;
mod ranges;
mod report;
pub(crate) mod schema;
mod scope;
mod selector;
mod spec;
mod strings;
mod system_calls;
mod together;
mod user_space;
mod well_known;

use serde_json::Value;

pub use self::document::too_large;
pub use self::nearest::nearest;
use self::report::{Findings, Report};
pub use self::well_known::{FAMILIES, PROTOCOLS};
use crate::fault::Fault;
use crate::ir::ValidatedPolicy;

/// The LSM hooks whose arguments are the same on every kernel that is supported.
pub fn well_known_hooks() -> impl Iterator<Item = &'static str> {
    functions::LSM_HOOKS.iter().map(|(hook, _)| *hook)
}

/// What is to be said about one document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judgement {
    /// What refuses it; in reading order: by path, then by code.
    pub faults: Vec<Fault>,
    /// What is doubtful about it; beyond a hundred the last says how many more.
    pub warnings: Vec<Fault>,
    /// How many that is.
    pub more_warnings: usize,
    /// What it means, for those who carry it out: present exactly when there are no faults.
    pub policy: Option<ValidatedPolicy>,
    /// What it means, for those who only explain it: present also when this release does not carry all of it out.
    pub meaning: Option<ValidatedPolicy>,
}

/// Every fault of an object, however many there are: for those who correct them, not for those who read them.
#[must_use]
pub fn all_faults(object: &Value) -> Vec<Fault> {
    let mut report = Report::of(usize::MAX);
    document::judge(object, &mut report);
    report.finish().faults
}

/// Judges a whole object (`apiVersion`, `kind`, `metadata`, `spec`), whatever it is: never panics.
#[must_use]
pub fn judge(object: &Value) -> Judgement {
    let mut report = Report::default();
    let policy = document::judge(object, &mut report);
    let Findings { faults, warnings, more_warnings, means_something } = report.finish();
    let meaning = policy.filter(|_| means_something);
    let policy = meaning.as_ref().filter(|_| faults.is_empty()).cloned();
    Judgement { faults, warnings, more_warnings, policy, meaning }
}
