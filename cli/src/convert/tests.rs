//! What is rewritten, in texts of every style.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;
use stockade_policy::fault::codes;

use super::picks::Picks;
use super::rounds::{self, Converted};
use crate::document;

/// Every document of a folder of the corpus, by name.
fn corpus(folder: &str) -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/policies").join(folder);
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files.iter().map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap())).collect()
}

fn value(text: &str) -> Value {
    document::content(text).unwrap().unwrap().to_value()
}

/// The same document in other styles, each with a name.
fn styles(text: &str) -> Vec<(&'static str, String)> {
    let value = value(text);
    let commented = text.lines().map(|line| format!("{line}  # kept\n# between\n")).collect();
    vec![
        ("as it is", text.to_owned()),
        ("of Windows", text.replace('\n', "\r\n")),
        ("without its last line break", text.trim_end().to_owned()),
        ("with comments", commented),
        ("in block style", serde_saphyr::to_string(&value).unwrap()),
        ("as JSON", format!("{value}")),
        ("as JSON on lines", format!("{value:#}\n")),
        ("indented", text.lines().map(|line| format!("  {line}\n")).collect()),
    ]
}

/// Everything is chosen, the first reading of each.
fn all_chosen() -> Picks {
    Picks::read(&codes::ALL.iter().map(|code| format!("{}=1", code.name)).collect::<Vec<_>>()).unwrap()
}

fn none_chosen() -> Picks {
    Picks::read(&[]).unwrap()
}

fn convert(text: &str, picks: &Picks) -> Converted {
    rounds::convert(text.to_owned(), &[], picks).unwrap()
}

#[test]
fn everything_can_be_written_in_every_style_and_is_the_same_in_all() {
    let picks = all_chosen();
    let mut rewritten = 0;
    for (name, text) in corpus("invalid") {
        let expected = value(&convert(&text, &picks).body);
        for (style, text) in styles(&text) {
            let converted = convert(&text, &picks);
            let impossible: Vec<_> =
                converted.choices.iter().filter_map(|(at, choice)| Some((at, choice.why?))).collect();
            assert!(impossible.is_empty(), "{name} {style}: {impossible:?}\n{}", converted.body);
            assert!(converted.choices.is_empty(), "{name} {style}: {:?}", converted.choices);
            assert_eq!(value(&converted.body), expected, "{name} {style}\n{}", converted.body);
            rewritten += converted.done.len();
        }
    }
    assert!(rewritten > 500, "{rewritten}");
}

#[test]
fn converting_twice_changes_nothing_more() {
    for picks in [all_chosen(), none_chosen()] {
        for (name, text) in corpus("invalid") {
            for (style, text) in styles(&text).into_iter().step_by(3) {
                let once = convert(&text, &picks);
                let twice = convert(&once.body, &picks);
                assert_eq!(twice.body, once.body, "{name} {style}");
                assert!(twice.done.is_empty(), "{name} {style}: {:?}", twice.done);
            }
        }
    }
}

#[test]
fn what_is_accepted_stays_byte_for_byte() {
    for (name, text) in corpus("valid").into_iter().chain(corpus("language")) {
        for (style, text) in styles(&text) {
            let converted = convert(&text, &all_chosen());
            assert_eq!(converted.body, text, "{name} {style}");
        }
    }
}

/// Every line is one of before, or is there because of something that was rewritten; and lines keep their ends.
#[test]
fn what_is_not_rewritten_stays_byte_for_byte() {
    for (name, text) in corpus("invalid") {
        for (style, text) in
            styles(&text).into_iter().filter(|(style, _)| ["of Windows", "with comments"].contains(style))
        {
            let converted = convert(&text, &all_chosen());
            let new = converted.body.split_inclusive('\n').filter(|line| !text.contains(line));
            let new: Vec<&str> = new.collect();
            assert!(new.len() <= 3 * converted.done.len(), "{name} {style}: {new:?}\n{:?}", converted.done);
            if style == "of Windows" {
                let ends = |text: &str| (text.matches('\n').count(), text.matches("\r\n").count());
                let (all, of_windows) = ends(&converted.body);
                assert_eq!(all, of_windows, "{name}");
            }
        }
    }
}

#[test]
fn places_that_are_hard_to_find_are_found() {
    let head = "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: edge}\nspec:\n  kprobes:\n";
    for (before, after) in [
        // A field with nothing behind it.
        ("  - syscall:\n    call: tcp_connect\n", "  - syscall: false\n    call: tcp_connect\n"),
        // The first field of an element, with a comment behind it.
        (
            "  - call: tcp_connect\n    syscall: false\n    args:\n    - maxData: true\n      # which\n      index: 0\n      type: sock\n",
            "  - call: tcp_connect\n    syscall: false\n    args:\n    -\n      # which\n      index: 0\n      type: sock\n",
        ),
        // And without one.
        (
            "  - call: tcp_connect\n    syscall: false\n    args:\n    - maxData: true\n      index: 0\n      type: sock\n",
            "  - call: tcp_connect\n    syscall: false\n    args:\n    - index: 0\n      type: sock\n",
        ),
        // A dash on a line of its own.
        (
            "  - call: tcp_connect\n    syscall: false\n    selectors:\n    - matchPIDs:\n      -\n        # which\n        values: !!seq\n        - 1\n\n        - 0   # none\n        operator: In\n",
            "  - call: tcp_connect\n    syscall: false\n    selectors:\n    - matchPIDs:\n      -\n        # which\n        values: !!seq\n        - 1\n\n        operator: In\n        followForks: false\n",
        ),
    ] {
        assert_eq!(convert(&format!("{head}{before}"), &all_chosen()).body, format!("{head}{after}"));
    }
}

/// What people, and other programs, put into YAML.
const PIECES: [&str; 28] = [
    "&a ",
    "*a",
    " # c\n",
    "# c\n",
    "\n",
    "\r\n",
    "\t",
    "  ",
    "- ",
    "---\n",
    "...\n",
    "<<: *a\n",
    "? ",
    ": ",
    "!!str ",
    "'",
    "\"",
    "|\n",
    ">-\n",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\u{feff}",
    "ü",
    "%YAML 1.1\n",
    "\u{0}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// Whatever is in a text: what cannot be read stays as it is, what can is still the same document afterwards, but for what
    /// was rewritten, and nothing is left to do a second time.
    #[test]
    fn any_text_is_converted_or_left(
        document in any::<Index>(),
        places in prop::collection::vec((any::<Index>(), select(PIECES.to_vec()), 0_usize..3), 1..4),
        choose: bool,
    ) {
        let texts = TEXTS.get_or_init(|| corpus("invalid").into_iter().map(|(_, text)| text).collect());
        let mut text = document.get(texts).clone();
        for (place, piece, gone) in places {
            let boundaries: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let at = place.index(boundaries.len());
            let end = boundaries.get(at + gone).copied().unwrap_or(text.len());
            text.replace_range(boundaries[at]..end, piece);
        }
        let picks = if choose { all_chosen() } else { none_chosen() };
        let converted = convert(&text, &picks);
        if converted.done.is_empty() {
            prop_assert_eq!(&converted.body, &text);
        } else {
            prop_assert!(document::content(&converted.body).is_some_and(|content| content.is_ok()));
            prop_assert_ne!(&converted.body, &text);
        }
        let twice = convert(&converted.body, &picks);
        prop_assert_eq!(twice.body, converted.body);
    }
}

fn cases() -> u32 {
    std::env::var("STOCKADE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}

static TEXTS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
