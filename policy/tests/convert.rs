//! What is rewritten, and offered, corrects what it is for and spoils nothing else.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on must fail")]

mod documents;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
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

/// Codes of faults that hide others: nothing is looked at in a field that does not exist or is switched off, nor is the
/// order of selectors of which one says nothing.
const HIDING: [&str; 5] =
    [codes::SELECTOR_EMPTY, codes::WRONG_TYPE, codes::OBSOLETE, codes::RETURN_UNUSED, codes::ARG_NOT_READ];
/// Faults that are only found where the filters and selectors of a hook are understood, as far as they say something.
const OF_ALL_TOGETHER: [&str; 5] = [
    codes::SELECTOR_UNREACHABLE,
    codes::SELECTOR_NO_EFFECT,
    codes::FILTER_NEVER,
    codes::PID_CONTRADICTION,
    codes::LIST_UNUSED,
];

/// The lists of hooks.
const FAMILIES: [&str; 6] = ["kprobes", "lsmhooks", "tracepoints", "fentries", "uprobes", "usdts"];

/// Everything of a path up to the hook's number.
fn hook_of(path: &str) -> &str {
    path.split_once(']').map_or("spec", |(hook, _)| hook)
}

/// What is wrong with what a reading makes of a document. In one with other faults beside it (`tidy` is false), what is
/// understood at last may show what nobody could see before, in the same hook; what only goes away shows nothing.
fn wrong(object: &Value, fault: &Fault, reading: &Reading, tidy: bool) -> Option<String> {
    let Some(after) = apply(object, &reading.edits) else { return Some("it cannot be carried out".into()) };
    let faults = all_faults(&after);
    let faults_before = all_faults(object);
    let (before, counts) = (counted(&faults_before), counted(&faults));
    let of = |counts: &BTreeMap<&'static str, usize>, code: &str| counts.get(code).copied().unwrap_or(0);
    let renames = reading.edits.iter().any(|edit| matches!(edit, Edit::Rename { .. }));
    let removes = reading.edits.iter().all(|edit| matches!(edit, Edit::Remove { .. }));
    let hides = renames || HIDING.contains(&fault.code) || (!tidy && !removes);
    if of(&counts, fault.code) >= of(&before, fault.code) && !hides {
        return Some("the fault is still there".into());
    }
    // Where nothing goes away, places stay what they are.
    let known = |new: &Fault| !removes && faults_before.iter().any(|old| old.code == new.code && old.path == new.path);
    let mut new = faults.iter().filter(|new| of(&counts, new.code) > of(&before, new.code) && !known(new));
    // What is said about the policy is about all of its hooks, and the other way around.
    let of_hook = |path: &str| FAMILIES.iter().any(|family| path.starts_with(&format!("spec.{family}[")));
    let near = |new: &Fault| !of_hook(&fault.path) || !of_hook(&new.path) || hook_of(&new.path) == hook_of(&fault.path);
    let allowed = |new: &Fault| (hides && (tidy || near(new))) || (!tidy && OF_ALL_TOGETHER.contains(&new.code));
    new.find(|new| !allowed(new)).map(|new| format!("new: {new}"))
}

#[test]
fn every_reading_corrects_what_it_is_for_and_nothing_new_is_wrong() {
    let mut failed = String::new();
    for (name, path) in documents::all("invalid") {
        let object = documents::read(&path);
        let faults = all_faults(&object);
        for (fault, answer) in faults.iter().zip(answers(&object, &faults)) {
            let readings = match answer {
                Answer::One(reading) => vec![reading],
                Answer::Choice(readings) => readings,
                Answer::Nothing => continue,
            };
            for reading in readings {
                if let Some(what) = wrong(&object, fault, &reading, true) {
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

static CORPUS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let paths = ["valid", "invalid", "language"].into_iter().flat_map(|folder| documents::all(folder).into_values());
    paths.map(|path| documents::read(&path)).collect()
});

/// The paths (as JSON pointers) of everything below a value.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut below = |name: &str, value: &Value| {
        let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        pointers(value, &at, found);
        found.push(at);
    };
    match value {
        Value::Array(list) => list.iter().enumerate().for_each(|(index, value)| below(&index.to_string(), value)),
        Value::Object(map) => map.iter().for_each(|(name, value)| below(name, value)),
        _ => {}
    }
}

/// What a slip of the finger, or somebody who does not know, makes of a document.
fn slip(object: &mut Value, kind: usize, place: Index, word: &Value) {
    let mut all = Vec::new();
    pointers(&object["spec"], "/spec", &mut all);
    if all.is_empty() {
        return;
    }
    let at = place.get(&all).clone();
    let (parent, last) = at.rsplit_once('/').unwrap();
    let last = last.replace("~1", "/").replace("~0", "~");
    match (kind, object.pointer_mut(parent).unwrap()) {
        (0, Value::Object(map)) => drop(map.remove(&last)),
        (0, Value::Array(list)) => drop(list.remove(last.parse().unwrap())),
        (1, Value::Object(map)) if last.len() > 2 => {
            let value = map.remove(&last).unwrap();
            map.insert(last.chars().skip(1).collect(), value);
        }
        (2, Value::Array(list)) => {
            let value = list[last.parse::<usize>().unwrap()].clone();
            list.push(value);
        }
        (3, Value::Array(list)) => list[last.parse::<usize>().unwrap()] = word.clone(),
        (3, Value::Object(map)) => {
            map.insert(last, word.clone());
        }
        (_, Value::Object(map)) => {
            // A field with what it has in some other document.
            let other = place.get(&CORPUS);
            let mut all = Vec::new();
            pointers(other, "", &mut all);
            if let Some(from) = all.iter().find(|at| at.ends_with(&format!("/{last}"))) {
                map.insert(last, other.pointer(from).unwrap().clone());
            }
        }
        _ => {}
    }
}

fn words() -> impl Strategy<Value = Value> {
    select(vec![
        json!(0),
        json!(1),
        json!(-1),
        json!("1"),
        json!("0"),
        json!(true),
        json!(""),
        json!("/etc/"),
        json!("x\u{0}"),
        json!("NoPost"),
        json!("Equal"),
        json!("eq"),
        json!("DAddr"),
        json!("10.0.0.1/8"),
        json!("::ffff:10.0.0.0/8"),
        json!("list:calls"),
        json!([]),
        json!({}),
        json!("monitor"),
        json!("Monitor"),
        json!("9:5"),
        json!("80-90"),
        json!("FollowFD"),
        json!("NotifyKiller"),
        json!(".x"),
        json!("010"),
        json!("syscall64"),
        json!("Override"),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_wrong_rewriting_makes_it_better(
        document in any::<Index>(),
        slips in prop::collection::vec((0_usize..5, any::<Index>(), words()), 1..4),
    ) {
        let mut object = document.get(&CORPUS).clone();
        slips.iter().for_each(|(kind, place, word)| slip(&mut object, *kind, *place, word));
        let faults = all_faults(&object);
        for (fault, answer) in faults.iter().zip(answers(&object, &faults)) {
            // What is the only thing that an object has stays.
            if let Answer::One(reading) = answer
                && !compatible(&object, [reading.edits.as_slice()]).is_empty()
            {
                let wrong = wrong(&object, fault, &reading, false);
                prop_assert_eq!(wrong, None, "{}\n{}\n{:?}\n{:#}", fault, reading.says, reading.edits, object["spec"]);
            }
        }
        let once = rewritten(object);
        prop_assert_eq!(rewritten(once.clone()), once);
    }
}

fn cases() -> u32 {
    std::env::var("STOCKADE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2000)
}
