//! What can be written instead of what is wrong: for every code one answer.
//!
//! A document that is refused may say one thing all the same: then there is one reading, and it can be rewritten. Where what
//! it says and what other releases did with it are two things, there are several readings, and a person chooses. Everything
//! else is left alone. Which it is for a code is in the table of [`rules`]; how it is written is in [`Edit`]s, which whoever
//! keeps the text carries out.

mod actions;
mod addresses;
mod case;
mod edit;
mod hooks;
mod numbers;
mod path;
mod pids;
mod removal;
pub mod rules;
mod spelling;
mod values;

use serde_json::Value;

pub use self::edit::{Edit, apply, compatible};
pub use self::path::{Step, steps};
use crate::fault::Fault;
use case::{Case, Surroundings};

/// One thing that a faulty place can be rewritten into.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What that is, in a few words, and whose reading it is.
    pub says: String,
    /// How it is written: all of these, or none.
    pub edits: Vec<Edit>,
}

impl Reading {
    fn new(says: impl Into<String>, edits: impl Into<Vec<Edit>>) -> Self {
        Self { says: says.into(), edits: edits.into() }
    }
}

/// What a fault can be rewritten into.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The document says one thing, and that is how it is written.
    One(Reading),
    /// It can be read in these ways; even a single one of these is not taken unless a person takes it.
    Choice(Vec<Reading>),
    /// Nothing that is written in the document says what is meant.
    Nothing,
}

/// The answers to all of `faults` of `object`, in their order.
#[must_use]
pub fn answers(object: &Value, faults: &[Fault]) -> Vec<Answer> {
    let surroundings = Surroundings::of(object, faults);
    faults.iter().map(|fault| answer(object, fault, &surroundings)).collect()
}

fn answer(object: &Value, fault: &Fault, surroundings: &Surroundings) -> Answer {
    let Some(rule) = rules::of(fault.code) else { return Answer::Nothing };
    let Some(find) = rule.does.finder() else { return Answer::Nothing };
    let case = Case { object, at: steps(object, &fault.path), surroundings };
    // What is missing there may be written under a name that nobody knows.
    if !rules::is_about_itself(fault.code) && surroundings.is_obscure(&case.at) {
        return Answer::Nothing;
    }
    match find(&case) {
        Some(Answer::One(reading)) if changes(object, &reading) => Answer::One(reading),
        Some(Answer::Choice(mut readings)) => {
            readings.retain(|reading| changes(object, reading));
            if readings.is_empty() { Answer::Nothing } else { Answer::Choice(readings) }
        }
        _ => Answer::Nothing,
    }
}

/// Whether a reading is another way to write it.
fn changes(object: &Value, reading: &Reading) -> bool {
    reading.edits.iter().any(|edit| !matches!(edit, Edit::Set { at, value } if path::get(object, at) == Some(value)))
}
