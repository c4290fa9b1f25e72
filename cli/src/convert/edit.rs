//! Edits of a document → the changed text. What is not edited stays byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use stockade_policy::convert::{Edit, Step};

use super::layout::{Kind, Layout, Node, layout};
use super::removal;
use super::write::Writer;

/// Why a text cannot be edited.
pub(super) type Why = &'static str;

const ALIAS: Why = "this is an alias: what it stands for is written elsewhere, and other places use it";
const SHARED: Why = "this has an anchor by which other places use it, so they would change with it";
const BLOCK_STRING: Why = "this is a string of several lines, with a comment above them";
const NOT_WRITTEN: Why = "it is not written in the place that it has, but merged into it";
const NESTED: Why = "this is more than a single value";
const OVERLAP: Why = "another change is in its way";
const UNREADABLE: Why = "the text has no places for its parts";

/// A part of the text that becomes another.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) place: Range<usize>,
    pub(super) text: String,
}

/// `text` with all of `edits` carried out.
pub(super) fn edited(text: &str, edits: &[Edit]) -> Result<String, Why> {
    let layout = layout(text).ok_or(UNREADABLE)?;
    let editor = Editor { layout: &layout, writer: Writer::of(text), text };
    let mut changes = Vec::new();
    // What goes away is looked at together: which comma or dash goes with it depends on what stays.
    let mut removed: BTreeMap<&[Step], Vec<&Step>> = BTreeMap::new();
    for edit in edits {
        match edit {
            Edit::Set { at, value } => changes.push(editor.set(at, value)?),
            Edit::Rename { at, name } => changes.push(editor.rename(at, name)?),
            Edit::Append { at, value } => changes.push(editor.append(at, value)?),
            Edit::Remove { at } => {
                let (last, parent) = at.split_last().ok_or(NESTED)?;
                removed.entry(parent).or_default().push(last);
            }
        }
    }
    for (parent, steps) in removed {
        let parent = editor.find(parent)?;
        let indices: BTreeSet<usize> =
            steps.into_iter().map(|step| index_of(parent, step).ok_or(NOT_WRITTEN)).collect::<Result<_, _>>()?;
        changes.extend(removal::removals(text, &layout.comments, parent, &indices)?);
    }
    carry_out(text, changes)
}

fn carry_out(text: &str, mut changes: Vec<Change>) -> Result<String, Why> {
    changes.sort_by_key(|change| (change.place.start, change.place.end));
    let mut result = String::with_capacity(text.len() + 64);
    let mut at = 0;
    for Change { place, text: new } in changes {
        result.push_str(text.get(at..place.start).ok_or(OVERLAP)?);
        result.push_str(&new);
        at = place.end;
    }
    result.push_str(text.get(at..).ok_or(OVERLAP)?);
    Ok(result)
}

struct Editor<'t> {
    text: &'t str,
    layout: &'t Layout,
    writer: Writer<'t>,
}

impl Editor<'_> {
    /// What is written at a place, and nowhere else.
    fn find(&self, at: &[Step]) -> Result<&Node, Why> {
        let mut node = &self.layout.root;
        for step in at {
            own(node)?;
            node = child(node, step).ok_or(NOT_WRITTEN)?;
        }
        own(node)?;
        Ok(node)
    }

    fn set(&self, at: &[Step], value: &serde_json::Value) -> Result<Change, Why> {
        let (last, parent) = at.split_last().ok_or(NESTED)?;
        let parent = self.find(parent)?;
        let Some(node) = child(parent, last) else {
            return match last {
                Step::Field(name) => self.writer.new_field(parent, name, value),
                Step::Element(_) => Err(NOT_WRITTEN),
            };
        };
        own(node)?;
        let text = match &node.kind {
            Kind::Scalar { style, .. } if Writer::is_block(*style) => return self.replace_block_string(node, value),
            Kind::Scalar { style, .. } => self.writer.value(value, Some(*style)),
            Kind::List { flow: true, .. } | Kind::Fields { flow: true, .. } => self.writer.value(value, None),
            _ => return Err(NESTED),
        };
        let place = node.place.clone();
        if !place.is_empty() {
            return Ok(Change { place, text });
        }
        // `key:` with nothing behind it, which for the parser is before the colon; or a dash.
        let end = removal::behind_colon(self.text, place.start);
        let written = self.text.get(..end).is_some_and(|before| before.ends_with([':', '-']));
        if written { Ok(Change { place: end..end, text: format!(" {text}") }) } else { Err(NOT_WRITTEN) }
    }

    /// A string of several lines, with the sign before them.
    fn replace_block_string(&self, node: &Node, value: &serde_json::Value) -> Result<Change, Why> {
        let head = self.text.get(..node.place.start).ok_or(BLOCK_STRING)?.trim_end();
        let sign = head.trim_end_matches(|c: char| c.is_ascii_digit() || "+-".contains(c));
        let start = sign.strip_suffix(['|', '>']).ok_or(BLOCK_STRING)?.len();
        let last = self.text.get(node.place.clone()).unwrap_or_default();
        let newline = if last.ends_with("\r\n") {
            "\r\n"
        } else if last.ends_with('\n') {
            "\n"
        } else {
            ""
        };
        let text = format!("{}{newline}", self.writer.value(value, None));
        Ok(Change { place: start..node.place.end, text })
    }

    fn rename(&self, at: &[Step], name: &str) -> Result<Change, Why> {
        let (last, parent) = at.split_last().ok_or(NESTED)?;
        let parent = self.find(parent)?;
        let (Kind::Fields { fields, .. }, Some(index)) = (&parent.kind, index_of(parent, last)) else {
            return Err(NOT_WRITTEN);
        };
        let (key, _) = fields.get(index).ok_or(NOT_WRITTEN)?;
        own(key)?;
        let Kind::Scalar { style, .. } = &key.kind else { return Err(NESTED) };
        Ok(Change { place: key.place.clone(), text: self.writer.value(&name.into(), Some(*style)) })
    }

    fn append(&self, at: &[Step], value: &serde_json::Value) -> Result<Change, Why> {
        let list = self.find(at)?;
        let Kind::List { flow, items } = &list.kind else { return Err(NESTED) };
        let last = items.last().ok_or(NESTED)?;
        if *flow {
            let place = last.place.end..last.place.end;
            return Ok(Change { place, text: format!(", {}", self.writer.value(value, None)) });
        }
        let dash = removal::dash(self.text, &self.layout.comments, last).ok_or(NESTED)?;
        self.writer.new_item(dash, last, value)
    }
}

/// An error, if a node is used elsewhere too.
fn own(node: &Node) -> Result<(), Why> {
    match node.kind {
        Kind::Alias => Err(ALIAS),
        _ if node.shared => Err(SHARED),
        _ => Ok(()),
    }
}

fn index_of(parent: &Node, step: &Step) -> Option<usize> {
    match (&parent.kind, step) {
        (Kind::List { items, .. }, Step::Element(index)) => (*index < items.len()).then_some(*index),
        // Of a key that is written twice, the last one counts.
        (Kind::Fields { fields, .. }, Step::Field(name)) => {
            fields.iter().rposition(|(key, _)| matches!(&key.kind, Kind::Scalar { text, .. } if text == name))
        }
        _ => None,
    }
}

fn child<'n>(parent: &'n Node, step: &Step) -> Option<&'n Node> {
    let index = index_of(parent, step)?;
    match &parent.kind {
        Kind::List { items, .. } => items.get(index),
        Kind::Fields { fields, .. } => fields.get(index).map(|(_, value)| value),
        _ => None,
    }
}
