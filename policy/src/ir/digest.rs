//! A short name for what a policy means.

use std::collections::BTreeSet;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{ArgTest, Hook, LabelSelector, Mode, NumberRange, OnFault, Scope, Strength, ValidatedPolicy};

/// How many hexadecimal digits are shown.
const SHOWN: usize = 12;

/// Twelve hexadecimal digits that two policies share when they mean the same, whatever they are called.
///
/// The order of hooks, values and entries is no part of it; the order of selectors is, because the first that matches
/// decides, and so is the order of arguments and tags, because events show it.
#[must_use]
pub fn digest(policy: &ValidatedPolicy) -> String {
    let ValidatedPolicy {
        id: _,
        uid: _,
        generation: _,
        mode,
        on_fault,
        minimum_strength,
        scope,
        node_selector,
        hooks,
        enforcers,
        loader,
    } = policy;
    let mut hooks: Vec<String> = hooks.iter().map(hook_text).collect();
    hooks.sort_unstable();
    let meaning = Meaning { mode, on_fault, minimum_strength, scope, node_selector, hooks, enforcers, loader: *loader };
    let hash = short(&text(&meaning));
    hash.iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .take(SHOWN)
        .filter_map(|nibble| char::from_digit(nibble.into(), 16))
        .collect()
}

/// The hash of a text.
pub(crate) fn short(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

#[derive(Serialize)]
struct Meaning<'a> {
    mode: &'a Mode,
    on_fault: &'a OnFault,
    minimum_strength: &'a Option<Strength>,
    scope: &'a Scope,
    node_selector: &'a Option<LabelSelector>,
    hooks: Vec<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    enforcers: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "super::is_default")]
    loader: bool,
}

/// What a hook means, without its place in the document: equal texts are equal hooks.
pub(crate) fn hook_text(hook: &Hook) -> String {
    let mut hook = Hook { index: 0, ..hook.clone() };
    for selector in &mut hook.selectors {
        let on_return = selector.on_return.iter_mut().flat_map(|on_return| &mut on_return.args);
        selector.args.iter_mut().chain(on_return).for_each(|filter| ranges_of(&mut filter.test));
        selector.args.sort_unstable();
        if let Some(on_return) = &mut selector.on_return {
            on_return.args.sort_unstable();
        }
    }
    text(&hook)
}

/// How many numbers a range has at least ([`crate::validate`] writes out shorter ones).
const MANY: usize = 65;

/// Many numbers as ranges: however a set is written, it is one set.
fn ranges_of(test: &mut ArgTest) {
    let ArgTest::Number(set) = test else { return };
    if set.len() < MANY {
        return;
    }
    let mut ranges: Vec<NumberRange> = Vec::new();
    for number in set.iter().copied() {
        match ranges.last_mut() {
            Some(range) if range.last.checked_add(1) == Some(number) => range.last = number,
            _ => ranges.push(NumberRange { first: number, last: number }),
        }
    }
    *test = ArgTest::Range(ranges.into_iter().collect());
}

/// The types written here have only text keys and no floats: writing them cannot fail.
fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
