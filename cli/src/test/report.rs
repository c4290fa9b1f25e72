//! What tests came to, for people and for programs.

use std::io::{self, Write};
use std::ops::Range;

use annotate_snippets::{Level, Renderer};
use serde_json::{Value, json};
use stockade_policy::Fault;

use super::run::{Failure, Tested};
use crate::Outcome;
use crate::args::TestFormat;
use crate::policies::Policies;
use crate::snippet::{Said, count, line_and_column};
use crate::source::Source;
use crate::tree::Tree;

const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

/// Everything that a run came to.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) files: Vec<FileReport>,
    pub(super) unreadable: Vec<String>,
}

/// What a test file came to.
#[derive(Debug)]
pub(super) struct FileReport {
    pub(super) source: Source,
    /// The document that is being read, and where it begins.
    document: Option<(usize, Tree)>,
    /// What is wrong with the file: each with its place in bytes.
    faults: Vec<(Fault, Range<usize>)>,
    tests: Vec<(Tested, Range<usize>)>,
    /// Policies that this release does not carry out.
    not_carried_out: Vec<String>,
}

impl FileReport {
    pub(super) fn new(source: Source) -> Self {
        Self { source, document: None, faults: Vec::new(), tests: Vec::new(), not_carried_out: Vec::new() }
    }

    pub(super) fn begin(&mut self, start: usize, tree: Tree) {
        self.document = Some((start, tree));
    }

    pub(super) fn value(&self) -> Value {
        self.document.as_ref().map_or(Value::Null, |(_, tree)| tree.to_value())
    }

    /// Whether a field is written twice; each is a fault.
    pub(super) fn repeated(&mut self) -> bool {
        let Some((start, tree)) = &self.document else { return false };
        let repeated = tree.repeated_keys();
        let is_any = !repeated.is_empty();
        self.faults.extend(repeated.into_iter().map(|(path, place)| {
            let message = "this field is written twice; only the last one would count".into();
            let fault = Fault { path, code: "DuplicateKey", message, help: "remove one of them".into() };
            (fault, start + place.start..start + place.end)
        }));
        is_any
    }

    pub(super) fn fault(&mut self, fault: Fault, place: Range<usize>) {
        self.faults.push((fault, place));
    }

    pub(super) fn fault_at(&mut self, fault: Fault) {
        let place = self.place(&fault);
        self.fault(fault, place);
    }

    fn place(&self, fault: &Fault) -> Range<usize> {
        let Some((start, tree)) = &self.document else { return 0..0 };
        let place = match fault.code {
            "UnknownField" => tree.key_place_of(&fault.path),
            _ => tree.place_of(&fault.path),
        };
        start + place.start..start + place.end
    }

    pub(super) fn policies(&mut self, policies: &Policies) {
        let not = policies.list.iter().filter(|policy| !policy.is_carried_out);
        self.not_carried_out.extend(not.map(|policy| format!("{} in {}", policy.name(), policy.file)));
    }

    pub(super) fn tested(&mut self, mut tested: Tested) {
        for fault in std::mem::take(&mut tested.faults) {
            self.fault_at(fault.clone());
            tested.faults.push(fault);
        }
        let at = Fault { path: tested.path.clone(), code: "", message: String::new(), help: String::new() };
        let place = self.place(&at);
        self.tests.push((tested, place));
    }

    fn line(&self, place: &Range<usize>) -> usize {
        line_and_column(&self.source.text, place.start).0
    }

    fn write(&self, renderer: &Renderer, out: &mut impl Write) -> io::Result<()> {
        for (fault, place) in &self.faults {
            let said = Said {
                level: Level::ERROR,
                message: &fault.message,
                code: None,
                file: &self.source.name,
                text: Some(&self.source.text),
                line: self.line(place),
                place: place.clone(),
                label: &fault.path,
                help: &fault.help,
            };
            writeln!(out, "{}\n", said.render(renderer))?;
        }
        for (tested, place) in self.tests.iter().filter(|(tested, _)| !tested.failures.is_empty()) {
            let (file, line, name) = (&self.source.name, self.line(place), &tested.name);
            writeln!(out, "{RED}{BOLD}FAILED{PLAIN} {BOLD}{file}:{line}: {name}{PLAIN}")?;
            for failure in &tested.failures {
                write_failure(failure, out)?;
            }
            writeln!(out)?;
        }
        for name in &self.not_carried_out {
            writeln!(out, "note: this release does not carry out all of {name}; see: stockade lint\n")?;
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        let faults = self.faults.iter().map(|(fault, place)| {
            let Fault { path, code, message, help } = fault;
            let (line, column) = line_and_column(&self.source.text, place.start);
            json!({"path": path, "code": code, "message": message, "help": help, "line": line, "column": column})
        });
        let tests = self.tests.iter().map(|(tested, place)| {
            let Tested { name, failures, .. } = tested;
            json!({"name": name, "line": self.line(place), "result": result(tested), "failures": failures})
        });
        json!({
            "file": self.source.name,
            "faults": faults.collect::<Vec<_>>(),
            "tests": tests.collect::<Vec<_>>(),
            "notCarriedOut": self.not_carried_out,
        })
    }
}

fn result(tested: &Tested) -> &'static str {
    match (tested.faults.is_empty(), tested.failures.is_empty()) {
        (false, _) => "faulty",
        (true, false) => "failed",
        (true, true) => "passed",
    }
}

fn write_failure(failure: &Failure, out: &mut impl Write) -> io::Result<()> {
    let Failure { step, policy, hook, differences, got, why, kind: _ } = failure;
    let step = step.map_or_else(String::new, |number| format!("step {number}, "));
    match hook {
        Some(hook) => writeln!(out, "  {step}{policy}, {hook}: {}", got.sentence())?,
        None => writeln!(out, "  {step}{policy} hooks nothing there")?,
    }
    for difference in differences {
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        writeln!(out, "    {RED}- {}: {}{PLAIN}", difference.field, plain(&difference.expected))?;
        writeln!(out, "    {GREEN}+ {}: {}{PLAIN}", difference.field, plain(&difference.got))?;
    }
    for told in why {
        writeln!(out, "    {}", told.what)?;
        for line in &told.because {
            writeln!(out, "      {line}")?;
        }
    }
    Ok(())
}

impl Report {
    pub(super) fn print(&self, format: TestFormat) -> io::Result<()> {
        match format {
            TestFormat::Json => {
                let files: Vec<Value> = self.files.iter().map(FileReport::to_json).collect();
                let [tests, passed, failed, faulty] = self.counts();
                let summary = json!({"tests": tests, "passed": passed, "failed": failed, "faulty": faulty});
                let object = json!({
                    "version": 1, "files": files, "unreadable": self.unreadable, "summary": summary,
                });
                writeln!(io::stdout().lock(), "{object:#}")
            }
            TestFormat::Text => {
                for line in &self.unreadable {
                    anstream::eprintln!("error: {line}");
                }
                let (mut out, renderer) = (anstream::stdout().lock(), Renderer::styled());
                for file in &self.files {
                    file.write(&renderer, &mut out)?;
                }
                writeln!(out, "{}", self.summary())
            }
        }
    }

    /// Tests, and of them those that passed, failed, and could not be carried out.
    fn counts(&self) -> [usize; 4] {
        let results: Vec<_> =
            self.files.iter().flat_map(|file| &file.tests).map(|(tested, _)| result(tested)).collect();
        let of = |wanted| results.iter().filter(|result| **result == wanted).count();
        [results.len(), of("passed"), of("failed"), of("faulty")]
    }

    fn summary(&self) -> String {
        let [tests, passed, failed, faulty] = self.counts();
        let files = count(self.files.len(), "file", "files");
        let mut text = format!("{} in {files}: {passed} passed, {failed} failed", count(tests, "test", "tests"));
        if faulty > 0 {
            text += &format!(", {faulty} could not be carried out");
        }
        let unread = self.files.iter().filter(|file| !file.faults.is_empty() && file.tests.is_empty()).count();
        let unread = unread + self.unreadable.len();
        if unread > 0 {
            text += &format!("; {} could not be tested", count(unread, "file", "files"));
        }
        text
    }

    pub(super) fn outcome(&self) -> Outcome {
        let [_, _, failed, _] = self.counts();
        if !self.unreadable.is_empty() || self.files.iter().any(|file| !file.faults.is_empty()) {
            Outcome::Unknown
        } else if failed > 0 {
            Outcome::Refused
        } else {
            Outcome::Fine
        }
    }
}
