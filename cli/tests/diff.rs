//! `stockade diff` as a user runs it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test are test code, too"
)]

mod folder;

use std::fs;
use std::path::Path;

use folder::Folder;
use serde_json::{Value, json};

fn policy(name: &str, prefix: &str) -> String {
    format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}}}\nspec:\n  lsmhooks:\n  - hook: file_open\n    \
         args: [{{index: 0, type: file}}]\n    selectors:\n    - matchArgs: [{{index: 0, operator: Prefix, values: [{prefix}]}}]\n"
    )
}

#[test]
fn a_change_is_told_with_an_event_and_no_change_is_told_too() {
    let folder = Folder::new(&[("a.yaml", &policy("p", "/etc/a/")), ("b.yaml", &policy("p", "/etc/b/"))]);
    let ran = folder.run(&["diff", "a.yaml", "b.yaml"], "");
    let expected = "\
TracingPolicy p
  spec.lsmhooks[0] (file_open), selectors[0]:
    - no longer when argument 0 (file) begins with /etc/a/
    + also when argument 0 (file) begins with /etc/b/
  An event that is judged differently:
    hook: file_open
    args: [/etc/a/]
  before: observed by selectors[0]: event posted
  after:  nothing

1 policy: 1 changed
";
    assert_eq!((ran.code, ran.out.as_str()), (1, expected), "{ran:?}");
    let same = folder.run(&["diff", "a.yaml", "-"], &policy("other", "/etc/a/"));
    assert_eq!((same.code, same.out.as_str()), (0, "1 policy: no change in meaning\n"), "{same:?}");
}

#[test]
fn policies_of_folders_belong_together_by_name() {
    let files = [
        ("old/a.yaml", policy("same", "/a/")),
        ("old/b.yaml", policy("edited", "/a/")),
        ("old/c.yaml", policy("gone", "/a/")),
        ("new/x.yaml", format!("{}---\n{}", policy("edited", "/b/"), policy("same", "/a/"))),
        ("new/y.yaml", policy("added", "/a/")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let folder = Folder::new(&files);
    let ran = folder.run(&["diff", "old", "new"], "");
    assert_eq!(ran.code, 1);
    assert!(
        ran.out.contains("TracingPolicy added is new\n    + It is about every process of the node.\n"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("TracingPolicy gone is gone\n"), "{}", ran.out);
    let summary = "4 policies: 1 changed, 1 added, 1 removed, 1 without a change in meaning\n";
    assert!(ran.out.ends_with(summary), "{}", ran.out);
    let json = folder.run(&["diff", "old", "new", "-o", "json"], "").json();
    assert_eq!(json["summary"], json!({"unchanged": 1, "changed": 1, "added": 1, "removed": 1}));
    let changes: Vec<&Value> = json["policies"].as_array().unwrap().iter().map(|policy| &policy["change"]).collect();
    assert_eq!(changes, ["unchanged", "changed", "removed", "added"]);
}

#[test]
fn what_cannot_be_compared_is_said() {
    let folder = Folder::new(&[
        ("a.yaml", &policy("p", "/a/")),
        ("bad.yaml", "kind: TracingPolicy"),
        ("none.yaml", "kind: Pod\napiVersion: v1\n"),
        ("twice.yaml", &format!("{}---\n{}", policy("p", "/b/"), policy("p", "/a/"))),
    ]);
    for (other, message) in [
        ("bad.yaml", "see: stockade lint bad.yaml"),
        ("missing.yaml", "missing.yaml cannot be read"),
        ("none.yaml", "there is no policy in none.yaml"),
        ("twice.yaml", "TracingPolicy p is in twice.yaml and in twice.yaml"),
    ] {
        let ran = folder.run(&["diff", "a.yaml", other], "");
        assert!(ran.code == 2 && ran.err.contains(message), "{other}: {ran:?}");
    }
    assert_eq!(folder.run(&["diff", "-", "-"], "").code, 2);
}

/// The event of a difference is one of `stockade test`, which comes to the same verdict.
#[test]
fn the_event_that_is_shown_is_a_test_that_passes() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/policies");
    let folder = Folder::new(&[("old/none.yaml", &policy("none", "/a/")), ("new/none.yaml", &policy("none", "/a/"))]);
    let mut tests = 0;
    for kind in ["valid", "language"] {
        for file in fs::read_dir(corpus.join(kind)).unwrap() {
            let file = file.unwrap().path();
            folder.write("new/policy.yaml", fs::read_to_string(&file).unwrap());
            let ran = folder.run(&["diff", "old", "new", "-o", "json"], "");
            if ran.code == 2 {
                // It is not about one thing, or no policy.
                continue;
            }
            for policy in ran.json()["policies"].as_array().unwrap().iter().filter(|policy| policy["change"] == "added")
            {
                let (namespace, name) = (policy["namespace"].as_str(), policy["name"].as_str().unwrap());
                let name = namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"));
                let Some(test) = policy["event"]["test"].as_object() else { continue };
                let mut test = test.clone();
                let after = &policy["event"]["after"];
                let none = |field: &str| if after[field].is_null() { json!("none") } else { after[field].clone() };
                let expected = json!([{
                    "policy": name, "verdict": after["verdict"], "error": none("error"), "signal": none("signal"),
                    "post": after["post"],
                }]);
                test.insert("expect".into(), expected);
                let text = json!({"policies": "new/policy.yaml", "tests": [test]}).to_string();
                folder.write("p.test.json", &text);
                let ran = folder.run(&["test", "p.test.json"], "");
                assert_eq!(ran.code, 0, "{}: {text}\n{}", file.display(), ran.out);
                tests += 1;
            }
        }
    }
    assert!(tests > 80, "only {tests}");
}
