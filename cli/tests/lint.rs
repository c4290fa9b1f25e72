//! `stockade lint` as a user runs it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test are test code, too"
)]

mod folder;

use std::fs;
use std::path::{Path, PathBuf};

use folder::{Folder, Ran};
use serde_json::{Value, json};

const GOOD: &str = "\
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: watch
spec:
  kprobes:
  - call: security_file_open
    syscall: false
    args:
    - index: 0
      type: file
    selectors:
    - matchArgs:
      - index: 0
        operator: Prefix
        values: [/etc/]
";

/// [`GOOD`], with a pid that does not exist in line 16.
fn bad() -> String {
    GOOD.replace(
        "    - matchArgs:",
        "    - matchPIDs:\n      - operator: In\n        followForks: true\n        values: [0]\n      matchArgs:",
    )
}

fn folder_of(files: &[(&str, &[u8])]) -> Folder {
    let folder = Folder::new(&[]);
    files.iter().for_each(|(name, bytes)| folder.write(name, bytes));
    folder
}

fn lint(folder: &Folder, args: &[&str]) -> Ran {
    folder.run(&[&["lint"], args].concat(), "")
}

/// `line:column path code` of all faults.
fn faults(ran: &Ran) -> Vec<String> {
    let documents = ran.json()["documents"].clone();
    let faults = documents.as_array().unwrap().iter().flat_map(|d| d["faults"].as_array().unwrap().clone());
    faults
        .map(|f| {
            let text = |name: &str| f[name].as_str().unwrap().to_owned();
            format!("{}:{} {} {}", f["line"], f["column"], text("path"), text("code"))
        })
        .collect()
}

fn corpus(folder: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/policies").join(folder);
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

/// The documents of a folder of the corpus, as one run judges them, by file.
fn judged(folder: &str) -> Vec<(PathBuf, Value)> {
    let files = corpus(folder);
    let mut args: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
    args.extend(["-o", "json"]);
    let report = lint(&Folder::new(&[]), &args).json();
    let documents = report["documents"].as_array().unwrap().clone();
    assert_eq!(documents.len(), files.len());
    files.into_iter().zip(documents).collect()
}

#[test]
fn every_valid_document_of_the_corpus_is_accepted() {
    for (file, document) in judged("valid") {
        assert_eq!((&document["accepted"], &document["faults"]), (&json!(true), &json!([])), "{}", file.display());
    }
}

#[test]
fn every_invalid_document_of_the_corpus_is_refused_for_exactly_what_is_listed_beside_it() {
    for (file, document) in judged("invalid") {
        let expected: Value = serde_json::from_slice(&fs::read(file.with_extension("faults.json")).unwrap()).unwrap();
        let pairs = |list: &Value| {
            let of = |f: &Value| (f["path"].as_str().unwrap().to_owned(), f["code"].as_str().unwrap().to_owned());
            let mut pairs: Vec<_> = list.as_array().into_iter().flatten().map(of).collect();
            pairs.sort();
            pairs
        };
        assert_eq!(pairs(&document["faults"]), pairs(&expected["faults"]), "{}", file.display());
        assert_eq!(pairs(&document["warnings"]), pairs(&expected["warnings"]), "{}", file.display());
        let refused = !pairs(&expected["faults"]).is_empty();
        assert_eq!(document["accepted"], json!(!refused), "{}", file.display());
    }
}

#[test]
fn a_fault_is_shown_below_the_line_it_is_about() {
    let folder = folder_of(&[("bad.yaml", bad().as_bytes())]);
    let ran = lint(&folder, &["bad.yaml"]);
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    insta::assert_snapshot!(ran.out);
}

#[test]
fn the_json_object_is_the_documented_one() {
    let other = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
    let folder = folder_of(&[("two.yaml", format!("{GOOD}---\n{}{other}", bad()).as_bytes())]);
    let ran = lint(&folder, &["two.yaml", "-o", "json"]);
    let expected = json!({
        "version": 1,
        "documents": [
            {"file": "two.yaml", "kind": "TracingPolicy", "namespace": null, "name": "watch", "accepted": true,
                "faults": [], "warnings": []},
            {"file": "two.yaml", "kind": "TracingPolicy", "namespace": null, "name": "watch", "accepted": false,
                "faults": [{
                    "path": "spec.kprobes[0].selectors[0].matchPIDs[0].values[0]", "code": "PidZero",
                    "message": "0 is no process", "help": "remove it", "line": 33, "column": 18,
                }],
                "warnings": []},
        ],
        "summary": {"documents": 2, "accepted": 1, "refused": 1, "faults": 1, "warnings": 0},
    });
    assert_eq!((ran.code, ran.json()), (1, expected));
}

#[test]
fn bytes_before_and_between_lines_do_not_move_a_fault() {
    let plain = bad();
    let with_mark = format!("\u{feff}{plain}");
    let with_cr = plain.replace('\n', "\r\n");
    let in_list = format!("apiVersion: v1\nkind: List\nitems:\n- {}", plain.trim_end().replace('\n', "\n  "));
    let wide = plain.replace("values: [0]", "values: [ \"ä€😀\", 0]");
    let expected = "16:18 spec.kprobes[0].selectors[0].matchPIDs[0].values[0] PidZero";
    for (name, text) in [("plain", &plain), ("mark", &with_mark), ("cr", &with_cr)] {
        let folder = folder_of(&[("p.yaml", text.as_bytes())]);
        assert_eq!(faults(&lint(&folder, &["p.yaml", "-o", "json"])), [expected], "{name}");
    }
    let folder = folder_of(&[("list.yaml", in_list.as_bytes()), ("wide.yaml", wide.as_bytes())]);
    let shifted = "19:20 spec.kprobes[0].selectors[0].matchPIDs[0].values[0] PidZero";
    assert_eq!(faults(&lint(&folder, &["list.yaml", "-o", "json"])), [shifted]);
    let faults = faults(&lint(&folder, &["wide.yaml", "-o", "json"]));
    let code_points = "16:26 spec.kprobes[0].selectors[0].matchPIDs[0].values[1] PidZero";
    assert!(faults.iter().any(|f| f == code_points), "{faults:?}");
}

#[test]
fn json_is_read_as_well_and_shown_where_it_is() {
    let value: Value = serde_saphyr::from_str(&bad()).unwrap();
    let tabs = serde_json::to_string_pretty(&value).unwrap().replace("  ", "\t");
    let folder = folder_of(&[("p.json", tabs.as_bytes()), ("one.json", value.to_string().as_bytes())]);
    for name in ["p.json", "one.json"] {
        let ran = lint(&folder, &[name, "-o", "json"]);
        let faults = faults(&ran);
        assert_eq!((ran.code, faults.len()), (1, 1), "{faults:?}");
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        let place = faults[0].split(' ').next().unwrap().split_once(':').unwrap();
        let (line, column): (usize, usize) = (place.0.parse().unwrap(), place.1.parse().unwrap());
        let found = text.lines().nth(line - 1).unwrap().chars().nth(column - 1);
        assert_eq!(found, Some('0'), "{faults:?}");
    }
}

#[test]
fn standard_input_is_read_for_a_dash() {
    let ran = Folder::new(&[]).run(&["lint", "-", "-o", "json"], &bad());
    assert_eq!((ran.code, ran.json()["documents"][0]["file"].as_str().unwrap()), (1, "<stdin>"));
}

#[test]
fn what_cannot_be_judged_wins_over_what_is_refused_and_hides_nothing() {
    let broken = format!("{}---\nspec: [\n---\n{GOOD}", bad());
    let folder = folder_of(&[("p.yaml", broken.as_bytes()), ("latin.yaml", b"a: \xe4\n")]);
    let ran = lint(&folder, &["p.yaml", "latin.yaml", "missing.yaml"]);
    assert_eq!(ran.code, 2);
    insta::assert_snapshot!(ran.out);
}

#[test]
fn a_field_that_is_written_twice_is_a_fault_and_the_rest_is_judged_too() {
    let twice = bad().replace("    syscall: false\n", "    syscall: true\n    syscall: false\n");
    let folder = folder_of(&[("p.yaml", twice.as_bytes())]);
    assert_eq!(
        faults(&lint(&folder, &["p.yaml", "-o", "json"])),
        [
            "9:5 spec.kprobes[0].syscall DuplicateKey",
            "17:18 spec.kprobes[0].selectors[0].matchPIDs[0].values[0] PidZero"
        ]
    );
}

#[test]
fn a_misspelt_field_is_marked_itself() {
    let folder = folder_of(&[("p.yaml", GOOD.replace("syscall: false", "sycall: false").as_bytes())]);
    let faults = faults(&lint(&folder, &["p.yaml", "-o", "json"]));
    assert!(faults.contains(&"8:5 spec.kprobes[0].sycall UnknownField".to_owned()), "{faults:?}");
}

#[test]
fn what_the_schema_alone_refuses_is_shown_as_well() {
    let tags = format!("    syscall: false\n    tags: [{}]\n", vec!["t"; 17].join(", "));
    let folder = folder_of(&[("p.yaml", GOOD.replace("    syscall: false\n", &tags).as_bytes())]);
    let ran = lint(&folder, &["p.yaml", "-o", "json"]);
    let about_tags: Vec<_> = faults(&ran).into_iter().filter(|f| f.contains(" spec.kprobes[0].tags ")).collect();
    assert_eq!((ran.code, about_tags.len()), (1, 1), "{:?}", faults(&ran));
}

#[test]
fn directories_are_searched_and_what_is_no_kubernetes_object_there_is_skipped() {
    let folder = folder_of(&[
        ("d/a.yaml", GOOD.as_bytes()),
        ("d/values.yaml", b"replicas: 2\n"),
        ("d/readme.md", b"no"),
        ("d/e/b.yml", bad().as_bytes()),
        ("empty/x.md", b""),
    ]);
    let flat = lint(&folder, &["d"]);
    assert_eq!(
        (flat.code, flat.out.as_str()),
        (0, "1 document: 1 accepted, 0 refused; 1 object of other kinds skipped\n")
    );
    let deep = lint(&folder, &["-R", "d", "-o", "json"]);
    assert_eq!((deep.code, faults(&deep).len()), (1, 1));
    assert_eq!(lint(&folder, &["empty"]).code, 2);
    // Named, it is asked about.
    assert_eq!(lint(&folder, &["d/values.yaml"]).code, 2);
}

#[test]
fn files_that_say_nothing_are_fine() {
    let folder = folder_of(&[("p.yaml", b"# nothing\n---\n---\n# here\n")]);
    let ran = lint(&folder, &["p.yaml"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "no policies\n"));
}

#[test]
fn warnings_fail_only_when_asked_to() {
    let warned = GOOD
        .replace("security_file_open", "security_socket_connect")
        .replace("    - index: 0\n      type: file", "    - index: 1\n      type: sockaddr")
        .replace(
            "      - index: 0\n        operator: Prefix\n        values: [/etc/]",
            "      - index: 1\n        operator: SAddr\n        values: [10.0.0.0/8, 10.1.0.0/16]",
        );
    let folder = folder_of(&[("p.yaml", warned.as_bytes())]);
    let ran = lint(&folder, &["p.yaml", "-o", "json"]);
    assert_eq!((ran.code, faults(&ran)), (0, vec![]));
    assert_eq!(ran.json()["summary"]["warnings"], 1, "{}", ran.out);
    assert_eq!(lint(&folder, &["p.yaml", "--fail-on", "warning"]).code, 1);
}

#[test]
fn no_input_makes_it_panic_or_hang() {
    let deep = format!("kind: TracingPolicy\nspec: {}{}", "[".repeat(5_000), "]".repeat(5_000));
    let bomb = "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f]\nkind: x\napiVersion: y\n";
    let files: [(&str, &[u8]); 7] = [
        ("deep.yaml", deep.as_bytes()),
        ("bomb.yaml", bomb.as_bytes()),
        ("tab.yaml", b"a:\n\t- b\n"),
        ("nul.yaml", b"kind: \x00\n"),
        ("number.yaml", b"apiVersion: 1\nkind: 2\nspec: 99999999999999999999999\n"),
        ("cut.yaml", b"apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nspec:\n  kprobes:\n  - call: \"\xc3"),
        ("keys.yaml", b"apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\n1: x\n[a]: b\n"),
    ];
    let folder = folder_of(&files);
    for (name, _) in files {
        let ran = lint(&folder, &[name]);
        assert!([1, 2].contains(&ran.code), "{name}: {} {}", ran.code, ran.out);
        assert_eq!(ran.err, "", "{name}");
    }
}

#[test]
fn output_off_a_terminal_has_no_colours() {
    let folder = folder_of(&[("bad.yaml", bad().as_bytes())]);
    assert!(!lint(&folder, &["bad.yaml"]).out.contains('\u{1b}'));
}
