//! The policies in files: what each means.

use stockade_policy::ir::{PolicyKind, ValidatedPolicy};
use stockade_policy::judge;

use crate::document::documents;
use crate::source::Source;
use crate::tree::Tree;

/// A policy that means one thing.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// As the user named it.
    pub(crate) file: String,
    pub(crate) meaning: ValidatedPolicy,
    /// Whether this release carries out all of it.
    pub(crate) is_carried_out: bool,
}

/// What files have in them.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    pub(crate) list: Vec<Policy>,
    /// What is no policy that means one thing, and what to do about it.
    pub(crate) troubles: Vec<String>,
}

impl Policy {
    /// As a test or a person names it: `shop/deny-writes`, or `deny-writes` for one of the whole cluster.
    pub(crate) fn name(&self) -> String {
        let id = &self.meaning.id;
        match id.kind {
            PolicyKind::Namespaced => format!("{}/{}", id.namespace, id.name),
            PolicyKind::Cluster => id.name.clone(),
        }
    }

    /// `TracingPolicy` or `TracingPolicyNamespaced`.
    pub(crate) fn kind(&self) -> &'static str {
        match self.meaning.id.kind {
            PolicyKind::Namespaced => "TracingPolicyNamespaced",
            PolicyKind::Cluster => "TracingPolicy",
        }
    }
}

impl Policies {
    /// Adds every policy in `source`; objects of other kinds are passed over.
    pub(crate) fn add(&mut self, source: &Source) {
        for document in documents(&source.text) {
            match document.content {
                Ok(tree) => self.object(&source.name, &tree),
                Err(why) => self.troubles.push(format!("{}: {}", source.name, why.message)),
            }
        }
    }

    fn object(&mut self, file: &str, tree: &Tree) {
        tree.elements_of("items").iter().for_each(|item| self.object(file, item));
        let value = tree.to_value();
        let text = |pointer: &str| value.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default();
        if stockade_crds::PolicyKind::from_kind(text("/kind")).is_none() {
            return;
        }
        let repeated = tree.repeated_keys().len();
        let judgement = judge(&value);
        match judgement.meaning.filter(|_| repeated == 0) {
            Some(meaning) => {
                let is_carried_out = judgement.faults.is_empty();
                self.list.push(Policy { file: file.to_owned(), meaning, is_carried_out });
            }
            None => {
                let (count, name) = (judgement.faults.len() + repeated, text("/metadata/name"));
                let faults = if count == 1 { "fault" } else { "faults" };
                self.troubles.push(format!("{file}: {name} has {count} {faults}; see: stockade lint {file}"));
            }
        }
    }
}
