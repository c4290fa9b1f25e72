//! A text → the documents in it, cut as kubectl cuts them: at lines `---`, each one read for itself, so that one which
//! cannot be read does not hide the others.

use std::ops::Range;

use serde_saphyr::{DefaultMessageFormatter, DuplicateKeyPolicy, MessageFormatter as _, Options};

use crate::tree::Tree;

/// One YAML document that says something.
#[derive(Debug)]
pub(crate) struct Document {
    /// Where it begins in the text.
    pub(crate) start: usize,
    /// Where it ends.
    pub(crate) end: usize,
    pub(crate) content: Result<Tree, Unreadable>,
}

/// Why a document cannot be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) message: String,
    /// Bytes of the document.
    pub(crate) place: Range<usize>,
}

/// The documents of `text`, without those that are empty or only comments.
pub(crate) fn documents(text: &str) -> Vec<Document> {
    cut(text).into_iter().filter_map(|range| read(text, range)).collect()
}

/// The texts between lines that begin with `---` and say nothing else.
fn cut(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        let rest = line.strip_prefix("---").map(str::trim);
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#')) {
            ranges.push(start..at);
            start = at + line.len();
        }
        at += line.len();
    }
    ranges.push(start..at);
    ranges
}

fn read(text: &str, range: Range<usize>) -> Option<Document> {
    let Range { start, end } = range;
    let content = content(text.get(range)?)?;
    Some(Document { start, end, content })
}

/// What the text of one document says; `None` when it is nothing.
pub(crate) fn content(body: &str) -> Option<Result<Tree, Unreadable>> {
    let content = serde_saphyr::from_multiple_with_options::<Tree>(body, options());
    let content = match content {
        Ok(mut trees) if trees.len() <= 1 => Ok(trees.pop()?),
        Ok(_) => Err(Unreadable {
            message: "several documents that no line --- separates".into(),
            place: 0..body.lines().next().map_or(0, str::len),
        }),
        Err(error) => Err(unreadable(&error, body)),
    };
    Some(content)
}

fn options() -> Options {
    serde_saphyr::options! {
        // As kubectl reads them: 0755 is an octal number, yes is true.
        legacy_octal_numbers: true,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // Enough for every document that the validator would look at, and little enough that a few lines of aliases cannot
        // fill the memory.
        budget: serde_saphyr::budget! {
            max_nodes: 250_000,
            max_total_scalar_bytes: 4 << 20,
            max_recorded_anchor_events: 200_000,
            max_recorded_anchor_bytes: 4 << 20,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        with_snippet: false,
    }
}

fn unreadable(error: &serde_saphyr::Error, body: &str) -> Unreadable {
    let message = in_words(DefaultMessageFormatter.format_message(error).into_owned());
    // Not every error knows its bytes; lines and columns they all know.
    let at = error.location().map_or(0, |location| byte_at(body, location.line(), location.column()));
    Unreadable { message, place: at..at }
}

/// The parser names its limits after its own fields.
fn in_words(message: String) -> String {
    let Some(limit) = message.strip_prefix("budget breached: ") else { return message };
    let what = limit.split([' ', '{']).next().unwrap_or_default();
    match what {
        "Depth" => "this nests deeper than any policy does".into(),
        "Nodes" | "Events" | "ScalarBytes" => "this is larger than any policy can be, with aliases written out".into(),
        _ => message,
    }
}

/// The byte at a line and column, both from 1, the column in code points.
fn byte_at(text: &str, line: u64, column: u64) -> usize {
    let index = |from_one: u64| usize::try_from(from_one.saturating_sub(1)).unwrap_or(usize::MAX);
    let start: usize = text.split_inclusive('\n').take(index(line)).map(str::len).sum();
    let rest = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    start + rest.char_indices().nth(index(column)).map_or(rest.len(), |(at, _)| at)
}
