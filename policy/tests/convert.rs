//! What is rewritten, and offered, corrects what it is for and spoils nothing else.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on must fail")]

mod documents;

use std::collections::BTreeMap;

use serde_json::Value;
use stockade_policy::convert::rules::{self, Does};
use stockade_policy::convert::{Answer, Edit, Reading, answers, apply, compatible};
use stockade_policy::fault::{Fault, codes};
use stockade_policy::{judge, validate::all_faults};

/// Every how many documents one is put beside another.
const BESIDE: usize = 12;

/// How often each code is given.
fn counted(faults: &[Fault]) -> BTreeMap<&'static str, usize> {
    // What is only not carried out is no fault of the document.
    faults.iter().filter(|fault| fault.code != codes::UNSUPPORTED).fold(BTreeMap::new(), |mut counts, fault| {
        *counts.entry(fault.code).or_default() += 1;
        counts
    })
}

/// Whether an edit shows what was hidden: nothing is looked at in a field that does not exist, nor is the order of
/// selectors of which one is not understood, nor at what is switched off.
fn reveals(reading: &Reading, code: &str) -> bool {
    let revealing = [codes::SELECTOR_EMPTY, codes::WRONG_TYPE, codes::OBSOLETE, codes::RETURN_UNUSED];
    reading.edits.iter().any(|edit| matches!(edit, Edit::Rename { .. })) || revealing.contains(&code)
}

/// What is wrong with what a reading makes of a document.
fn wrong(object: &Value, fault: &Fault, reading: &Reading, before: &BTreeMap<&'static str, usize>) -> Option<String> {
    let Some(after) = apply(object, &reading.edits) else { return Some("it cannot be carried out".into()) };
    let faults = all_faults(&after);
    let counts = counted(&faults);
    let of = |counts: &BTreeMap<&'static str, usize>, code: &str| counts.get(code).copied().unwrap_or(0);
    if of(&counts, fault.code) >= of(before, fault.code) && !reveals(reading, fault.code) {
        return Some("the fault is still there".into());
    }
    let new: Vec<_> = faults.iter().filter(|fault| of(&counts, fault.code) > of(before, fault.code)).collect();
    (!new.is_empty() && !reveals(reading, fault.code)).then(|| format!("new: {}", new[0]))
}

#[test]
fn every_reading_corrects_what_it_is_for_and_nothing_new_is_wrong() {
    let mut failed = String::new();
    for (name, path) in documents::all("invalid") {
        let object = documents::read(&path);
        let faults = all_faults(&object);
        let before = counted(&faults);
        for (fault, answer) in faults.iter().zip(answers(&object, &faults)) {
            let readings = match answer {
                Answer::One(reading) => vec![reading],
                Answer::Choice(readings) => readings,
                Answer::Nothing => continue,
            };
            for reading in readings {
                if let Some(what) = wrong(&object, fault, &reading, &before) {
                    failed += &format!("{name}: {fault}\n  {}: {what}\n", reading.says);
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed}");
}

#[test]
fn what_is_only_offered_is_never_done_and_what_is_left_is_left() {
    let mut seen: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    for (name, path) in documents::all("invalid") {
        let object = documents::read(&path);
        let faults = all_faults(&object);
        for (fault, answer) in faults.iter().zip(answers(&object, &faults)) {
            let rule = rules::of(fault.code).unwrap();
            let (one, any) = (matches!(answer, Answer::One(_)), answer != Answer::Nothing);
            assert!(!one || matches!(rule.does, Does::Rewrites(..)), "{name}: {fault}");
            assert!(!any || !matches!(rule.does, Does::Leaves(_)), "{name}: {fault}");
            let seen = seen.entry(fault.code).or_default();
            *seen = (seen.0 || one, seen.1 || any);
        }
    }
    // What a rule promises is shown by the corpus.
    let shown = |rule: &&rules::Rule| {
        let (one, any) = seen.get(rule.code).copied().unwrap_or_default();
        match rule.does {
            Does::Rewrites(..) => one,
            Does::Offers(..) => any,
            Does::Leaves(_) => true,
        }
    };
    let missing: Vec<&str> = rules::ALL.iter().filter(|rule| !shown(rule)).map(|rule| rule.code).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn what_is_accepted_has_no_answers() {
    for (name, path) in documents::all("valid").into_iter().chain(documents::all("language")) {
        let object = documents::read(&path);
        let answers = answers(&object, &all_faults(&object));
        assert!(answers.iter().all(|answer| *answer == Answer::Nothing), "{name}");
    }
}

#[test]
fn rewriting_comes_to_an_end() {
    for (name, path) in documents::all("invalid") {
        let mut object = documents::read(&path);
        let mut rounds = 0;
        loop {
            let faults = all_faults(&object);
            let groups: Vec<Vec<Edit>> = answers(&object, &faults)
                .into_iter()
                .filter_map(|answer| match answer {
                    Answer::One(reading) => Some(reading.edits),
                    _ => None,
                })
                .collect();
            if groups.is_empty() {
                break;
            }
            let chosen = compatible(&object, groups.iter().map(Vec::as_slice));
            assert!(!chosen.is_empty(), "{name}");
            let mut edits: Vec<Edit> = Vec::new();
            for edit in chosen.into_iter().flat_map(|index| groups[index].clone()) {
                if !edits.contains(&edit) {
                    edits.push(edit);
                }
            }
            object = apply(&object, &edits).unwrap_or_else(|| panic!("{name}"));
            rounds += 1;
            assert!(rounds < 20, "{name}");
        }
    }
}

/// The document with everything carried out that can be, the first of several readings included.
fn rewritten(mut object: Value) -> Value {
    for _ in 0..20 {
        let faults = all_faults(&object);
        let first = |answer| match answer {
            Answer::One(reading) => Some(reading.edits),
            Answer::Choice(readings) => readings.into_iter().next().map(|reading| reading.edits),
            Answer::Nothing => None,
        };
        let groups: Vec<Vec<Edit>> = answers(&object, &faults).into_iter().filter_map(first).collect();
        let chosen = compatible(&object, groups.iter().map(Vec::as_slice));
        let edits: BTreeMap<_, _> =
            chosen.into_iter().flat_map(|index| &groups[index]).map(|edit| (edit.at(), edit.clone())).collect();
        if edits.is_empty() {
            break;
        }
        object = apply(&object, &edits.into_values().collect::<Vec<_>>()).unwrap();
    }
    object
}

#[test]
fn hooks_in_which_nothing_is_wrong_mean_what_they_meant() {
    let families = ["kprobes", "lsmhooks", "tracepoints"];
    let (mut tried, mut changed) = (0, 0);
    let valid: Vec<_> =
        documents::all("valid").into_iter().map(|(name, path)| (name, documents::read(&path))).collect();
    for (start, (name, path)) in documents::all("invalid").into_iter().enumerate() {
        let faulty = documents::read(&path);
        // Each beside some, and all beside each other in the end.
        for (other, object) in valid.iter().skip(start % BESIDE).step_by(BESIDE) {
            let mut object = object.clone();
            let Some(before) = judge(&object).meaning.filter(|_| object["kind"] == faulty["kind"]) else { continue };
            for family in families {
                let Some(hooks) = faulty["spec"][family].as_array() else { continue };
                match object["spec"][family].as_array_mut() {
                    Some(list) => list.extend(hooks.clone()),
                    None => object["spec"][family] = hooks.clone().into(),
                }
            }
            let converted = rewritten(object.clone());
            let Some(after) = judge(&converted).meaning else { continue };
            tried += 1;
            changed += usize::from(converted != object);
            for hook in &before.hooks {
                assert!(after.hooks.contains(hook), "{name} beside {other}: {hook:?}");
            }
        }
    }
    assert!(tried > 100 && changed > 50, "{tried} {changed}");
}
