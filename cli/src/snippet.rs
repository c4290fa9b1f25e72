//! What is to be said about a place in a text, below the line that it is about.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

/// A line that is longer than this is shown in part.
const MAX_LINE: usize = 160;

/// What is said, and where.
pub(crate) struct Said<'a> {
    pub(crate) level: Level<'a>,
    pub(crate) message: &'a str,
    /// A stable code, if it has one.
    pub(crate) code: Option<&'a str>,
    pub(crate) file: &'a str,
    /// The text of the file, if it could be read.
    pub(crate) text: Option<&'a str>,
    /// From 1.
    pub(crate) line: usize,
    /// Bytes of the text.
    pub(crate) place: Range<usize>,
    pub(crate) label: &'a str,
    /// Each line is one.
    pub(crate) help: &'a str,
}

impl Said<'_> {
    /// With colours: the stream takes them out off a terminal.
    pub(crate) fn render(&self, renderer: &Renderer) -> String {
        let mut title = self.level.clone().primary_title(one_line(self.message));
        if let Some(code) = self.code {
            title = title.id(code);
        }
        let mut group = match self.text {
            None => title.element(Origin::path(self.file)),
            Some(text) => {
                let excerpt = Excerpt::around(text, &self.place);
                let mark = AnnotationKind::Primary.span(excerpt.mark).label(self.label);
                title.element(Snippet::source(excerpt.text).line_start(self.line).path(self.file).annotation(mark))
            }
        };
        for line in self.help.lines() {
            group = group.element(Level::HELP.message(one_line(line)));
        }
        renderer.render(&[group])
    }
}

/// The line that something is about.
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

/// Both from 1; the column in code points.
pub(crate) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
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

/// `1 test`, `2 tests`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
