//! A short name for what a policy means.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Hook, LabelSelector, Mode, OnFault, Scope, Strength, ValidatedPolicy};

/// How many hexadecimal digits are shown.
const SHOWN: usize = 12;

/// Twelve hexadecimal digits that two policies share when they mean the same, whatever they are called.
///
/// The order of hooks, values and entries is no part of it; the order of selectors is, because the first that matches
/// decides, and so is the order of arguments and tags, because events show it.
#[must_use]
pub fn digest(policy: &ValidatedPolicy) -> String {
    let ValidatedPolicy { id: _, uid: _, generation: _, mode, on_fault, minimum_strength, scope, node_selector, hooks } =
        policy;
    let mut hooks: Vec<String> = hooks.iter().map(hook_text).collect();
    hooks.sort_unstable();
    let meaning = Meaning { mode, on_fault, minimum_strength, scope, node_selector, hooks };
    let hash = Sha256::digest(text(&meaning));
    hash.iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .take(SHOWN)
        .filter_map(|nibble| char::from_digit(nibble.into(), 16))
        .collect()
}

#[derive(Serialize)]
struct Meaning<'a> {
    mode: &'a Mode,
    on_fault: &'a OnFault,
    minimum_strength: &'a Option<Strength>,
    scope: &'a Scope,
    node_selector: &'a Option<LabelSelector>,
    hooks: Vec<String>,
}

/// What a hook means, without its place in the document: equal texts are equal hooks.
pub(crate) fn hook_text(hook: &Hook) -> String {
    text(&Hook { index: 0, ..hook.clone() })
}

/// The types written here have only text keys and no floats: writing them cannot fail.
fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
