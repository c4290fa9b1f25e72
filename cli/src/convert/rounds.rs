//! One document, rewritten until nothing more can be.

use std::collections::BTreeMap;

use serde_json::Value;
use stockade_policy::convert::{Answer, Edit, Reading, Step, answers, apply, compatible, steps};
use stockade_policy::fault::Fault;
use stockade_policy::validate::all_faults;

use super::edit::{self, Why};
use super::moves::{Moves, path};
use super::picks::Picks;
use crate::document;

/// Rewriting makes a document shorter or better each time; this is for one that we have misunderstood.
const MAX_ROUNDS: usize = 100;
/// Why what could be written is not.
const OTHERWISE: Why = "the text would not say what it should";
/// Why it is not, where it can be.
const ALONE: Why = "nothing would be left around it";

/// What has become of a policy.
#[derive(Debug)]
pub(super) struct Converted {
    /// The text of the whole document.
    pub(super) body: String,
    pub(super) done: Vec<Done>,
    pub(super) choices: Choices,
}

/// The choices that are left, by code and path in the text as it is now.
pub(super) type Choices = BTreeMap<(&'static str, String), Choice>;

/// A place that has been rewritten.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) code: &'static str,
    /// In the document as it was read.
    pub(super) path: String,
    pub(super) says: String,
}

/// A place that has not.
#[derive(Debug)]
pub(super) struct Choice {
    /// In the document as it was read.
    pub(super) path: String,
    /// What can be chosen; nothing, if it cannot be written.
    pub(super) readings: Vec<String>,
    /// Why it cannot be written.
    pub(super) why: Option<Why>,
}

/// What could be done about one fault.
struct Proposal {
    code: &'static str,
    path: String,
    reading: Reading,
}

/// Rewrites the policy at `prefix` of the document `body`.
pub(super) fn convert(body: String, prefix: &[Step], picks: &Picks) -> anyhow::Result<Converted> {
    let mut policy = Policy { body, prefix, moves: Moves::default(), done: Vec::new(), impossible: BTreeMap::new() };
    for _ in 0..MAX_ROUNDS {
        if !policy.round(picks)? {
            break;
        }
    }
    let choices = policy.choices();
    Ok(Converted { body: policy.body, done: policy.done, choices })
}

/// A policy that is not looked at.
pub(super) const fn untouched(body: String) -> Converted {
    Converted { body, done: Vec::new(), choices: BTreeMap::new() }
}

struct Policy<'p> {
    body: String,
    prefix: &'p [Step],
    moves: Moves,
    done: Vec<Done>,
    /// What cannot be written, by code and path in the document as it was read.
    impossible: BTreeMap<(&'static str, String), Why>,
}

impl Policy<'_> {
    /// Carries out what can be; whether anything was.
    fn round(&mut self, picks: &Picks) -> anyhow::Result<bool> {
        let Some(whole) = value_of(&self.body) else { return Ok(false) };
        let Some(object) = at(&whole, self.prefix) else { return Ok(false) };
        let proposals = self.proposals(object, picks)?;
        let groups = proposals.iter().map(|proposal| proposal.reading.edits.as_slice());
        let chosen = compatible(object, groups);
        let chosen: Vec<&Proposal> = chosen.into_iter().filter_map(|index| proposals.get(index)).collect();
        if chosen.is_empty() {
            return Ok(false);
        }
        if self.carry_out(&whole, &chosen).is_ok() {
            return Ok(true);
        }
        // One of them stands in the way: each is tried alone, and what cannot be written is remembered.
        let mut first = None;
        for proposal in chosen {
            let edits = self.edits(&[proposal]);
            match edited(&self.body, &whole, &edits) {
                Ok(_) if first.is_none() => first = Some(proposal),
                Ok(_) => {}
                Err(why) => {
                    self.impossible.insert((proposal.code, proposal.path.clone()), why);
                }
            }
        }
        match first {
            Some(proposal) => Ok(self.carry_out(&whole, &[proposal]).is_ok()),
            None => Ok(!self.impossible.is_empty() && self.proposals(object, picks)?.len() < proposals.len()),
        }
    }

    /// What is to be rewritten: what can be read in one way only, and what the user has chosen.
    fn proposals(&self, object: &Value, picks: &Picks) -> anyhow::Result<Vec<Proposal>> {
        let faults = all_faults(object);
        let mut proposals = Vec::new();
        for (fault, answer) in faults.iter().zip(answers(object, &faults)) {
            let path = self.path_before(object, fault);
            let reading = match answer {
                Answer::Nothing => continue,
                Answer::One(reading) => reading,
                Answer::Choice(mut readings) => match picks.chosen(fault.code, &path, readings.len())? {
                    Some(index) => readings.swap_remove(index),
                    None => continue,
                },
            };
            if !self.impossible.contains_key(&(fault.code, path.clone())) {
                proposals.push(Proposal { code: fault.code, path, reading });
            }
        }
        Ok(proposals)
    }

    fn path_before(&self, object: &Value, fault: &Fault) -> String {
        path(&self.moves.before(steps(object, &fault.path)))
    }

    /// All edits, each once, in the whole document.
    fn edits(&self, chosen: &[&Proposal]) -> Vec<Edit> {
        // Edits that are compatible and at one place are the same.
        let all = chosen.iter().flat_map(|proposal| &proposal.reading.edits);
        let by_place: BTreeMap<&[Step], &Edit> = all.map(|edit| (edit.at(), edit)).collect();
        by_place.into_values().map(|edit| edit.below(self.prefix)).collect()
    }

    fn carry_out(&mut self, whole: &Value, chosen: &[&Proposal]) -> Result<(), Why> {
        self.body = edited(&self.body, whole, &self.edits(chosen))?;
        let edits: Vec<Edit> = chosen.iter().flat_map(|proposal| proposal.reading.edits.clone()).collect();
        self.moves.note(&edits);
        let done = |proposal: &&Proposal| Done {
            code: proposal.code,
            path: proposal.path.clone(),
            says: proposal.reading.says.clone(),
        };
        self.done.extend(chosen.iter().map(done));
        Ok(())
    }

    /// What is left to choose.
    fn choices(&self) -> Choices {
        let mut choices = BTreeMap::new();
        let whole = value_of(&self.body);
        let Some(object) = whole.as_ref().and_then(|whole| at(whole, self.prefix)) else { return choices };
        let faults = all_faults(object);
        for (fault, answer) in faults.iter().zip(answers(object, &faults)) {
            let path = self.path_before(object, fault);
            let impossible = self.impossible.get(&(fault.code, path.clone())).copied();
            let (readings, why) = match answer {
                Answer::Nothing => continue,
                // It would be written by now, if it could be.
                Answer::One(reading) => (vec![reading.says], Some(impossible.unwrap_or(ALONE))),
                Answer::Choice(readings) => (readings.into_iter().map(|reading| reading.says).collect(), impossible),
            };
            choices.insert((fault.code, fault.path.clone()), Choice { path, readings, why });
        }
        choices
    }
}

/// The text with the edits in it, if it then says exactly what they are for.
fn edited(body: &str, whole: &Value, edits: &[Edit]) -> Result<String, Why> {
    let expected = apply(whole, edits).ok_or(OTHERWISE)?;
    let body = edit::edited(body, edits)?;
    if value_of(&body).as_ref() == Some(&expected) { Ok(body) } else { Err(OTHERWISE) }
}

fn value_of(body: &str) -> Option<Value> {
    Some(document::content(body)?.ok()?.to_value())
}

fn at<'v>(value: &'v Value, steps: &[Step]) -> Option<&'v Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Field(name) => value.get(name),
        Step::Element(index) => value.get(index),
    })
}
