//! `stockade convert` as a user runs it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "the helpers of a test are test code, too")]

mod folder;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use folder::{Folder, Ran};

/// A policy with one thing to rewrite, one to choose and comments around them.
const POLICY: &str = "\
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata: {name: watch} # which one
spec:
  lsmhooks:
  - hook: file_open
    args: [{index: 0, type: file}]
    selectors:
    - matchPIDs:
      # not the first one
      - operator: NotIn   # nor its children?
        values: [0, 1]
";

fn path(folder: &Folder, name: &str) -> std::path::PathBuf {
    folder.path().join(name)
}

fn read(folder: &Folder, name: &str) -> String {
    fs::read_to_string(path(folder, name)).unwrap()
}

fn convert(folder: &Folder, args: &[&str]) -> Ran {
    folder.run(&[&["convert"], args].concat(), "")
}

/// What comes of a text on standard input.
fn piped(args: &[&str], input: &str) -> Ran {
    Folder::new(&[]).run(&[&["convert", "-"], args].concat(), input)
}

fn converted() -> String {
    POLICY.replace("[0, 1]", "[1]")
}

fn chosen() -> String {
    converted().replace("nor its children?\n", "nor its children?\n        followForks: true\n")
}

#[test]
fn one_reading_is_rewritten_and_of_several_none() {
    let folder = Folder::new(&[("p.yaml", POLICY)]);
    let ran = convert(&folder, &["p.yaml"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, converted().as_str()), "{}", ran.err);
    assert_eq!(read(&folder, "p.yaml"), POLICY);
    insta::assert_snapshot!(ran.err);
    let ran = convert(&folder, &["p.yaml", "--choose", "PidForksUnstated=2"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, chosen().as_str()), "{}", ran.err);
    assert!(ran.err.ends_with("\n2 places rewritten; nothing is refused\n"), "{}", ran.err);
}

#[test]
fn differences_are_shown_and_nothing_is_written() {
    let folder = Folder::new(&[("p.yaml", POLICY)]);
    let ran = convert(&folder, &["p.yaml", "--diff"]);
    assert_eq!(read(&folder, "p.yaml"), POLICY);
    insta::assert_snapshot!(ran.out);
}

#[test]
fn a_choice_is_found_by_its_path_even_where_what_is_before_it_goes() {
    let two = POLICY.replace(
        "    - matchPIDs:\n",
        "    - matchPIDs: [{operator: NotIn, values: [0], followForks: true}]\n      matchArgs: [{index: 0, operator: Prefix, values: [x, /y]}]\n    - matchPIDs:\n",
    );
    let folder = Folder::new(&[("p.yaml", &two)]);
    let path = "spec.lsmhooks[0].selectors[1].matchPIDs[0].followForks";
    let ran = convert(&folder, &["p.yaml", "--choose", &format!("{path}=1")]);
    assert!(ran.out.contains("children?\n        followForks: false\n"), "{}", ran.out);
    let exact = convert(&folder, &["p.yaml", "--choose", &format!("PidForksUnstated@{path}=1")]);
    assert_eq!(exact.out, ran.out);
}

#[test]
fn files_are_written_with_what_they_had() {
    let folder = Folder::new(&[("p.yaml", &format!("\u{feff}{POLICY}")), ("fine.yaml", &chosen())]);
    fs::set_permissions(path(&folder, "p.yaml"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("p.yaml", path(&folder, "link.yaml")).unwrap();
    let before = fs::metadata(path(&folder, "fine.yaml")).unwrap().modified().unwrap();
    let ran = convert(&folder, &["link.yaml", "fine.yaml", "--write", "--choose", "PidForksUnstated=2"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    assert_eq!(read(&folder, "p.yaml"), format!("\u{feff}{}", chosen()));
    assert!(fs::symlink_metadata(path(&folder, "link.yaml")).unwrap().is_symlink());
    assert_eq!(fs::metadata(path(&folder, "p.yaml")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::metadata(path(&folder, "fine.yaml")).unwrap().modified().unwrap(), before);
    assert!(ran.err.contains("2 places rewritten in 1 file"), "{}", ran.err);
    // Nothing is left beside them.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn a_choice_that_is_not_there_stops_everything() {
    let folder = Folder::new(&[("p.yaml", POLICY)]);
    for choose in ["PidForksUnstated=3", "PidZero=1", "spec=1", "PidForksUnstated=0", "PidForksUnstated"] {
        let ran = convert(&folder, &["p.yaml", "--write", "--choose", choose]);
        assert_eq!(ran.code, 2, "{choose}: {}", ran.err);
        assert!(ran.err.starts_with("error: --choose "), "{}", ran.err);
        assert_eq!(read(&folder, "p.yaml"), POLICY);
    }
}

#[test]
fn of_several_documents_each_is_converted_and_the_rest_stays() {
    let other = "kind: ConfigMap\napiVersion: v1\ndata: {a: b,   c: d}\n";
    let broken = "apiVersion: cilium.io/v1alpha1\nkind: [\n";
    let list =
        |items: &str| format!("apiVersion: v1\nkind: List\nitems:\n- {}\n", items.trim_end().replace('\n', "\n  "));
    let all = |policy: &str| format!("# head\n---\n{policy}--- # next\n{other}---\n{broken}---\n{}", list(policy));
    let ran = piped(&["--choose", "PidForksUnstated=2"], &all(POLICY));
    assert_eq!(ran.out, all(&chosen()), "{}", ran.err);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("error[Syntax]") && ran.err.ends_with("1 could not be read\n"), "{}", ran.err);
}

#[test]
fn what_other_places_use_is_not_touched() {
    let shared = "\
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata: {name: watch}
spec:
  lsmhooks:
  - hook: file_open
    args: [{index: 0, type: file}]
    selectors:
    - matchPIDs: [{operator: NotIn, followForks: true, values: &pids [0, 1]}]
      matchBinaries: &binaries [{operator: In, values: [/bin/a, b]}]
    - matchPIDs: [{operator: In, followForks: true, values: *pids}]
      matchBinaries: *binaries
";
    let folder = Folder::new(&[("p.yaml", shared)]);
    let ran = convert(&folder, &["p.yaml"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, shared), "{}", ran.err);
    assert!(ran.err.contains("this has an anchor by which other places use it"), "{}", ran.err);
    assert!(ran.err.contains("this is an alias"), "{}", ran.err);
    assert!(ran.err.ends_with("nothing rewritten; 4 faults left to you\n"), "{}", ran.err);
    // An anchor that nobody uses is only a word.
    let alone = shared.replace("*pids", "[1]").replace("*binaries", "[{operator: In, values: [/bin/a]}]");
    let ran = piped(&[], &alone);
    assert_eq!(
        (ran.code, ran.out),
        (0, alone.replace("[0, 1]", "[1]").replace("[/bin/a, b]", "[/bin/a]")),
        "{}",
        ran.err
    );
}

#[test]
fn a_field_that_is_written_twice_is_not_touched() {
    let twice = POLICY.replace("        values: [0, 1]\n", "        values: [0, 1]\n        values: [0, 2]\n");
    let ran = piped(&[], &twice);
    assert_eq!((ran.code, ran.out.as_str()), (1, twice.as_str()));
    assert!(ran.err.contains("DuplicateKey") && ran.err.contains("nothing rewritten"), "{}", ran.err);
}

#[test]
fn several_files_are_one_stream_and_standard_input_is_no_file() {
    let folder = Folder::new(&[("a.yaml", POLICY), ("b.yaml", POLICY.trim_end())]);
    let ran = convert(&folder, &["a.yaml", "b.yaml"]);
    assert_eq!(ran.out, format!("{}---\n{}", converted(), converted().trim_end()));
    assert_eq!(convert(&folder, &["-", "--write"]).code, 2);
    assert_eq!(convert(&folder, &["missing.yaml"]).code, 2);
}
