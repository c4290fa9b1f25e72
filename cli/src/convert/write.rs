//! How values are written in a text: in its style, with its line ends.

use granit_parser::ScalarStyle;
use serde_json::Value;

use super::edit::{Change, Why};
use super::layout::{Kind, Node};

const EMPTY: Why = "there is nothing beside which it could be written";
const TABS: Why = "it is not clear how far it is indented";

/// Words that are no strings without quotes.
const WORDS: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nil"];

/// Writes as the text around is written.
pub(super) struct Writer<'t> {
    text: &'t str,
    /// The text is JSON, or looks like it.
    json: bool,
}

impl<'t> Writer<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self { text, json: text.trim_start().starts_with('{') }
    }

    pub(super) const fn is_block(style: ScalarStyle) -> bool {
        matches!(style, ScalarStyle::Literal | ScalarStyle::Folded)
    }

    /// `value` on one line, in the quotes of what was there before.
    pub(super) fn value(&self, value: &Value, style: Option<ScalarStyle>) -> String {
        match value {
            Value::String(text) => self.string(text, style),
            Value::Array(list) => {
                let list: Vec<String> = list.iter().map(|value| self.value(value, None)).collect();
                format!("[{}]", list.join(", "))
            }
            Value::Object(map) => {
                let fields: Vec<String> = map.iter().map(|(name, value)| self.field(name, value)).collect();
                format!("{{{}}}", fields.join(", "))
            }
            other => other.to_string(),
        }
    }

    fn field(&self, name: &str, value: &Value) -> String {
        format!("{}: {}", self.string(name, None), self.value(value, None))
    }

    fn string(&self, text: &str, style: Option<ScalarStyle>) -> String {
        let simple = text.chars().all(|c| (' '..='~').contains(&c));
        match style {
            Some(ScalarStyle::SingleQuoted) if simple => format!("'{}'", text.replace('\'', "''")),
            Some(ScalarStyle::Plain) | None if !self.json && is_plain(text) => text.to_owned(),
            // A string of JSON is one of YAML.
            _ => Value::from(text).to_string(),
        }
    }

    /// A field more in an object.
    pub(super) fn new_field(&self, parent: &Node, name: &str, value: &Value) -> Result<Change, Why> {
        let Kind::Fields { flow, fields } = &parent.kind else { return Err(EMPTY) };
        let (first, first_value) = fields.first().ok_or(EMPTY)?;
        let entry = self.field(name, value);
        if *flow {
            return self.new_flow_field(first, first_value, &entry);
        }
        let indent = self.indent_of(first.start)?;
        let on_one_line = |value: &Node| {
            let Kind::Scalar { style, .. } = value.kind else { return false };
            let written = self.text.get(value.place.clone()).unwrap_or_default();
            !Self::is_block(style) && !written.is_empty() && !written.contains('\n')
        };
        match fields.iter().map(|(_, value)| value).find(|value| on_one_line(value)) {
            Some(value) => Ok(self.new_line(value.place.end, &indent, &entry)),
            None => {
                let newline = self.newline_at(first.start);
                Ok(Change { place: first.start..first.start, text: format!("{entry}{newline}{indent}") })
            }
        }
    }

    fn new_flow_field(&self, first: &Node, value: &Node, entry: &str) -> Result<Change, Why> {
        if value.place.is_empty() {
            return Err(EMPTY);
        }
        let before = self.text.get(line_start(self.text, first.start)..first.start).unwrap_or_default();
        let own_line = before.trim().is_empty() && !before.is_empty();
        let between = if own_line { format!(",{}{before}", self.newline_at(first.start)) } else { ", ".to_owned() };
        Ok(Change { place: value.place.end..value.place.end, text: format!("{between}{entry}") })
    }

    /// An element more behind the last one of a list in block style.
    pub(super) fn new_item(&self, dash: usize, last: &Node, value: &Value) -> Result<Change, Why> {
        let indent = self.indent_of(dash)?;
        let newline = self.newline_at(dash);
        let entry = match value {
            Value::Object(map) => {
                let fields: Vec<String> = map.iter().map(|(name, value)| self.field(name, value)).collect();
                fields.join(&format!("{newline}{indent}  "))
            }
            other => self.value(other, None),
        };
        Ok(self.new_line(last.place.end, &indent, &format!("- {entry}")))
    }

    /// A line more, below the one in which `at` is.
    fn new_line(&self, at: usize, indent: &str, entry: &str) -> Change {
        let end = line_end(self.text, at);
        let newline = self.newline_at(at);
        let complete = self.text.get(..end).is_some_and(|before| before.ends_with('\n'));
        let text = if complete { format!("{indent}{entry}{newline}") } else { format!("{newline}{indent}{entry}") };
        Change { place: end..end, text }
    }

    /// Spaces up to the column of `at`.
    fn indent_of(&self, at: usize) -> Result<String, Why> {
        let before = self.text.get(line_start(self.text, at)..at).unwrap_or_default();
        if before.contains('\t') { Err(TABS) } else { Ok(" ".repeat(before.chars().count())) }
    }

    /// How the line of `at` ends; the last one may not, and then as the first does.
    fn newline_at(&self, at: usize) -> &'static str {
        let line = self.text.get(at..line_end(self.text, at)).unwrap_or_default();
        let line = if line.ends_with('\n') { line } else { self.text.split_inclusive('\n').next().unwrap_or_default() };
        if line.ends_with("\r\n") { "\r\n" } else { "\n" }
    }
}

/// Whether `text` is the string that it is without quotes, wherever it is written.
fn is_plain(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || "_/.-".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/');
    // Four numbers with dots between are none.
    let address = text.matches('.').count() == 3 && text.starts_with(|c: char| c.is_ascii_digit());
    (begins || address)
        && text.chars().all(word)
        && !text.starts_with("---")
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// Where the line of `at` begins.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1)
}

/// Where the line of what ends at `at` ends: behind its line break.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    // The end of a block string is the end of its last line.
    if text.get(..at).is_some_and(|before| before.ends_with('\n')) && at > 0 {
        return at;
    }
    text.get(at..).and_then(|after| after.find('\n')).map_or(text.len(), |newline| at + newline + 1)
}
