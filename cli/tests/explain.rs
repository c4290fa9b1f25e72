//! `stockade explain`, and the forms of `lint` that other programs read.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on must fail")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn stockade(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stockade"))
        .args(args)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/policies"))
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_code_is_explained_whatever_the_case_of_its_letters() {
    let output = stockade(&["explain", "pidzero"]);
    assert!(output.status.success());
    assert!(text(&output).starts_with("PidZero is a fault"), "{}", text(&output));
    let unknown = stockade(&["explain", "NoSuchCode"]);
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn a_policy_is_explained_in_sentences_and_a_refused_one_is_said_to_be() {
    let output = stockade(&["explain", "valid/deny-writes-in-namespace.yaml"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output).contains("the operation is refused with error -1"), "{}", text(&output));
    let later = stockade(&["explain", "language/on-return.yaml"]);
    assert_eq!(later.status.code(), Some(1));
    assert!(text(&later).contains("When it returns") && text(&later).contains("This release refuses it"));
    let wrong = stockade(&["explain", "invalid/pid-zero.yaml"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong).contains("does not mean one thing"));
}

#[test]
fn sarif_has_a_rule_for_every_result() {
    let output = stockade(&["lint", "-o", "sarif", "invalid"]);
    assert_eq!(output.status.code(), Some(1));
    let log: Value = serde_json::from_str(&text(&output)).unwrap();
    let run = &log["runs"][0];
    let rules: Vec<&str> =
        run["tool"]["driver"]["rules"].as_array().unwrap().iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    let results = run["results"].as_array().unwrap();
    assert!(results.len() > 100);
    for result in results {
        assert!(rules.contains(&result["ruleId"].as_str().unwrap()));
        let place = &result["locations"][0]["physicalLocation"];
        assert!(place["region"]["startLine"].as_u64().unwrap() > 0, "{result}");
        assert!(place["artifactLocation"]["uri"].as_str().unwrap().ends_with(".yaml"));
    }
}

#[test]
fn annotations_are_one_line_each() {
    let output = stockade(&["lint", "-o", "github", "invalid/pid-zero.yaml"]);
    let text = text(&output);
    let annotations: Vec<&str> = text.lines().filter(|line| line.starts_with("::")).collect();
    assert!(!annotations.is_empty());
    assert!(annotations[0].starts_with("::error file=invalid/pid-zero.yaml,line="), "{text}");
    assert!(text.contains(",title=PidZero::spec."), "{text}");
}

#[test]
fn completion_is_printed_under_both_names() {
    for name in ["completion", "completions"] {
        assert!(text(&stockade(&[name, "bash"])).contains("stockade"));
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let page = text(&stockade(&["man"]));
    assert!(page.contains(".TH stockade 1") && page.contains("stockade\\-lint(1)"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    assert!(stockade(&["man", "--dir", pages.to_str().unwrap()]).status.success());
    let help = text(&stockade(&["--help"]));
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    let commands: Vec<&str> = commands.into_iter().filter(|name| !name.is_empty() && *name != "help").collect();
    assert!(commands.len() > 7, "{help}");
    for command in commands {
        let page = std::fs::read_to_string(pages.join(format!("stockade-{command}.1"))).unwrap();
        let usage = format!("\\fBstockade {command}\\fR");
        assert!(page.contains(&usage) && page.contains("EXIT STATUS"), "{page}");
        assert_eq!(text(&stockade(&["man", command])), page);
    }
    assert_eq!(stockade(&["man", "nonsense"]).status.code(), Some(2));
}

/// Whoever completes a command is told its options.
#[test]
fn completion_knows_every_command_in_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&stockade(&["completion", shell]));
        for word in ["lint", "explain", "test", "diff", "status", "man", "events"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(stockade(&["completion", "nonsense"]).status.code(), Some(2));
}
