//! `stockade convert`: policies that say one thing in a way that is refused → the same thing in a way that is not.
//!
//! What can be read in one way only is rewritten; where there are several readings, they are shown, and one is taken only
//! when the user chooses it. The rules are the policy crate's ([`stockade_policy::convert`]); here is the text: only the
//! bytes of what is rewritten change, and a change is made only if the text then says exactly what it is for.

mod edit;
mod layout;
mod moves;
mod output;
mod picks;
mod removal;
mod report;
mod rounds;
#[cfg(test)]
mod tests;
mod write;

use std::ops::Range;

use stockade_policy::convert::Step;

use crate::Outcome;
use crate::args::ConvertArgs;
use crate::document::documents;
use crate::lint::judge::{Nature, nature};
use crate::source::{self, Source, SourceError};
use crate::tree::Tree;
use picks::Picks;
use rounds::{Choices, Done};

/// A source and what has become of it.
struct Text {
    source: Source,
    /// The converted text.
    text: String,
    policies: Vec<Rewritten>,
}

/// A policy of a source.
struct Rewritten {
    /// What was rewritten, with its line in the text as it was read, from 1.
    done: Vec<(usize, Done)>,
    choices: Choices,
}

/// Converts, prints or writes, and says what is left.
pub(crate) fn run(args: &ConvertArgs) -> anyhow::Result<Outcome> {
    let picks = Picks::read(&args.choose)?;
    let mut texts = Vec::new();
    let mut unreadable: Vec<SourceError> = Vec::new();
    for source in source::read_all(&args.files, args.recursive) {
        match source {
            Ok(source) => texts.push(converted(source, &picks)?),
            Err(error) => unreadable.push(error),
        }
    }
    picks.check_use()?;
    output::put_out(&texts, args)?;
    report::report(texts, &unreadable, args.write)
}

fn converted(source: Source, picks: &Picks) -> anyhow::Result<Text> {
    let mut text = String::with_capacity(source.text.len());
    let mut policies = Vec::new();
    let mut at = 0;
    for found in documents(&source.text) {
        let body = source.text.get(found.start..found.end).unwrap_or_default();
        text.push_str(source.text.get(at..found.start).unwrap_or_default());
        at = found.end;
        match &found.content {
            Ok(tree) => text.push_str(&of_document(
                &source,
                body.to_owned(),
                tree,
                found.start..found.end,
                picks,
                &mut policies,
            )?),
            Err(_) => text.push_str(body),
        }
    }
    text.push_str(source.text.get(at..).unwrap_or_default());
    Ok(Text { source, text, policies })
}

/// The text of one document with its policies rewritten.
fn of_document(
    source: &Source,
    mut body: String,
    tree: &Tree,
    place: Range<usize>,
    picks: &Picks,
    policies: &mut Vec<Rewritten>,
) -> anyhow::Result<String> {
    let mut prefixes = Vec::new();
    collect(tree, &mut Vec::new(), &mut prefixes);
    for (prefix, policy) in prefixes {
        let mut converted = if policy.repeated_keys().is_empty() {
            rounds::convert(body, &prefix, picks)?
        } else {
            // Which of two is meant is not to be guessed, nor what else depends on it.
            rounds::untouched(body)
        };
        body = std::mem::take(&mut converted.body);
        let ends: Vec<usize> = source.text.match_indices('\n').map(|(at, _)| at).collect();
        let line = |at: usize| ends.partition_point(|end| *end < at) + 1;
        let mut done: Vec<(usize, Done)> = std::mem::take(&mut converted.done)
            .into_iter()
            .map(|done| (line(place.start + policy.place_of(&done.path).start), done))
            .collect();
        done.sort_by_key(|(line, _)| *line);
        policies.push(Rewritten { done, choices: converted.choices });
    }
    Ok(body)
}

/// Every policy of a document, in the order in which lint judges them.
fn collect<'t>(tree: &'t Tree, at: &mut Vec<Step>, found: &mut Vec<(Vec<Step>, &'t Tree)>) {
    match nature(&tree.to_value()) {
        Nature::Policy => found.push((at.clone(), tree)),
        Nature::List => {
            for (index, item) in tree.elements_of("items").iter().enumerate() {
                at.extend([Step::Field("items".into()), Step::Element(index)]);
                collect(item, at, found);
                at.truncate(at.len() - 2);
            }
        }
        Nature::Other | Nature::Nothing => {}
    }
}
