//! What is said about a conversion, on standard error: what was rewritten, what is to be chosen, what is left, and the sum.

use std::io::Write;

use annotate_snippets::{Level, Renderer};
use stockade_policy::fault::codes::UNSUPPORTED;

use super::rounds::Choice;
use super::{Rewritten, Text};
use crate::Outcome;
use crate::lint::judge;
use crate::lint::report::{Entry, Finding, Report};
use crate::lint::text::shown;
use crate::snippet::count;
use crate::source::{Source, SourceError};

/// How much of everything there is.
#[derive(Default)]
struct Sums {
    rewritten: usize,
    choices: usize,
    left: usize,
    /// What means something, and is only not carried out.
    unsupported: usize,
    unread: usize,
}

pub(super) fn report(texts: Vec<Text>, unreadable: &[SourceError], written: bool) -> anyhow::Result<Outcome> {
    let mut out = anstream::stderr().lock();
    let mut sums = Sums::default();
    let changed = texts.iter().filter(|text| text.changed()).count();
    for text in texts {
        of_text(text, &mut sums, &mut out)?;
    }
    for error in unreadable {
        writeln!(out, "error: {} {}\n", error.file(), error.reason())?;
        sums.unread += 1;
    }
    writeln!(out, "{}", sums.sentence(changed, written))?;
    Ok(sums.outcome())
}

fn of_text(text: Text, sums: &mut Sums, out: &mut impl Write) -> anyhow::Result<()> {
    let Text { source, text, policies } = text;
    for policy in &policies {
        for (line, done) in &policy.done {
            writeln!(out, "{}:{line}: {} ({}, {})", source.name, done.says, done.code, done.path)?;
            sums.rewritten += 1;
        }
    }
    if policies.iter().any(|policy| !policy.done.is_empty()) {
        writeln!(out)?;
    }
    // What is left is what lint finds in the text as it is now.
    let source = Source { text, ..source };
    let mut report = Report::default();
    judge::judge_source(&source, 0, None, &mut report);
    let mut policies = policies.iter();
    for entry in &mut report.entries {
        let policy = if entry.judged { policies.next() } else { None };
        of_entry(entry, policy, &source, sums, out)?;
    }
    Ok(())
}

fn of_entry(
    entry: &mut Entry,
    policy: Option<&Rewritten>,
    source: &Source,
    sums: &mut Sums,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let renderer = Renderer::styled();
    let mut findings = std::mem::take(&mut entry.faults);
    // What is only not carried out yet comes last: nothing is to be done about it.
    findings.sort_by_key(|finding| finding.code == UNSUPPORTED);
    for finding in &mut findings {
        let choice = policy.and_then(|policy| policy.choices.get(&(finding.code, finding.path.clone())));
        let readings = choice.map(|choice| offer(choice, finding)).unwrap_or_default();
        match (entry.judged, readings.is_empty()) {
            (true, _) if finding.code == UNSUPPORTED => sums.unsupported += 1,
            (false, _) => sums.unread += 1,
            (true, true) => sums.left += 1,
            (true, false) => sums.choices += 1,
        }
        writeln!(out, "{}\n", shown(&renderer, &Level::ERROR, entry, finding, Some(source), &readings))?;
    }
    Ok(())
}

/// The readings as they are chosen, or why they are not written; the finding is shown where `--choose` finds it.
fn offer(choice: &Choice, finding: &mut Finding) -> Vec<String> {
    finding.path.clone_from(&choice.path);
    if let Some(why) = choice.why {
        finding.help = format!("{why}; write it by hand: {}", choice.readings.join("; or "));
        return Vec::new();
    }
    let numbered = choice.readings.iter().zip(1..);
    numbered.map(|(reading, number): (&String, usize)| format!("{number}: {reading}")).collect()
}

impl Sums {
    fn sentence(&self, changed: usize, written: bool) -> String {
        let mut text = match self.rewritten {
            0 => "nothing rewritten".to_owned(),
            places => format!("{} rewritten", count(places, "place", "places")),
        };
        if written && changed > 0 {
            text += &format!(" in {}", count(changed, "file", "files"));
        }
        if self.choices > 0 {
            text += &format!("; {} open, see --choose", count(self.choices, "choice", "choices"));
        }
        if self.left > 0 {
            text += &format!("; {} left to you", count(self.left, "fault", "faults"));
        }
        if self.unsupported > 0 {
            text += &format!("; {} not carried out by this release", self.unsupported);
        }
        if self.unread > 0 {
            text += &format!("; {} could not be read", self.unread);
        }
        if self.choices + self.left + self.unsupported + self.unread == 0 {
            text += "; nothing is refused";
        }
        text
    }

    fn outcome(&self) -> Outcome {
        if self.unread > 0 {
            Outcome::Unknown
        } else if self.choices + self.left + self.unsupported > 0 {
            Outcome::Refused
        } else {
            Outcome::Fine
        }
    }
}
