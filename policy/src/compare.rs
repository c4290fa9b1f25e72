//! What changes in meaning between two policies, in sentences.
//!
//! Equal digests mean the same, whatever the documents look like; otherwise every difference is said: of the policy, of each
//! hook, of each of its alternatives. [`crate::witness`] finds an event that is judged differently.

mod texts;
mod values;

use std::collections::{BTreeMap, VecDeque};

use crate::ir::{ArgTest, Hook, HookPoint, Selector, ValidatedPolicy, hook_text};
use crate::point::key;
use crate::reasons::parts;
use crate::sentences;
use texts::{Pair, fields, paired};

/// What changes in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where: `the policy`, `spec.kprobes[0] (security_file_open)`, the same with `, selectors[1]`.
    pub place: String,
    /// What.
    pub lines: Vec<Line>,
}

/// A sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// It was so, and is no longer.
    Gone(String),
    /// It is so now, and was not.
    New(String),
}

/// Every difference in meaning, in the order of the documents; empty exactly when the digests are equal.
#[must_use]
pub fn changes(before: &ValidatedPolicy, after: &ValidatedPolicy) -> Vec<Change> {
    if crate::digest(before) == crate::digest(after) {
        return Vec::new();
    }
    let mut changes = vec![Change { place: "the policy".into(), lines: of_policy(before, after) }];
    for pair in by_point(before, after) {
        match pair {
            Pair::Both(old, new) => changes.extend(of_hook(before, after, old, new)),
            Pair::Gone(hook) => changes.push(whole(before, hook, Line::Gone)),
            Pair::New(hook) => changes.push(whole(after, hook, Line::New)),
        }
    }
    changes.retain(|change| !change.lines.is_empty());
    if changes.is_empty() {
        // The sentences do not say everything.
        changes.push(Change { place: "the policy".into(), lines: fields(before, after) });
    }
    changes
}

/// Hooks at the same point belong together: first those that say the same, then in written order.
fn by_point<'p>(before: &'p ValidatedPolicy, after: &'p ValidatedPolicy) -> Vec<Pair<&'p Hook>> {
    let mut same: BTreeMap<String, usize> = BTreeMap::new();
    for text in after.hooks.iter().map(hook_text) {
        *same.entry(text).or_default() += 1;
    }
    let mut changed: Vec<&Hook> = Vec::new();
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    for hook in &before.hooks {
        let text = hook_text(hook);
        match same.get_mut(&text).filter(|left| **left > 0) {
            Some(left) => {
                *left -= 1;
                *taken.entry(text).or_default() += 1;
            }
            None => changed.push(hook),
        }
    }
    let mut free: BTreeMap<&HookPoint, VecDeque<&Hook>> = BTreeMap::new();
    for hook in &after.hooks {
        match taken.get_mut(&hook_text(hook)).filter(|left| **left > 0) {
            Some(left) => *left -= 1,
            None => free.entry(&hook.point).or_default().push_back(hook),
        }
    }
    let mut pairs = Vec::new();
    for hook in changed {
        pairs.push(match free.get_mut(&hook.point).and_then(VecDeque::pop_front) {
            Some(new) => Pair::Both(hook, new),
            None => Pair::Gone(hook),
        });
    }
    let mut left: Vec<&Hook> = free.into_values().flatten().collect();
    left.sort_by_key(|hook| (hook.point.family(), hook.index));
    pairs.extend(left.into_iter().map(Pair::New));
    pairs
}

fn of_policy(before: &ValidatedPolicy, after: &ValidatedPolicy) -> Vec<Line> {
    let about = |policy: &ValidatedPolicy| {
        // The first line is the name, which is no part of the meaning.
        let mut lines: Vec<String> = sentences::about(policy).into_iter().skip(1).collect();
        lines.extend(policy.enforcers.iter().map(|call| format!("What NotifyEnforcer asks for is done at {call}.")));
        if policy.loader {
            lines.push("Every file that is mapped to be executed is reported.".into());
        }
        lines
    };
    lines(&about(before), &about(after))
}

fn of_hook(before: &ValidatedPolicy, after: &ValidatedPolicy, old: &Hook, new: &Hook) -> Vec<Change> {
    let mut own = lines(&told(old), &told(new));
    let mut changes = Vec::new();
    for pair in paired(&old.selectors, &new.selectors) {
        let (place, lines) = match pair {
            Pair::Both((old_at, old_selector), (new_at, new_selector)) => {
                let place = if old_at == new_at {
                    format!("selectors[{old_at}]")
                } else {
                    format!("selectors[{old_at}], now selectors[{new_at}]")
                };
                (place, of_selector((old, old_selector), (after, new, new_selector)))
            }
            Pair::Gone((at, selector)) => {
                (format!("selectors[{at}]"), alternative(before, old, selector).into_iter().map(Line::Gone).collect())
            }
            Pair::New((at, selector)) => {
                (format!("selectors[{at}]"), alternative(after, new, selector).into_iter().map(Line::New).collect())
            }
        };
        changes.push(Change { place: format!("{}, {place}", named(new)), lines });
    }
    changes.retain(|change| !change.lines.is_empty());
    if own.is_empty() && changes.is_empty() {
        own = fields(old, new);
    }
    if !own.is_empty() {
        changes.insert(0, Change { place: named(new), lines: own });
    }
    changes
}

/// What of a hook is not in its alternatives.
fn told(hook: &Hook) -> Vec<String> {
    let mut lines = sentences::reads(hook);
    if !hook.message.is_empty() {
        lines.push(format!("Its events say: {}.", hook.message));
    }
    if !hook.tags.is_empty() {
        lines.push(format!("Its events have the tags {}.", hook.tags.join(", ")));
    }
    if hook.may_be_missing {
        lines.push("A node without it has no failure.".into());
    }
    if hook.selectors.is_empty() {
        lines.push("Every call is reported.".into());
    }
    lines
}

fn of_selector(
    (old_hook, old): (&Hook, &Selector),
    (after, new_hook, new): (&ValidatedPolicy, &Hook, &Selector),
) -> Vec<Line> {
    let clause = |hook: &Hook, part: &Selector| sentences::clauses(hook, part).concat();
    let mut gone: Vec<Selector> = parts(old);
    let mut added: Vec<Selector> = Vec::new();
    for part in parts(new) {
        let in_old = moved(&part, new_hook, old_hook);
        match gone.iter().position(|old| in_old.as_ref() == Some(old)) {
            Some(at) => drop(gone.remove(at)),
            None => added.push(part),
        }
    }
    let mut lines = Vec::new();
    added.retain(|part| {
        let in_old = moved(part, new_hook, old_hook);
        let split = gone.iter().enumerate().find_map(|(at, old)| Some((at, values::split(old, in_old.as_ref()?)?)));
        let Some((at, split)) = split else { return true };
        gone.remove(at);
        for (negated, values, is_new) in [(split.negated, split.gone, false), (split.negated, split.new, true)] {
            let text = values.map(|values| clause(old_hook, &values));
            // A value more of a negated filter is one that no longer matches.
            lines.extend(text.map(|text| match is_new != negated {
                true => Line::New(format!("also when {text}")),
                false => Line::Gone(format!("no longer when {text}")),
            }));
        }
        false
    });
    lines.extend(gone.iter().map(|part| Line::Gone(format!("only when {}", clause(old_hook, part)))));
    lines.extend(added.iter().map(|part| Line::New(format!("only when {}", clause(new_hook, part)))));
    // That the mode has changed is said once, of the policy.
    let does = |hook: &Hook, selector: &Selector| {
        let mut lines = sentences::does(after.mode, hook, selector);
        if !selector.label.is_empty() {
            lines.push(format!("It is counted as {}.", selector.label));
        }
        lines
    };
    lines.extend(self::lines(&does(old_hook, old), &does(new_hook, new)));
    lines
}

/// A filter of one hook as one of another that reads the same argument elsewhere; `None`: it does not read it.
fn moved(part: &Selector, from: &Hook, to: &Hook) -> Option<Selector> {
    let mut part = part.clone();
    for filter in &mut part.args {
        let position = |at: usize| {
            let arg = from.args.get(at)?;
            to.args.iter().position(|other| (key(other), other.ty) == (key(arg), arg.ty))
        };
        match &mut filter.test {
            ArgTest::Gained { new } => *new = position(*new)?,
            // It names its arguments itself.
            ArgTest::Expression(_) if from.args == to.args => continue,
            ArgTest::Expression(_) => return None,
            _ => {}
        }
        filter.arg = position(filter.arg)?;
    }
    Some(part)
}

fn alternative(policy: &ValidatedPolicy, hook: &Hook, selector: &Selector) -> Vec<String> {
    let mut lines = vec![format!("{}:", sentences::conditions(hook, selector))];
    lines.extend(sentences::does(policy.mode, hook, selector).into_iter().map(|line| format!("  {line}")));
    lines
}

/// A hook that only one of both has.
fn whole(policy: &ValidatedPolicy, hook: &Hook, line: fn(String) -> Line) -> Change {
    let mut lines = vec![sentences::place(&hook.point)];
    lines.extend(told(hook));
    lines.extend(hook.selectors.iter().flat_map(|selector| alternative(policy, hook, selector)));
    Change { place: named(hook), lines: lines.into_iter().map(line).collect() }
}

fn named(hook: &Hook) -> String {
    format!("spec.{}[{}] ({})", hook.point.family(), hook.index, hook.point.name())
}

/// The sentences that only one of both has.
#[must_use]
pub fn lines(before: &[String], after: &[String]) -> Vec<Line> {
    let gone = before.iter().filter(|line| !after.contains(line)).cloned().map(Line::Gone);
    gone.chain(after.iter().filter(|line| !before.contains(line)).cloned().map(Line::New)).collect()
}
