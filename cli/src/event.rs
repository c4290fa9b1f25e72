//! An event as somebody has written it down: what happened, and what is not said about it.
//!
//! A test and a recorded stream say less than a kernel knows. What is not said is no "unreadable": where a verdict depends on
//! it, there is none, and the trial says what is missing.

pub(crate) mod trial;
pub(crate) mod value;
pub(crate) mod verdict;
pub(crate) mod written;

use std::collections::BTreeMap;

use serde_json::Value;
use stockade_policy::ir::Arg;
use stockade_policy::model::Process;
use stockade_policy::point::key;

/// What happened at one point.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// The function, hook or tracepoint, as [`stockade_policy::point::name`] calls it.
    pub(crate) hook: String,
    /// By [`stockade_policy::point::key`], or by label.
    pub(crate) arguments: BTreeMap<String, Given>,
    /// What it returned; `None`: the event is the call.
    pub(crate) returned: Option<Given>,
    pub(crate) subject: Subject,
}

/// A value, and where it is written.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) value: Value,
    pub(crate) path: String,
}

/// Who did it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Subject {
    pub(crate) process: Process,
    /// What is said of each of `process.lineage`.
    pub(crate) said: Vec<Said>,
    /// The last of `process.lineage` may have parents of which nothing is said.
    pub(crate) has_more_parents: bool,
    /// Whether it is known in which pod it is, if in any.
    pub(crate) place_is_said: bool,
}

/// What is said of a process or an ancestor.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Said {
    pub(crate) pid: bool,
    /// If only that it cannot be read.
    pub(crate) binary: bool,
}

impl Event {
    /// What is said of an argument that a hook reads.
    pub(crate) fn given(&self, arg: &Arg) -> Option<&Given> {
        self.arguments.get(&key(arg)).or_else(|| self.arguments.get(&arg.label).filter(|_| !arg.label.is_empty()))
    }
}
