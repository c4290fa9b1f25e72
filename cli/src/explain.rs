//! `stockade explain`: what a code means, or what policies do, in plain sentences.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use stockade_policy::convert::rules;
use stockade_policy::facts::on_nodes;
use stockade_policy::fault::codes::{self, Code, Severity};
use stockade_policy::{judge, sentences};

use crate::Outcome;
use crate::args::ExplainArgs;
use crate::cluster::{self, Nodes};
use crate::document::documents;
use crate::source::{self, Source};

/// Explains each thing that is named: a file that is there is a file, everything else a code.
pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<Outcome> {
    let nodes = cluster::nodes(&args.cluster)?;
    let mut out = io::stdout().lock();
    let mut outcome = Outcome::Fine;
    for what in &args.what {
        let code = what.to_str().and_then(codes::named).filter(|_| !what.exists());
        let found = match code {
            Some(code) => of_code(code, &mut out).map(|()| Outcome::Fine)?,
            None if is_word(what) => {
                anyhow::bail!("{} is no file and no code; docs/faults.md has all codes", what.display())
            }
            None => files(what, args.recursive, nodes.as_ref(), &mut out)?,
        };
        outcome = outcome.max(found);
    }
    Ok(outcome)
}

/// Whether it looks like a code rather than like a file.
fn is_word(what: &Path) -> bool {
    !what.exists() && what.to_str().is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn of_code(code: &Code, out: &mut impl Write) -> io::Result<()> {
    let Code { name, severity, when, why, wrong, right } = code;
    let what = match severity {
        Severity::Fault => "a fault: the document is refused",
        Severity::Warning => "a warning: the document is accepted",
    };
    writeln!(out, "{name} is {what}.\n\nGiven when {when}.\n{why}")?;
    let plain = |markdown: &str| markdown.replace('`', "");
    if !wrong.is_empty() {
        writeln!(out, "\nFor instance:   {}", plain(wrong))?;
    }
    if !wrong.is_empty() && !right.is_empty() {
        writeln!(out, "Write instead:  {}", plain(right))?;
    }
    if let Some(rule) = rules::of(name).filter(|_| *severity == Severity::Fault) {
        writeln!(out, "\nstockade convert {}.", rule.does.sentence())?;
    }
    Ok(())
}

fn files(path: &PathBuf, recursive: bool, nodes: Option<&Nodes>, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Fine;
    for source in source::read_all(std::slice::from_ref(path), recursive) {
        outcome = outcome.max(match source {
            Ok(source) => of_source(&source, nodes, out)?,
            Err(error) => {
                anstream::eprintln!("error: {} {}", error.file(), error.reason());
                Outcome::Unknown
            }
        });
    }
    Ok(outcome)
}

fn of_source(source: &Source, nodes: Option<&Nodes>, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Fine;
    for document in documents(&source.text) {
        let tree = match document.content {
            Ok(tree) => tree,
            Err(why) => {
                anstream::eprintln!("error: {}: {}", source.name, why.message);
                outcome = Outcome::Unknown;
                continue;
            }
        };
        let value = tree.to_value();
        let items = tree.elements_of("items");
        if items.is_empty() {
            outcome = outcome.max(of_object(source, &value, nodes, out)?);
        }
        for item in items {
            outcome = outcome.max(of_object(source, &item.to_value(), nodes, out)?);
        }
    }
    Ok(outcome)
}

fn of_object(
    source: &Source,
    value: &serde_json::Value,
    nodes: Option<&Nodes>,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let kind = value.get("kind").and_then(serde_json::Value::as_str).unwrap_or_default();
    if stockade_crds::PolicyKind::from_kind(kind).is_none() {
        return Ok(Outcome::Fine);
    }
    let judgement = judge(value);
    let Some(policy) = judgement.meaning else {
        let count = judgement.faults.len();
        let name = value.pointer("/metadata/name").and_then(serde_json::Value::as_str).unwrap_or("?");
        writeln!(out, "{kind} {name} does not mean one thing: {count} faults. See: stockade lint {}\n", source.name)?;
        return Ok(Outcome::Refused);
    };
    for paragraph in sentences::explain(&policy) {
        for line in paragraph {
            writeln!(out, "{line}")?;
        }
        writeln!(out)?;
    }
    if let Some(nodes) = nodes.filter(|nodes| !nodes.facts.is_empty()) {
        writeln!(out, "On the nodes of the cluster:")?;
        for line in on_nodes(&nodes.about(&policy), &nodes.facts) {
            writeln!(out, "  {line}")?;
        }
        writeln!(out)?;
    }
    let mut missing: Vec<&str> = judgement.faults.iter().map(|fault| fault.message.as_str()).collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(Outcome::Fine);
    }
    writeln!(out, "This release refuses it:")?;
    for message in missing {
        writeln!(out, "  {message}")?;
    }
    writeln!(out)?;
    Ok(Outcome::Refused)
}
