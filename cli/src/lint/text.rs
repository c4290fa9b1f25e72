//! The report for people: each finding below the line that it is about.

use std::io::{self, Write};
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::report::{Counts, Entry, Finding, Report};
use crate::source::Source;

/// A line that is longer than this is shown in part.
const MAX_LINE: usize = 160;

/// Writes the report, colours included: the stream takes them out off a terminal.
pub(crate) fn write(report: &Report, sources: &[Source], out: &mut impl Write) -> io::Result<()> {
    let renderer = Renderer::styled();
    for entry in &report.entries {
        let source = entry.source.and_then(|index| sources.get(index));
        let levels = [(Level::ERROR, &entry.faults), (Level::WARNING, &entry.warnings)];
        for (level, findings) in levels {
            for finding in findings {
                writeln!(out, "{}\n", shown(&renderer, &level, entry, finding, source))?;
            }
        }
    }
    writeln!(out, "{}", summary(report))
}

fn shown(renderer: &Renderer, level: &Level<'_>, entry: &Entry, finding: &Finding, source: Option<&Source>) -> String {
    let title = level.clone().primary_title(one_line(&finding.message)).id(finding.code);
    let mut group = match source {
        None => title.element(annotate_snippets::Origin::path(entry.file.as_str())),
        Some(source) => {
            let excerpt = Excerpt::around(&source.text, &finding.place);
            let mark = AnnotationKind::Primary.span(excerpt.mark).label(finding.path.as_str());
            title.element(
                Snippet::source(excerpt.text).line_start(finding.line).path(entry.file.as_str()).annotation(mark),
            )
        }
    };
    if !finding.help.is_empty() {
        group = group.element(Level::HELP.message(one_line(&finding.help)));
    }
    renderer.render(&[group])
}

/// The line that a finding is about.
struct Excerpt<'a> {
    text: &'a str,
    mark: Range<usize>,
}

impl<'a> Excerpt<'a> {
    fn around(text: &'a str, place: &Range<usize>) -> Self {
        let at = floor(text, place.start);
        let (before, after) = text.split_at(at);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let end = after.find(['\n', '\r']).map_or(text.len(), |newline| at + newline);
        let line = text.get(start..end).unwrap_or_default();
        // At least one character is marked, even where the line ends.
        let stop = floor(text, place.end.clamp(at, end)).max((at + 1).min(end));
        let mark = at - start..ceil(text, stop) - start;
        if line.len() <= MAX_LINE {
            return Self { text: line, mark };
        }
        Self { text: line, mark: mark.start..mark.end.min(mark.start + MAX_LINE) }
    }
}

fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

fn ceil(text: &str, at: usize) -> usize {
    (at..text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(text.len())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
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

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
