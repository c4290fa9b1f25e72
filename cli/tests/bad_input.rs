//! Whatever a file says, `stockade lint` answers it within a second and 64 MB, with a fault or as what cannot be read.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "the helpers of a test are test code, too")]

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};

/// Kilobytes of data that a process may have.
const MEMORY: u32 = 64 << 10;
/// Seconds of CPU: one for code that is optimised. What else the machine does is no part of it.
const CPU: u32 = if cfg!(debug_assertions) { 15 } else { 1 };

/// So many in optimised code, a tenth of it in code that is ten times as slow.
const fn many(count: usize) -> usize {
    if cfg!(debug_assertions) { count / 10 } else { count }
}

const HEAD: &str = "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: p}\n";

/// Runs the command within its limits; the kernel ends it beyond them.
fn lint(name: &str, text: &[u8], format: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    fs::write(&file, text).unwrap();
    Command::new("sh")
        .args(["-c", &format!("ulimit -d {MEMORY} && ulimit -t {CPU} && exec \"$@\""), "sh"])
        .args([env!("CARGO_BIN_EXE_stockade"), "lint", "-o", format])
        .arg(&file)
        .output()
        .unwrap()
}

/// The codes of what is wrong. Everything has a path, or is about a document that cannot be read.
fn codes(what: &str, name: &str, text: &[u8]) -> Vec<String> {
    let output = lint(name, text, "json");
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0..=2)), "{what}: {:?} {shown:.500}", output.status);
    assert!(output.stdout.len() < 200_000, "{what}: {} bytes", output.stdout.len());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let faults: Vec<&Value> =
        report["documents"].as_array().unwrap().iter().flat_map(|entry| entry["faults"].as_array().unwrap()).collect();
    for fault in &faults {
        let about_all = ["Syntax", "Unreadable", "NoKind"].iter().any(|code| fault["code"] == *code);
        assert!(about_all || fault["path"] != "", "{what}: {fault}");
        assert!(fault.to_string().len() < 2000, "{what}: {fault}");
    }
    // People read it in the other form.
    let text = lint(name, text, "text");
    assert_eq!(text.status.code(), output.status.code(), "{what}: {:.500}", String::from_utf8_lossy(&text.stderr));
    assert!(text.stdout.len() < 400_000, "{what}: {} bytes", text.stdout.len());
    faults.iter().map(|fault| fault["code"].as_str().unwrap().to_owned()).collect()
}

fn yaml(what: &str, spec: &str) -> Vec<String> {
    codes(what, "p.yaml", format!("{HEAD}spec:\n{spec}").as_bytes())
}

fn json(what: &str, spec: &Value) -> Vec<String> {
    let object =
        json!({"apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "p"}, "spec": spec});
    codes(what, "p.json", object.to_string().as_bytes())
}

fn hook(args: &str) -> String {
    format!("  kprobes:\n  - call: f\n    syscall: false\n    args: [{args}]\n")
}

/// A filter with these values, in block style.
fn values(lines: impl Iterator<Item = String>) -> String {
    let head = hook("{index: 0, type: uint32}")
        + "    selectors:\n    - matchArgs:\n      - operator: Equal\n        values:\n";
    head + &lines.map(|value| format!("        - {value}\n")).collect::<String>()
}

#[test]
fn aliases_that_would_fill_the_memory_are_refused() {
    for (levels, width) in [(8, 10), (4, 10), (30, 2), (2, 300)] {
        let mut bomb = format!("  a0: &a0 [{}]\n", vec!["x"; width].join(", "));
        for level in 1..=levels {
            bomb += &format!("  a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); width].join(", "));
        }
        assert_eq!(yaml("bomb", &bomb), ["Syntax"]);
    }
    let long = format!("  a: &a {}\n  b: [{}]\n", "x".repeat(100_000), vec!["*a"; 2000].join(", "));
    assert_eq!(yaml("bomb of text", &long), ["Syntax"]);
    assert_eq!(yaml("alias of itself", "  a: &a [*a]\n"), ["Syntax"]);
}

#[test]
fn a_hundred_thousand_values_are_judged_wherever_they_are_written() {
    assert_eq!(yaml("right", &values((0..many(90_000)).map(|n| format!("'{}'", n * 3)))), Vec::<String>::new());
    for (what, text) in [
        ("wrong", values((0..many(60_000)).map(|n| format!("x{n}")))),
        ("mistyped", values((0..many(100_000)).map(|n| n.to_string()))),
        ("unknown", (0..many(80_000)).map(|n| format!("  f{n}: 1\n")).collect()),
        ("anchored", (0..many(40_000)).map(|n| format!("  f{n}: &a{n} 1\n")).collect()),
        ("twice", "  kprobes: []\n".repeat(many(60_000))),
    ] {
        assert!(yaml(what, &text).len() <= 210, "{what}");
    }
    let paths: Vec<String> = (0..many(90_000)).map(|n| format!("/{n}")).collect();
    let file = |operator: &str| {
        json!({"lsmhooks": [{"hook": "file_open", "args": [{"index": 0, "type": "file"}],
            "selectors": [{"matchArgs": [{"operator": operator, "values": paths}]}]}]})
    };
    for operator in ["Equal", "Prefix", "Postfix"] {
        assert_eq!(json("paths", &file(operator)), Vec::<String>::new());
    }
    let addresses: Vec<String> = (0..many(60_000)).map(|n| format!("10.{}.{}.1", n / 256, n % 256)).collect();
    json(
        "addresses",
        &json!({"kprobes": [{"call": "tcp_connect", "syscall": false, "args": [{"index": 0, "type": "sock"}],
            "selectors": [{"matchArgs": [{"operator": "NotDAddr", "values": addresses}]}]}]}),
    );
}

#[test]
fn hundreds_of_thousands_of_nothings_are_refused() {
    for nothing in [json!({}), json!(null), json!([])] {
        let many = vec![nothing; many(200_000)];
        for spec in
            [json!({"kprobes": many}), json!({"lsmhooks": [{"hook": "file_open", "selectors": many}]}), json!(many)]
        {
            assert!(!json("nothings", &spec).is_empty());
        }
    }
    assert!(!yaml("nothings", &format!("  kprobes:\n{}", "  - {}\n".repeat(many(150_000)))).is_empty());
}

#[test]
fn what_is_written_once_and_meant_often_is_refused() {
    let pids: Vec<u32> = (1..2000).collect();
    let selectors = vec![json!({"macros": ["m"]}); many(40_000)];
    let macros = json!({"m": {"matchPIDs": [{"operator": "In", "values": pids, "followForks": true}]}});
    assert!(
        !json(
            "macros",
            &json!({"lsmhooks": [{"hook": "file_open", "selectors": selectors}], "selectorsMacros": macros})
        )
        .is_empty()
    );
    let hooks = vec![json!({"call": "list:l", "syscall": false}); many(6000)];
    let functions: Vec<String> = (0..many(60_000)).map(|n| format!("f{n}")).collect();
    assert!(!json("lists", &json!({"kprobes": hooks, "lists": [{"name": "l", "values": functions}]})).is_empty());
    let name = "m".repeat(400_000);
    let wrong = vec![json!(1); many(100_000)];
    let below = json!({"selectorsMacros": {name: {"matchPIDs": wrong}}, "lsmhooks": [{"hook": "file_open"}]});
    assert!(!json("a long name around many faults", &below).is_empty());
}

#[test]
fn what_nests_too_deep_is_said_to() {
    for (what, spec) in [
        ("blocks", (1..1000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>()),
        ("lists in blocks", format!("  {}\n", "- ".repeat(1000))),
        ("lists", "  [".repeat(100_000)),
        ("maps", "  {a: ".repeat(100_000)),
        ("maps that end", format!("  {}1{}\n", "{a: ".repeat(1000), "}".repeat(1000))),
    ] {
        assert_eq!(yaml(what, &spec), ["Syntax"], "{what}");
    }
    let json = format!("{}1{}", "{\"a\":".repeat(1000), "}".repeat(1000));
    assert_eq!(codes("JSON", "p.json", json.as_bytes()), ["Syntax"]);
}

#[test]
fn numbers_and_encodings_that_are_none_are_refused() {
    for number in
        [".nan", "-.inf", "1e400", "99999999999999999999999999999999999999999999", "-1", "18446744073709551616"]
    {
        assert!(!yaml(number, &hook(&format!("{{index: {number}, type: int}}"))).is_empty(), "{number}");
    }
    let json = r#"{"apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "p"}, "spec": {"loader": NaN}}"#;
    assert!(!codes("NaN", "p.json", json.as_bytes()).is_empty());
    let good = format!("{HEAD}spec:\n{}", hook("{index: 0, type: int}"));
    assert_eq!(codes("good", "p.yaml", good.as_bytes()), Vec::<String>::new());
    let utf_16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let with_mark = [&[0xff, 0xfe], &utf_16[..]].concat();
    let latin_1 = good.replace("call: f", "call: \u{7f}").replace('\u{7f}', "\u{1}").into_bytes();
    let latin_1: Vec<u8> = latin_1.into_iter().map(|byte| if byte == 1 { 0xe9 } else { byte }).collect();
    for (what, bytes) in [("UTF-16", &utf_16), ("UTF-16 with a mark", &with_mark), ("Latin-1", &latin_1)] {
        assert!(!codes(what, "p.yaml", bytes).is_empty(), "{what}");
    }
    assert_eq!(codes("a mark", "p.yaml", format!("\u{feff}{good}").as_bytes()), Vec::<String>::new());
    assert_eq!(codes("Windows", "p.yaml", good.replace('\n', "\r\n").as_bytes()), Vec::<String>::new());
    assert_eq!(yaml("NUL", "  lsmhooks:\n  - hook: file_open\n    message: \"a\\0b\"\n"), ["TextNul"]);
}

#[test]
fn megabytes_of_one_thing_are_answered() {
    let long = "x".repeat(1_000_000);
    for (what, spec) in [
        ("a value", hook(&format!("{{index: 0, type: {long}}}"))),
        ("a key", format!("  {long}: 1\n")),
        ("a line without an end", format!("  \"{long}\n")),
        ("a block", format!("  a: |\n    {long}\n")),
    ] {
        assert!(!yaml(what, &spec).is_empty(), "{what}");
    }
    assert_eq!(codes("a comment", "p.yaml", "#".repeat(1_500_000).as_bytes()), Vec::<String>::new());
    assert_eq!(codes("nothing", "p.yaml", b""), Vec::<String>::new());
    let broken = "a: [\n---\n".repeat(300);
    assert_eq!(codes("broken documents", "p.yaml", broken.as_bytes()), vec!["Syntax"; 300]);
}
