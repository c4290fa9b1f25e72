//! The laws of the semantics over documents of the whole language, as they are judged, and events that hit what they say.
//!
//! `laws.rs` tries the model by itself, on a part of the language.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unreachable,
    reason = "a test that cannot go on must fail"
)]

mod generated;

use std::collections::{BTreeMap, BTreeSet};

use generated::events::{flipped, satisfy};
use generated::pieces::{Place, entries, negated, one, only, selectors};
use generated::rearranged::rearranged;
use generated::{Dice, Event, Pools, Reach, document, each, each_document};
use serde_json::{Map, Value, json};
use stockade_policy::ir::{Actions, ArgTest, Expression, Hook, Mode, OnFault, Scope, Selector, ValidatedPolicy};
use stockade_policy::model::{Argument, Verdict, decide, decide_return, selector_matches, together};
use stockade_policy::reasons::parts;
use stockade_policy::{Judgement, digest, judge};

/// Refusals that say "no event at all".
const NEVER: [&str; 6] =
    ["FilterNever", "AddrNever", "AddrFamilyNever", "PortNever", "PidContradiction", "LabelSelectorNever"];
/// Refusals that say "every event".
const ALWAYS: [&str; 3] = ["FilterAlways", "AddrAlways", "PortAlways"];
/// How many laws share the documents: a document takes some three milliseconds, and the suite has seconds. Together 10,000 take
/// 30 seconds of CPU with `opt-level = 1` for this crate (in the root `Cargo.toml`), half of that on two cores.
const LAWS: u64 = 11;
/// How many events are tried on a hook.
const EVENTS: usize = 4;

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn meaning(document: &Value) -> Option<ValidatedPolicy> {
    judge(document).meaning
}

/// What is wrong with it, beside what is only not carried out.
fn codes(judgement: &Judgement) -> Vec<&'static str> {
    judgement.faults.iter().map(|fault| fault.code).filter(|code| *code != "Unsupported").collect()
}

fn verdict(policy: &ValidatedPolicy, hook: &Hook, event: &Event) -> Verdict {
    decide(policy, hook, &event.process, &event.arguments)
}

fn matches(filter: &Selector, hook: &Hook, event: &Event) -> Option<bool> {
    selector_matches(filter, hook, &event.process, &event.arguments)
}

/// Some events at each hook of a policy.
fn events<'p>(policy: &'p ValidatedPolicy, dice: &mut Dice, readable: bool) -> Vec<(&'p Hook, Event)> {
    let mut all = Vec::new();
    for hook in policy.hooks.iter().take(3) {
        let pools = Pools::of(&policy.scope, hook);
        all.extend((0..EVENTS).map(|_| (hook, pools.event(dice, readable))));
    }
    all
}

#[test]
fn most_documents_are_valid_and_all_of_the_language_is_in_them() {
    let (mut valid, mut words) = (0, BTreeSet::new());
    let mut refused: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..2_000 {
        let document = document(seed, seed, Reach::Whole);
        let judgement = judge(&document);
        valid += usize::from(judgement.meaning.is_some());
        for code in codes(&judgement).into_iter().collect::<BTreeSet<_>>() {
            *refused.entry(code).or_default() += 1;
        }
        collect(&document, &mut words);
    }
    assert!(valid > 1_000, "{valid} of 2000 are valid; {refused:?}");
    let operators = stockade_crds::spec::selectors::ARG_OPERATORS.iter();
    let types = stockade_crds::spec::args::ARG_TYPES.iter().filter(|name| !name.is_empty());
    let actions = stockade_crds::spec::selectors::ACTIONS.iter();
    let missing: Vec<&&str> = operators.chain(types).chain(actions).filter(|word| !words.contains(**word)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn collect(value: &Value, words: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => drop(words.insert(text.clone())),
        Value::Array(values) => values.iter().for_each(|value| collect(value, words)),
        Value::Object(map) => map.values().for_each(|value| collect(value, words)),
        _ => {}
    }
}

#[test]
fn law_1_negation_is_negation() {
    each_document(LAWS, |document, dice| {
        let all = selectors(document);
        let entries: Vec<(Place, String, Value)> = all
            .iter()
            .flat_map(|(place, selector)| entries(selector).into_iter().map(|(field, entry)| (*place, field, entry)))
            .filter(|(_, field, _)| field != "matchReturnArgs")
            .collect();
        if entries.is_empty() {
            return Ok(());
        }
        let (place, field, entry) = dice.pick(&entries);
        let Some(contrary) = negated(entry) else { return Ok(()) };
        let read = |entry: &Value| meaning(&only(document, *place, &[one(field, entry)]));
        let (Some(policy), Some(other)) = (read(entry), read(&contrary)) else { return Ok(()) };
        let (hook, selector, contrary) =
            (&policy.hooks[0], &policy.hooks[0].selectors[0], &other.hooks[0].selectors[0]);
        let pools = Pools::of(&policy.scope, hook);
        for _ in 0..EVENTS {
            let event = pools.event(dice, true);
            let (left, right) = (matches(selector, hook, &event), matches(contrary, hook, &event));
            // Negated or not, some filters are about a part of all events: sockets with addresses, processes in a user
            // namespace of their own.
            let about = selector.args.iter().filter(|filter| contrary.args.contains(filter));
            let about = about.map(|filter| Selector { args: vec![filter.clone()], ..Selector::default() });
            let outside = about.into_iter().any(|filter| matches(&filter, hook, &event) != Some(true));
            let users = stockade_policy::ir::Namespace::User;
            let at_home = event.process.namespaces[&users] == event.process.host_namespaces[&users];
            let outside = outside || (entry["isNamespaceCapability"] == json!(true) && at_home);
            let expected = if outside { (Some(false), Some(false)) } else { (left, left.map(|holds| !holds)) };
            ensure((left, right) == expected, || format!("{entry} is {left:?} and {right:?} for {event:?}"))?;
        }
        Ok(())
    });
}

#[test]
fn law_2_what_means_the_same_is_judged_the_same_and_has_one_digest() {
    each(LAWS, |seed, dice| {
        let written = [0, 1].map(|_| document(seed, dice.number(), Reach::Whole));
        let judged = written.clone().map(|document| judge(&document));
        let both = || format!("\n{}\n{}", written[0], written[1]);
        let classes = judged.clone().map(|judgement| codes(&judgement).into_iter().collect::<BTreeSet<_>>());
        ensure(classes[0] == classes[1], || format!("{classes:?}{}", both()))?;
        let [Some(left), Some(right)] = judged.map(|judgement| judgement.meaning) else { return Ok(()) };
        ensure(digest(&left) == digest(&right), || format!("two digests{}", both()))?;
        for (hook, event) in events(&left, dice, false) {
            let at = |policy: &ValidatedPolicy| {
                let own = policy.hooks.iter().filter(|other| other.point == hook.point && other.args == hook.args);
                let verdicts = own.map(|own| format!("{:?}", verdict(policy, own, &event)));
                verdicts.collect::<BTreeSet<_>>()
            };
            ensure(at(&left) == at(&right), || format!("{event:?}{}", both()))?;
        }
        Ok(())
    });
}

#[test]
fn law_3_the_first_selector_that_matches_alone_decides() {
    each_document(LAWS, |document, dice| {
        let Some(policy) = meaning(document) else { return Ok(()) };
        for (hook, event) in events(&policy, dice, false) {
            let alone = |selector: &Selector| Hook { selectors: vec![selector.clone()], ..hook.clone() };
            let verdicts: Vec<Verdict> =
                hook.selectors.iter().map(|selector| verdict(&policy, &alone(selector), &event)).collect();
            let first = verdicts.iter().position(|verdict| verdict.selector.is_some());
            let whole = verdict(&policy, hook, &event);
            let expected = first.map_or_else(Verdict::default, |at| Verdict { selector: Some(at), ..verdicts[at] });
            ensure(hook.selectors.is_empty() || whole == expected, || format!("{whole:?} at {event:?}"))?;
        }
        Ok(())
    });
}

#[test]
fn law_4_a_policy_more_takes_nothing_back() {
    each(LAWS, |seed, dice| {
        let policies: Vec<ValidatedPolicy> =
            [seed, dice.number()].iter().filter_map(|seed| meaning(&document(*seed, 0, Reach::Whole))).collect();
        let [first, second] = &policies[..] else { return Ok(()) };
        let mut left = events(first, dice, false);
        let right = events(second, dice, false);
        left.truncate(right.len());
        let verdicts: Vec<Verdict> = left.iter().map(|(hook, event)| verdict(first, hook, event)).collect();
        for (verdict_of_one, (hook, event)) in verdicts.iter().zip(&right) {
            let alone = together(&[*verdict_of_one]);
            let mut both = [*verdict_of_one, verdict(second, hook, event)];
            let more = together(&both);
            both.reverse();
            let grown = alone.errors.is_subset(&more.errors)
                && alone.signals.is_subset(&more.signals)
                && alone.reports <= more.reports;
            ensure(grown && together(&both) == more, || format!("{both:?}"))?;
        }
        Ok(())
    });
}

/// What can be left out without a change: it says what silence says, or what another value says too.
fn says_nothing(document: &Value, path: &[String]) -> bool {
    let at = path.iter().try_fold(document, |value, step| match value {
        Value::Array(values) => values.get(step.parse::<usize>().ok()?),
        _ => value.get(step),
    });
    let (Some(value), [.., parent, name]) = (at, path) else { return true };
    // `policy-mode` may say what silence says.
    if path.iter().any(|step| step == "options") {
        return true;
    }
    let default = match name.as_str() {
        "syscall" => json!(true),
        "followForks" | "isNamespacePID" | "followChildren" | "isNamespaceCapability" => json!(false),
        "mode" | "minimumStrength" => return true,
        "onFault" => json!("Allow"),
        "type" => json!("Effective"),
        "rateLimitScope" => json!("thread"),
        "index" | "argSock" | "argIndex" => json!(0),
        // Of a filter: argument 0, which is what silence means.
        "args" if parent.parse::<usize>().is_ok() => json!([0]),
        _ if parent == "args" => json!(0),
        _ => Value::Null,
    };
    // `Post` is what silence does; a list of what has been said is as long as one likes.
    *value == default
        || value == &json!({"action": "Post"})
        || name == "matchActions"
        || parent == "values"
        || excludes_what_others_exclude(document, path, value)
}

/// Whether an entry excludes nothing that the entries beside it do not exclude: a list that is split is one list.
fn excludes_what_others_exclude(document: &Value, path: &[String], value: &Value) -> bool {
    let kind = |entry: &Value| {
        let mut kind = entry.clone();
        kind.as_object_mut().map(|fields| fields.remove("values")).map(|_| kind)
    };
    let values = |entry: &Value| entry["values"].as_array().cloned().unwrap_or_default();
    let negated = value["operator"].as_str().is_some_and(|operator| operator.starts_with("Not"));
    let Some((own, beside)) = path.split_last().filter(|_| negated) else { return false };
    let beside = beside.iter().try_fold(document, |value, step| match value {
        Value::Array(values) => values.get(step.parse::<usize>().ok()?),
        _ => value.get(step),
    });
    let entries = beside.and_then(Value::as_array).into_iter().flatten().enumerate();
    let others = entries.filter(|(at, entry)| at.to_string() != *own && kind(entry) == kind(value));
    let excluded: Vec<Value> = others.flat_map(|(_, entry)| values(entry)).collect();
    !excluded.is_empty() && values(value).iter().all(|value| excluded.contains(value))
}

/// Every element and field below `spec`.
fn places(value: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Array(values) => values.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        _ => Vec::new(),
    };
    for (name, child) in children {
        path.push(name);
        found.push(path.clone());
        places(child, path, found);
        path.pop();
    }
}

fn without(document: &Value, path: &[String]) -> Value {
    let mut document = document.clone();
    let (last, parents) = path.split_last().unwrap();
    let parent = parents.iter().fold(&mut document, |value, step| match value {
        Value::Array(values) => &mut values[step.parse::<usize>().unwrap()],
        other => &mut other[step.as_str()],
    });
    match parent {
        Value::Array(values) => drop(values.remove(last.parse().unwrap())),
        other => drop(other.as_object_mut().unwrap().shift_remove(last.as_str())),
    }
    document
}

#[test]
fn law_5_nothing_is_ignored() {
    // Without repetitions: each element says something.
    each(LAWS, |seed, dice| {
        let document = document(seed, 0, Reach::Whole);
        let document = once(&document);
        let Some(policy) = meaning(&document) else { return Ok(()) };
        let mut all = Vec::new();
        places(&document["spec"], &mut vec!["spec".into()], &mut all);
        let path = dice.pick(&all);
        if says_nothing(&document, path) {
            return Ok(());
        }
        let less = without(&document, path);
        let same = meaning(&less).is_some_and(|other| digest(&other) == digest(&policy));
        let warned = |document: &Value| {
            let warnings = judge(document).warnings;
            warnings.iter().map(|warning| warning.code).collect::<Vec<_>>()
        };
        // What is told to be idle has not been ignored.
        let told = warned(&document).len() > warned(&less).len();
        ensure(!same || told, || format!("{} says nothing in\n{document}", path.join(".")))
    });
}

/// The document with each element of a list once.
fn once(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), once(value))).collect::<Map<_, _>>().into(),
        Value::Array(values) => {
            let mut kept: Vec<Value> = Vec::new();
            for value in values.iter().map(once) {
                if !kept.contains(&value) {
                    kept.push(value);
                }
            }
            kept.into()
        }
        other => other.clone(),
    }
}

/// Whether it is sure that the filters are found to be satisfied if they can be: what calculates has no end of values.
fn is_plain(filter: &Selector) -> bool {
    fn plain(expression: &Expression) -> bool {
        match expression {
            Expression::Calculate(..) | Expression::Cast(..) => false,
            Expression::Truth(_) | Expression::Number(_) | Expression::Arg(_) => true,
            Expression::Not(of) => plain(of),
            Expression::Both(left, right)
            | Expression::Either(left, right)
            | Expression::Same(left, right)
            | Expression::Compare(_, left, right) => plain(left) && plain(right),
        }
    }
    filter.args.iter().all(|filter| !matches!(&filter.test, ArgTest::Expression(expression) if !plain(expression)))
}

fn all_of(selector: &Selector) -> Vec<(Selector, bool)> {
    parts(selector).into_iter().map(|filter| (filter, true)).collect()
}

#[test]
fn law_6_whatever_is_accepted_can_match_and_can_fail_to() {
    each_document(LAWS, |document, _| {
        let Some(policy) = meaning(document) else { return Ok(()) };
        for hook in &policy.hooks {
            for (at, selector) in hook.selectors.iter().enumerate() {
                if !is_plain(selector) {
                    continue;
                }
                let event = satisfy(&policy.scope, hook, &all_of(selector));
                ensure(event.is_some(), || format!("no event matches {selector:?}"))?;
                for filter in parts(selector) {
                    let fails = satisfy(&policy.scope, hook, &[(filter.clone(), false)]);
                    ensure(fails.is_some(), || format!("every event satisfies {filter:?}"))?;
                }
                for earlier in hook.selectors[..at].iter().filter(|earlier| is_plain(earlier)) {
                    let not = |filter: Selector| {
                        let mut wanted = all_of(selector);
                        wanted.push((filter, false));
                        satisfy(&policy.scope, hook, &wanted)
                    };
                    let reached = parts(earlier).into_iter().any(|filter| not(filter).is_some());
                    ensure(reached, || format!("{earlier:?} matches whatever {selector:?} matches"))?;
                }
                returned(hook, selector)?;
            }
        }
        Ok(())
    });
}

/// The same of what is asked of the returned value.
fn returned(hook: &Hook, selector: &Selector) -> Result<(), String> {
    let (Some(ty), Some(on_return)) = (hook.returns, &selector.on_return) else { return Ok(()) };
    let value = Hook { args: vec![stockade_policy::ir::Arg::plain(0, ty)], ..hook.clone() };
    let all = Selector { args: on_return.args.clone(), ..Selector::default() };
    if !is_plain(&all) {
        return Ok(());
    }
    let matching = satisfy(&Scope::Everything, &value, &all_of(&all));
    ensure(matching.is_some(), || format!("nothing that is returned satisfies {:?}", on_return.args))?;
    for filter in parts(&all) {
        let fails = satisfy(&Scope::Everything, &value, &[(filter.clone(), false)]);
        ensure(fails.is_some(), || format!("whatever is returned satisfies {filter:?}"))?;
    }
    Ok(())
}

#[test]
fn law_6_whatever_is_refused_as_never_or_always_is_so() {
    each_document(LAWS, |document, dice| {
        let judgement = judge(document);
        for fault in judgement.faults.iter().filter(|fault| NEVER.contains(&fault.code)) {
            let Some((place, selector)) = selectors(document).into_iter().find(|(place, _)| {
                let path = format!("spec.{}[{}].selectors[{}].", place.family, place.hook, place.selector);
                fault.path.starts_with(&path)
            }) else {
                continue;
            };
            let field = fault.path.rsplit('.').find(|step| step.starts_with("match")).unwrap_or_default();
            let whole = fault.path.ends_with(field);
            if whole && field != "matchReturnArgs" {
                refused_together(document, place, &selector)?;
            }
        }
        let one_by_one = |(place, selector): &(Place, Map<String, Value>)| {
            entries(selector).into_iter().map(|(field, entry)| (*place, field, entry)).collect::<Vec<_>>()
        };
        let entries: Vec<_> = selectors(document).iter().flat_map(one_by_one).collect();
        if entries.is_empty() {
            return Ok(());
        }
        let (place, field, entry) = dice.pick(&entries);
        refused_alone(document, *place, field, entry)
    });
}

/// Entries that are valid each for itself, of a selector that is said to match nothing.
fn refused_together(document: &Value, place: Place, selector: &Map<String, Value>) -> Result<(), String> {
    let mut filters: Vec<(Selector, bool)> = Vec::new();
    let mut found: Option<ValidatedPolicy> = None;
    for (field, entry) in entries(selector).iter().filter(|(field, _)| field != "matchReturnArgs") {
        let Some(policy) = meaning(&only(document, place, &[one(field, entry)])) else { return Ok(()) };
        filters.extend(all_of(&policy.hooks[0].selectors[0]));
        found = Some(policy);
    }
    let Some(policy) = found else { return Ok(()) };
    let event = satisfy(&policy.scope, &policy.hooks[0], &filters);
    ensure(event.is_none(), || format!("{place:?} is refused as matching nothing, and matches {event:?}"))
}

/// An entry that is refused by itself: its values one by one leave nothing.
fn refused_alone(document: &Value, place: Place, field: &str, entry: &Value) -> Result<(), String> {
    let alone = |entry: &Value| judge(&only(document, place, &[one(field, entry)]));
    let judgement = alone(entry);
    let codes = codes(&judgement);
    let is_plain = field == "matchArgs" || field == "matchBinaries" || field == "matchParentBinaries";
    let values = entry["values"].as_array().filter(|values| values.len() > 1);
    let (Some(values), true) = (values, is_plain) else { return Ok(()) };
    if codes.is_empty() || !codes.iter().all(|code| NEVER.contains(code) || ALWAYS.contains(code)) {
        return Ok(());
    }
    // If no value alone is refused, together they are because every one is listed.
    let mut filters = Vec::new();
    for value in values {
        let mut single = entry.clone();
        single["values"] = json!([value]);
        let Some(policy) = alone(&single).meaning else { return Ok(()) };
        filters.push(policy);
    }
    let wanted: Vec<(Selector, bool)> = filters
        .iter()
        .flat_map(|policy| parts(&policy.hooks[0].selectors[0]))
        .map(|filter| if has_negation(&filter) { (filter, true) } else { (flipped(&filter).unwrap_or(filter), true) })
        .collect();
    let event = satisfy(&filters[0].scope, &filters[0].hooks[0], &wanted);
    // What has no address or port is not what such a filter is about.
    ensure(event.is_none(), || format!("{entry} is refused as {codes:?}, and does not name {event:?}"))
}

fn has_negation(filter: &Selector) -> bool {
    let args = filter.args.iter().map(|filter| filter.negated || matches!(filter.test, ArgTest::Family(_)));
    let binaries = filter.binaries.iter().chain(&filter.parent_binaries).map(|filter| filter.negated);
    args.chain(binaries).all(|negated| negated)
}

#[test]
fn law_6_an_alternative_that_is_refused_as_unreachable_is_so() {
    each_document(LAWS, |document, _| {
        let all = selectors(document);
        let path = |place: &Place| format!("spec.{}[{}].selectors[{}]", place.family, place.hook, place.selector);
        let judgement = judge(document);
        for fault in judgement.faults.iter().filter(|fault| fault.code == "SelectorUnreachable") {
            let named = |name: &str| all.iter().find(|(place, _)| path(place) == name);
            let earlier = fault.message.split(' ').next().unwrap_or_default();
            let (Some((place, earlier)), Some((_, later))) = (named(earlier), named(&fault.path)) else { continue };
            let filters = |selector: &Map<String, Value>| {
                let only_filters = |(key, _): &(&String, &Value)| key.starts_with("match") && !key.contains("Return");
                let mut own: Map<String, Value> =
                    selector.iter().filter(only_filters).map(|(key, value)| (key.clone(), value.clone())).collect();
                own.shift_remove("matchActions");
                own.insert("matchActions".into(), json!([{"action": "Post"}]));
                meaning(&only(document, *place, &[Value::Object(own)]))
            };
            let (Some(earlier), Some(later)) = (filters(earlier), filters(later)) else { continue };
            let (hook, later) = (&later.hooks[0], &later.hooks[0].selectors[0]);
            for filter in parts(&earlier.hooks[0].selectors[0]) {
                let mut wanted = all_of(later);
                wanted.push((filter, false));
                let event = satisfy(&earlier.scope, hook, &wanted);
                ensure(event.is_none(), || format!("{} is reached by {event:?}", fault.path))?;
            }
        }
        Ok(())
    });
}

#[test]
fn law_7_what_cannot_be_read_is_neither_match_nor_non_match() {
    each_document(LAWS, |document, dice| {
        let Some(policy) = meaning(document) else { return Ok(()) };
        for (hook, event) in events(&policy, dice, true) {
            let mut damaged = event.clone();
            damage(&mut damaged, dice);
            let (before, after) = (verdict(&policy, hook, &event), verdict(&policy, hook, &damaged));
            ensure(!before.fault, || format!("a fault though all can be read: {event:?}"))?;
            let why = || format!("{before:?} becomes {after:?} for {damaged:?}");
            if !after.fault {
                ensure(before == after, why)?;
                continue;
            }
            let selector = &hook.selectors[after.selector.unwrap()];
            let denies = policy.mode == Mode::Enforce && policy.on_fault == OnFault::Deny;
            let denied = selector.actions.deny.filter(|_| denies);
            ensure(after.post && after.deny == denied && after.signal.is_none() && !after.would_deny, why)?;
            // Those before it are decided without what cannot be read, and it is not.
            let earlier = before.selector.is_none_or(|at| at >= after.selector.unwrap());
            let undecided = matches(selector, hook, &damaged).is_none();
            ensure(earlier && undecided, why)?;
            let returned = decide_return(&policy, hook, after, &Argument::Number(0));
            ensure(returned == Verdict::default(), || format!("judged at return after a fault: {returned:?}"))?;
        }
        Ok(())
    });
}

/// Makes one thing unreadable.
fn damage(event: &mut Event, dice: &mut Dice) {
    let process = &mut event.process;
    match dice.roll(8) {
        0 | 1 => process.lineage[0].binary = None,
        2 => process.lineage.last_mut().unwrap().binary = None,
        3 => process.lineage[0].own_pid = None,
        4 => process.namespaces.clear(),
        5 => process.capabilities.clear(),
        6 => process.capabilities_at_exec.clear(),
        _ if event.arguments.is_empty() => {}
        _ => {
            let at = dice.roll(event.arguments.len());
            event.arguments[at] = Argument::Unreadable;
        }
    }
}

#[test]
fn law_8_monitor_and_enforce_differ_in_the_last_step_only() {
    each_document(LAWS, |document, dice| {
        let mode = |mode: &str| {
            let mut document = document.clone();
            let spec = document["spec"].as_object_mut()?;
            spec.shift_remove("options");
            spec.insert("mode".into(), json!(mode));
            meaning(&document)
        };
        let (Some(enforce), Some(monitor)) = (mode("Enforce"), mode("Monitor")) else { return Ok(()) };
        ensure(enforce.hooks == monitor.hooks, || "the mode changes a hook".into())?;
        for (hook, event) in events(&enforce, dice, false) {
            let (done, told) = (verdict(&enforce, hook, &event), verdict(&monitor, hook, &event));
            let why = || format!("{done:?} and {told:?} for {event:?}");
            ensure((done.selector, done.post, done.fault) == (told.selector, told.post, told.fault), why)?;
            ensure(told.deny.is_none() && told.signal.is_none() && !done.would_deny, why)?;
            let acts = done.deny.is_some() || done.signal.is_some();
            ensure(acts == told.would_deny || done.fault, why)?;
            if let (Some(at), false) = (done.selector, hook.selectors.is_empty() || done.fault) {
                let Actions { post, deny, signal } = hook.selectors[at].actions;
                ensure((done.post, done.deny, done.signal) == (post, deny, signal), why)?;
            }
        }
        Ok(())
    });
}

#[test]
fn faults_do_not_depend_on_the_order_of_the_document() {
    each_document(LAWS, |document, dice| {
        let mut damaged = document.clone();
        for _ in 0..1 + dice.roll(3) {
            let mut all = Vec::new();
            places(&damaged["spec"], &mut vec!["spec".into()], &mut all);
            if all.is_empty() {
                return Ok(());
            }
            let (from, to) = (dice.pick(&all).clone(), dice.pick(&all).clone());
            let odd = [json!(null), json!(-1), json!("0x"), json!([]), json!({"operator": "In"}), json!("NotIn")];
            let value = match dice.roll(3) {
                0 => value_at(&damaged, &from).clone(),
                _ => dice.pick(&odd).clone(),
            };
            damaged = with(&damaged, &to, value);
        }
        let other = rearranged(&damaged, "", false, &mut |sides| dice.roll(sides));
        let sorted = |judgement: &Judgement| {
            let mut codes: Vec<_> =
                judgement.faults.iter().chain(&judgement.warnings).map(|fault| fault.code).collect();
            codes.sort_unstable();
            codes
        };
        let (left, right) = (judge(&damaged), judge(&other));
        ensure(sorted(&left) == sorted(&right), || {
            format!("{:?}\n{:?}\n{damaged}\n{other}", sorted(&left), sorted(&right))
        })
    });
}

fn value_at<'v>(document: &'v Value, path: &[String]) -> &'v Value {
    path.iter().fold(document, |value, step| match value {
        Value::Array(values) => &values[step.parse::<usize>().unwrap()],
        other => &other[step.as_str()],
    })
}

fn with(document: &Value, path: &[String], new: Value) -> Value {
    let mut document = document.clone();
    let place = path.iter().fold(&mut document, |value, step| match value {
        Value::Array(values) => &mut values[step.parse::<usize>().unwrap()],
        other => &mut other[step.as_str()],
    });
    *place = new;
    document
}
