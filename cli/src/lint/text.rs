//! The report for people: each finding below the line that it is about.

use std::io::{self, Write};

use annotate_snippets::{Level, Renderer};

use super::report::{Counts, Entry, Finding, Report};
use crate::snippet::{Said, count};
use crate::source::Source;

/// Writes the report, colours included: the stream takes them out off a terminal.
pub(crate) fn write(report: &Report, sources: &[Source], out: &mut impl Write) -> io::Result<()> {
    let renderer = Renderer::styled();
    for entry in &report.entries {
        let source = entry.source.and_then(|index| sources.get(index));
        let levels = [(Level::ERROR, &entry.faults), (Level::WARNING, &entry.warnings)];
        for (level, findings) in levels {
            for finding in findings {
                writeln!(out, "{}\n", shown(&renderer, &level, entry, finding, source, &[]))?;
            }
        }
    }
    writeln!(out, "{}", summary(report))
}

/// One finding below the line that it is about; in place of its help, the `readings` that there are.
pub(crate) fn shown(
    renderer: &Renderer,
    level: &Level<'_>,
    entry: &Entry,
    finding: &Finding,
    source: Option<&Source>,
    readings: &[String],
) -> String {
    let help = if readings.is_empty() { finding.help.clone() } else { readings.join("\n") };
    let said = Said {
        level: level.clone(),
        message: &finding.message,
        code: Some(finding.code),
        file: &entry.file,
        text: source.map(|source| source.text.as_str()),
        line: finding.line,
        place: finding.place.clone(),
        label: &finding.path,
        help: &help,
    };
    said.render(renderer)
}

pub(crate) fn summary(report: &Report) -> String {
    let Counts { documents, accepted, refused, faults, warnings } = report.counts();
    let mut text = match documents {
        0 => "no policies".to_owned(),
        _ => format!("{}: {accepted} accepted, {refused} refused", count(documents, "document", "documents")),
    };
    if faults + warnings > 0 {
        text += &format!(" ({}, {})", count(faults, "fault", "faults"), count(warnings, "warning", "warnings"));
    }
    let unjudged = report.entries.iter().filter(|e| !e.judged).count();
    if unjudged > 0 {
        text += &format!("; {unjudged} of them could not be judged");
    }
    if report.skipped > 0 {
        text += &format!("; {} of other kinds skipped", count(report.skipped, "object", "objects"));
    }
    text
}
