//! A fault with what is around it: what the rules ask.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::path::{self, Step};
use super::{Answer, Edit, Reading, steps};
use crate::fault::{Fault, codes};

/// A faulty place.
pub(super) struct Case<'a> {
    pub(super) object: &'a Value,
    pub(super) at: Vec<Step>,
    pub(super) surroundings: &'a Surroundings,
}

/// What a rule finds; `None` where it has no answer after all.
pub(super) type Found = Option<Answer>;

/// What the rules need to know of the other faults.
pub(super) struct Surroundings {
    /// The codes that the document has.
    codes: BTreeSet<&'static str>,
    /// The hooks in which something is not understood, and whether something outside of all hooks is not.
    obscure: BTreeSet<Vec<Step>>,
    obscure_elsewhere: bool,
    /// Of each list, the elements that compare with nothing, so that they could go.
    idle: BTreeMap<Vec<Step>, BTreeSet<usize>>,
}

/// What is wrong with a value that nothing can ever equal.
const IDLE: [&str; 3] = [codes::PID_ZERO, codes::PID_RANGE, codes::VALUE_NEVER];

/// What is wrong with a field or word that says something, but not what: it may be what another fault is missing.
const OBSCURE: [&str; 6] = [
    codes::MISSING_FIELD,
    codes::OBSOLETE,
    codes::OUT_OF_RANGE,
    codes::UNKNOWN_FIELD,
    codes::UNKNOWN_VALUE,
    codes::WRONG_TYPE,
];

impl Surroundings {
    pub(super) fn of(object: &Value, faults: &[Fault]) -> Self {
        let mut idle: BTreeMap<Vec<Step>, BTreeSet<usize>> = BTreeMap::new();
        for fault in faults.iter().filter(|fault| IDLE.contains(&fault.code)) {
            let mut at = steps(object, &fault.path);
            if let Some(Step::Element(index)) = at.pop() {
                idle.entry(at).or_default().insert(index);
            }
        }
        let mut obscure = BTreeSet::new();
        let mut obscure_elsewhere = false;
        for fault in faults.iter().filter(|fault| OBSCURE.contains(&fault.code)) {
            match hook_of(&steps(object, &fault.path)) {
                Some(hook) => obscure.extend([hook.to_vec()]),
                None => obscure_elsewhere = true,
            }
        }
        Self { codes: faults.iter().map(|fault| fault.code).collect(), obscure, obscure_elsewhere, idle }
    }

    /// Whether something that is not understood may be what a fault at this place is missing.
    pub(super) fn is_obscure(&self, at: &[Step]) -> bool {
        self.obscure_elsewhere || hook_of(at).map_or(!self.obscure.is_empty(), |hook| self.obscure.contains(hook))
    }

    pub(super) fn has(&self, code: &str) -> bool {
        self.codes.contains(code)
    }
}

/// The place of the hook that a place is in: `spec.kprobes[0]`.
fn hook_of(at: &[Step]) -> Option<&[Step]> {
    let lists = ["kprobes", "lsmhooks", "tracepoints", "fentries", "uprobes", "usdts"];
    match at.get(..3)? {
        [_, Step::Field(list), Step::Element(_)] if lists.contains(&list.as_str()) => at.get(..3),
        _ => None,
    }
}

pub(super) fn one(says: impl Into<String>, edits: impl Into<Vec<Edit>>) -> Found {
    Some(Answer::One(Reading::new(says, edits)))
}

pub(super) fn choice(readings: impl IntoIterator<Item = Reading>) -> Found {
    let readings: Vec<Reading> = readings.into_iter().collect();
    (!readings.is_empty()).then_some(Answer::Choice(readings))
}

impl Case<'_> {
    pub(super) fn value(&self) -> Option<&Value> {
        path::get(self.object, &self.at)
    }

    pub(super) fn text(&self) -> Option<&str> {
        self.value()?.as_str()
    }

    /// The name of the field that the fault is at.
    pub(super) fn field(&self) -> Option<&str> {
        match self.at.last()? {
            Step::Field(name) => Some(name),
            Step::Element(_) => None,
        }
    }

    /// The place `levels` above.
    pub(super) fn above(&self, levels: usize) -> Option<&[Step]> {
        self.at.get(..self.at.len().checked_sub(levels)?)
    }

    pub(super) fn get(&self, at: &[Step]) -> Option<&Value> {
        path::get(self.object, at)
    }

    /// A field beside the one that the fault is at.
    pub(super) fn beside(&self, name: &str) -> Option<&Value> {
        self.get(self.above(1)?)?.get(name)
    }

    /// The place of a field beside it.
    pub(super) fn place_beside(&self, name: &str) -> Option<Vec<Step>> {
        Some(path::below(self.above(1)?, name))
    }

    /// The list of hooks that the fault is in.
    pub(super) fn family(&self) -> Option<&str> {
        match self.at.get(1)? {
            Step::Field(name) => Some(name),
            Step::Element(_) => None,
        }
    }

    /// The place of the hook that the fault is in: `spec.kprobes[0]`.
    pub(super) fn hook(&self) -> Option<&[Step]> {
        hook_of(&self.at)
    }

    /// The edit that removes what is at `at`: with the list around it, if that has nothing else.
    pub(super) fn removal(&self, at: &[Step]) -> Option<Edit> {
        let (last, parent) = at.split_last()?;
        let list = self.get(parent)?.as_array();
        match (last, list) {
            (Step::Element(_), Some(list)) if list.len() == 1 => Some(Edit::Remove { at: parent.to_vec() }),
            _ => Some(Edit::Remove { at: at.to_vec() }),
        }
    }

    /// The edit that takes an idle value out of its list; `None` when nothing would be left in it.
    pub(super) fn drop_value(&self) -> Option<Edit> {
        let list = self.above(1)?;
        let idle = self.surroundings.idle.get(list).map_or(0, BTreeSet::len);
        (idle < self.get(list)?.as_array()?.len()).then(|| Edit::Remove { at: self.at.clone() })
    }

    /// The edit that gives the place another value.
    pub(super) fn set(&self, value: impl Into<Value>) -> Edit {
        Edit::set(self.at.clone(), value)
    }
}

/// Whether a value says what silence says.
pub(super) fn is_idle(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(_) => false,
    }
}
