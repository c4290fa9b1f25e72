//! Which bytes go when parts of a list or object go.

use std::collections::BTreeSet;
use std::ops::Range;

use super::edit::{Change, Why};
use super::layout::{Kind, Node};
use super::write::{line_end, line_start};

const LAST: Why = "nothing would be left around it";
const COMMENT: Why = "there is a comment between it and what is beside it";
const COMPACT: Why = "it begins on the line of what is around it";

/// The changes that remove the parts `gone` of `parent`, but not all of them.
pub(super) fn removals(
    text: &str,
    comments: &[Range<usize>],
    parent: &Node,
    gone: &BTreeSet<usize>,
) -> Result<Vec<Change>, Why> {
    let (flow, parts) = parts(text, parent)?;
    let Some(kept) = (0..parts.len()).rfind(|index| !gone.contains(index)) else { return Err(LAST) };
    let remover = Remover { text, comments, parts: &parts };
    if flow {
        return remover.of_flow(gone, kept);
    }
    match &parent.kind {
        Kind::List { items, .. } => {
            let item = |index: &usize| remover.item(items.get(*index).ok_or(LAST)?);
            gone.iter().map(item).collect()
        }
        _ => remover.of_fields(gone),
    }
}

/// From where to where each part is written, without what separates it from the next.
fn parts(text: &str, parent: &Node) -> Result<(bool, Vec<Range<usize>>), Why> {
    match &parent.kind {
        Kind::List { flow, items } => Ok((*flow, items.iter().map(|item| item.start..item.place.end).collect())),
        Kind::Fields { flow, fields } => {
            Ok((*flow, fields.iter().map(|(key, value)| key.start..end_of(text, value)).collect()))
        }
        _ => Err(LAST),
    }
}

/// Where a field's value ends; one that is not there, behind the colon.
fn end_of(text: &str, value: &Node) -> usize {
    if value.place.is_empty() { behind_colon(text, value.place.end) } else { value.place.end }
}

/// Where the colon ends that follows `at`, if one does.
pub(super) fn behind_colon(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let colon = rest.trim_start_matches(' ');
    if colon.starts_with(':') { at + rest.len() - colon.len() + 1 } else { at }
}

struct Remover<'t> {
    text: &'t str,
    comments: &'t [Range<usize>],
    parts: &'t [Range<usize>],
}

impl Remover<'_> {
    /// `[a, b]`, `{a: 1, b: 2}`: `kept` is the last part that stays.
    fn of_flow(&self, gone: &BTreeSet<usize>, kept: usize) -> Result<Vec<Change>, Why> {
        let mut changes = Vec::new();
        for (part, next) in gone.iter().filter(|index| **index < kept).filter_map(|index| self.pair(*index)) {
            let lines = self.own_lines(&part).filter(|lines| lines.end <= next.start);
            let place = match lines {
                Some(lines) => lines,
                None if self.has_comment(&(part.start..next.start)) => return Err(COMMENT),
                None => part.start..next.start,
            };
            changes.push(removed(place));
        }
        let (last_kept, last) = (self.parts.get(kept).ok_or(LAST)?, self.parts.last().ok_or(LAST)?);
        if last_kept.end < last.end {
            if self.has_comment(&(last_kept.end..last.end)) {
                return Err(COMMENT);
            }
            changes.push(removed(last_kept.end..last.end));
        }
        Ok(changes)
    }

    fn pair(&self, index: usize) -> Option<(Range<usize>, Range<usize>)> {
        Some((self.parts.get(index)?.clone(), self.parts.get(index + 1)?.clone()))
    }

    /// The lines of a part that shares them with nothing but its comma and a comment.
    fn own_lines(&self, part: &Range<usize>) -> Option<Range<usize>> {
        let before = self.text.get(..part.start)?.trim_end_matches([' ', '\t']);
        if !before.is_empty() && !before.ends_with('\n') {
            return None;
        }
        let start = before.len();
        let end = line_end(self.text, part.end);
        let after = self.text.get(part.end..end)?.trim_start_matches([' ', '\t']).strip_prefix(',')?.trim_start();
        (after.is_empty() || after.starts_with('#')).then_some(start..end)
    }

    /// An element of a list in block style: its lines, and what is behind it on the last one.
    fn item(&self, item: &Node) -> Result<Change, Why> {
        let dash = dash(self.text, self.comments, item).ok_or(COMPACT)?;
        let start = line_start(self.text, dash);
        if !self.text.get(start..dash).is_some_and(|before| before.trim().is_empty()) {
            return Err(COMPACT);
        }
        Ok(removed(start..line_end(self.text, item.place.end)))
    }

    /// Fields in block style. The first one may be behind the dash of a list.
    fn of_fields(&self, gone: &BTreeSet<usize>) -> Result<Vec<Change>, Why> {
        let first = self.parts.first().ok_or(LAST)?;
        let alone = self.text.get(line_start(self.text, first.start)..first.start).is_some_and(|b| b.trim().is_empty());
        let leading = if alone { 0 } else { (0..self.parts.len()).take_while(|index| gone.contains(index)).count() };
        let mut changes = Vec::new();
        if let (Some(last), Some(next)) =
            (leading.checked_sub(1).and_then(|last| self.parts.get(last)), self.parts.get(leading))
        {
            let through = first.start..next.start;
            changes.push(removed(if self.has_comment(&through) {
                self.up_to_comment(first.start..last.end)
            } else {
                through
            }));
        }
        for part in gone.iter().filter(|index| **index >= leading).filter_map(|index| self.parts.get(*index)) {
            changes.push(removed(line_start(self.text, part.start)..line_end(self.text, part.end)));
        }
        Ok(changes)
    }

    /// What goes before a comment that stays; with nothing else on the line, the space before it goes too.
    fn up_to_comment(&self, place: Range<usize>) -> Range<usize> {
        let rest = self.text.get(place.end..line_end(self.text, place.end)).unwrap_or_default();
        let before = self.text.get(..place.start).unwrap_or_default();
        if rest.trim().is_empty() { before.trim_end_matches(' ').len()..place.end } else { place }
    }

    fn has_comment(&self, place: &Range<usize>) -> bool {
        let first = self.comments.partition_point(|comment| comment.start < place.start);
        self.comments.get(first).is_some_and(|comment| comment.start < place.end)
    }
}

const fn removed(place: Range<usize>) -> Change {
    Change { place, text: String::new() }
}

/// The dash of an element of a list in block style: behind it, only space and comments come before the element.
pub(super) fn dash(text: &str, comments: &[Range<usize>], item: &Node) -> Option<usize> {
    let mut at = item.start;
    loop {
        at = text.get(..at)?.trim_end().len();
        let before = comments.partition_point(|comment| comment.end < at);
        match comments.get(before).filter(|comment| comment.end == at) {
            Some(comment) => at = comment.start,
            None => break,
        }
    }
    text.get(..at)?.ends_with('-').then(|| at - 1)
}
