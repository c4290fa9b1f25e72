//! `selectorsMacros`: pieces of selectors that several selectors share.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::nearest;
use super::node::Node;
use super::report::Report;
use super::schema::quoted;
use crate::engine::Feature;
use crate::fault::codes;

/// All macros of a policy.
#[derive(Debug, Default)]
pub(super) struct Macros<'a> {
    /// Each with the number of its values.
    macros: BTreeMap<&'a str, (Node<'a>, usize)>,
    /// Those that some selector uses.
    used: RefCell<BTreeSet<String>>,
}

/// A selector together with the macros that it uses: each field is written in one place.
pub(super) struct Merged<'a> {
    own: Node<'a>,
    pieces: Vec<Node<'a>>,
}

impl<'a> Macros<'a> {
    pub(super) fn read(spec: &Node<'a>, report: &mut Report) -> Self {
        let Some(field) = spec.field("selectorsMacros") else { return Self::default() };
        let macros: BTreeMap<&str, _> =
            field.entries().map(|(name, node)| (name, (node.clone(), node.weight()))).collect();
        let mut used = BTreeSet::new();
        for (node, _) in macros.values() {
            report.needs(node.path(), Feature::Filter("macros"));
            if node.said("macros").is_some() {
                let what = "a macro cannot use macros";
                report.fault(node.path_of("macros"), codes::MACRO_NESTED, what, "list them where this one is used");
                used.extend(node.each("macros").filter_map(|name| name.text().map(ToOwned::to_owned)));
            }
            let says = node.entries().any(|(name, _)| name != "macros" && node.said(name).is_some());
            if node.is_object() && !says {
                report.fault(node.path(), codes::SELECTOR_EMPTY, "an empty macro says nothing", "remove it");
            }
        }
        Self { macros, used: RefCell::new(used) }
    }

    /// The selector `own` with what its macros say.
    pub(super) fn merge(&self, own: Node<'a>, report: &mut Report) -> Merged<'a> {
        let mut pieces = Vec::new();
        let mut names = BTreeSet::new();
        for reference in own.each("macros") {
            let Some(name) = reference.text() else { continue };
            // What is said twice is said once.
            if !names.insert(name) {
                continue;
            }
            match self.macros.get(name) {
                Some((node, weight)) => {
                    self.used.borrow_mut().insert(name.to_owned());
                    if report.write_out(*weight, reference.path()) {
                        pieces.push(node.clone());
                    }
                }
                None => {
                    let what = format!("there is no macro {}", quoted(name));
                    let help = if self.macros.is_empty() || !report.may_compare(self.macros.len()) {
                        "add it to spec.selectorsMacros".into()
                    } else {
                        let known: Vec<&str> = self.macros.keys().copied().collect();
                        nearest::suggestion(name, &known, &known)
                    };
                    report.fault(reference.path(), codes::MACRO_UNDEFINED, what, help);
                }
            }
        }
        let merged = Merged { own, pieces };
        merged.check_fields(report);
        merged
    }

    /// What no selector uses would be ignored.
    pub(super) fn check_use(&self, report: &mut Report) {
        if report.has_passed_over() {
            return;
        }
        let used = self.used.borrow();
        for (name, (node, _)) in self.macros.iter().filter(|(name, _)| !used.contains(**name)) {
            let what = format!("no selector uses the macro {}", quoted(name));
            report.fault(node.path(), codes::MACRO_UNUSED, what, "list it in macros of a selector, or remove it");
        }
    }
}

impl<'a> Merged<'a> {
    pub(super) fn path(&self) -> &str {
        self.own.path()
    }

    pub(super) fn pieces(&self) -> impl Iterator<Item = &Node<'a>> {
        self.pieces.iter()
    }

    /// The part that has the field.
    fn part(&self, name: &str) -> &Node<'a> {
        let has = |node: &&Node<'a>| node.said(name).is_some();
        self.pieces.iter().find(has).filter(|_| !has(&&self.own)).unwrap_or(&self.own)
    }

    pub(super) fn path_of(&self, name: &str) -> String {
        self.part(name).path_of(name)
    }

    pub(super) fn field(&self, name: &str) -> Option<Node<'a>> {
        self.part(name).field(name)
    }

    pub(super) fn said(&self, name: &str) -> Option<Node<'a>> {
        self.part(name).said(name)
    }

    pub(super) fn list(&self, name: &str) -> Vec<Node<'a>> {
        self.part(name).list(name)
    }

    pub(super) fn count(&self, name: &str) -> usize {
        self.part(name).count(name)
    }

    /// Each field comes from one place: which of two is meant, or whether both are, is nobody's to guess.
    fn check_fields(&self, report: &mut Report) {
        let mut seen: BTreeMap<&str, String> = BTreeMap::new();
        for part in std::iter::once(&self.own).chain(&self.pieces) {
            for (name, _) in part.entries().filter(|(name, _)| *name != "macros" && part.said(name).is_some()) {
                if let Some(first) = seen.get(name) {
                    let what = format!("{name} is in {first} and in {}", part.path());
                    let help = "write it in one of them, with the entries of both";
                    report.fault(self.own.path_of("macros"), codes::MACRO_FIELD, what, help);
                } else {
                    seen.insert(name, part.path().to_owned());
                }
            }
        }
    }
}
