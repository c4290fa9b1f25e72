//! Where everything in a YAML text is written, from the first byte to the last: what [`crate::tree`] does not need to know.

use std::ops::Range;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StructureStyle};

/// A value in the text.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// The value itself.
    pub(super) place: Range<usize>,
    /// Where it begins, with its anchor and its tag.
    pub(super) start: usize,
    /// Its anchor, if some alias is about it.
    anchor: usize,
    pub(super) shared: bool,
}

#[derive(Debug)]
pub(super) enum Kind {
    Scalar {
        style: ScalarStyle,
        text: String,
    },
    /// Another value once more.
    Alias,
    List {
        flow: bool,
        items: Vec<Node>,
    },
    /// Keys are scalars; a field with another key is one that nobody looks for.
    Fields {
        flow: bool,
        fields: Vec<(Node, Node)>,
    },
}

/// A text and its parts.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) root: Node,
    /// Every comment, in the order of the text.
    pub(super) comments: Vec<Range<usize>>,
}

/// The parts of a text with one document; `None` where the parser does not say where they are.
pub(super) fn layout(text: &str) -> Option<Layout> {
    let mut options = Options::default();
    options.emit_anchor_events = true;
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.ok()?;
        builder.take(event, span)?;
    }
    let Builder { root, comments, aliases, .. } = builder;
    let mut root = root?;
    mark_shared(&mut root, &aliases);
    Some(Layout { root, comments })
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    comments: Vec<Range<usize>>,
    /// The anchors that aliases are about.
    aliases: Vec<usize>,
}

/// A list or object that is not complete yet.
struct Open {
    node: Node,
    key: Option<Node>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let place = span.byte_range()?;
        let tag = span.tag_start.and_then(|mark| mark.byte_offset());
        let start = tag.map_or(place.start, |tag| tag.min(place.start));
        let node = |kind, anchor| Node { kind, place: place.clone(), start, anchor, shared: false };
        match event {
            Event::Comment(..) => self.comments.push(place),
            Event::Scalar(text, style, anchor, _) => {
                self.close(node(Kind::Scalar { style, text: text.into_owned() }, anchor))?;
            }
            Event::Alias(anchor) => {
                self.aliases.push(anchor);
                self.close(node(Kind::Alias, 0))?;
            }
            Event::SequenceStart(style, anchor, _) => {
                self.open(node(Kind::List { flow: style == StructureStyle::Flow, items: Vec::new() }, anchor));
            }
            Event::MappingStart(style, anchor, _) => {
                self.open(node(Kind::Fields { flow: style == StructureStyle::Flow, fields: Vec::new() }, anchor));
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let mut node = self.open.pop()?.node;
                // The end of what is in block style is where the next thing begins: its last part knows better.
                let last = match &node.kind {
                    Kind::List { flow: false, items } => items.last(),
                    Kind::Fields { flow: false, fields } => fields.last().map(|(_, value)| value),
                    _ => None,
                };
                let first = match &node.kind {
                    Kind::List { flow: false, items } => items.first(),
                    Kind::Fields { flow: false, fields } => fields.first().map(|(key, _)| key),
                    _ => None,
                };
                let begin = first.map_or(node.place.start, |first| first.start);
                node.place = begin..last.map_or(place.end, |last| last.place.end);
                self.close(node)?;
            }
            // It comes behind what it is the name of.
            Event::Anchor(..) => self.last_begun()?.start_at(place.start),
            Event::UnresolvedAlias(_) => return None,
            _ => {}
        }
        Some(())
    }

    fn open(&mut self, node: Node) {
        self.open.push(Open { node, key: None });
    }

    fn close(&mut self, node: Node) -> Option<()> {
        let Some(open) = self.open.last_mut() else {
            // A second document is not one that this is about.
            return self.root.replace(node).is_none().then_some(());
        };
        match (&mut open.node.kind, open.key.take()) {
            (Kind::List { items, .. }, _) => items.push(node),
            (Kind::Fields { .. }, None) => open.key = Some(node),
            (Kind::Fields { fields, .. }, Some(key)) => fields.push((key, node)),
            _ => return None,
        }
        Some(())
    }

    /// What the parser has told of last: something open with nothing in it, or what is complete.
    fn last_begun(&mut self) -> Option<&mut Node> {
        let Some(open) = self.open.last_mut() else { return self.root.as_mut() };
        if open.key.is_some() {
            return open.key.as_mut();
        }
        let empty = match &open.node.kind {
            Kind::List { items, .. } => items.is_empty(),
            Kind::Fields { fields, .. } => fields.is_empty(),
            _ => true,
        };
        if empty {
            return Some(&mut open.node);
        }
        match &mut open.node.kind {
            Kind::List { items, .. } => items.last_mut(),
            Kind::Fields { fields, .. } => fields.last_mut().map(|(_, value)| value),
            _ => None,
        }
    }
}

impl Node {
    fn start_at(&mut self, at: usize) {
        self.start = self.start.min(at);
    }
}

fn mark_shared(node: &mut Node, aliases: &[usize]) {
    node.shared = node.anchor != 0 && aliases.contains(&node.anchor);
    match &mut node.kind {
        Kind::List { items, .. } => items.iter_mut().for_each(|item| mark_shared(item, aliases)),
        Kind::Fields { fields, .. } => fields.iter_mut().for_each(|(_, value)| mark_shared(value, aliases)),
        _ => {}
    }
}
