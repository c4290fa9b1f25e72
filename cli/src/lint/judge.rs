//! Documents → entries of the report.

use std::ops::Range;

use serde_json::Value;
use stockade_crds::{SchemaFault, schema_faults_in};
use stockade_policy::{Fault, judge, node_warnings};

use super::report::{Entry, Finding, Report};
use crate::cluster::Nodes;
use crate::document::{Document, documents};
use crate::lines::Lines;
use crate::source::Source;
use crate::tree::Tree;

/// How many repeated keys of a document are shown before they are only counted.
const MAX_REPEATED: usize = 100;
/// With these faults the judgement is about a part of the document, or not about its parts at all.
const CUT: [&str; 2] = ["TooManyFaults", "DocumentTooLarge"];

/// Judges every policy in `source`, the `index`th of the run; with what `nodes` can do, if a cluster is asked.
pub(crate) fn judge_source(source: &Source, index: usize, nodes: Option<&Nodes>, report: &mut Report) {
    let lines = Lines::of(&source.text);
    for document in documents(&source.text) {
        let reader = Reader { source, lines: &lines, index, nodes, start: document.start };
        reader.document(&document, report);
    }
}

/// What about an object decides whether it is judged.
pub(crate) enum Nature {
    /// A policy, or meant to be one.
    Policy,
    /// A list of objects.
    List,
    /// A Kubernetes object of another kind.
    Other,
    /// No Kubernetes object.
    Nothing,
}

struct Reader<'a> {
    source: &'a Source,
    lines: &'a Lines<'a>,
    index: usize,
    nodes: Option<&'a Nodes>,
    /// Where the document begins in the source.
    start: usize,
}

impl Reader<'_> {
    fn document(&self, document: &Document, report: &mut Report) {
        match &document.content {
            Ok(tree) => self.object(tree, report),
            Err(why) => {
                let fault =
                    Fault { path: String::new(), code: "Syntax", message: why.message.clone(), help: String::new() };
                self.unjudged(self.finding(fault, why.place.clone()), report);
            }
        }
    }

    fn object(&self, tree: &Tree, report: &mut Report) {
        let value = tree.to_value();
        match nature(&value) {
            Nature::Policy => report.entries.push(self.policy(tree, value)),
            Nature::Other => report.skipped += 1,
            Nature::List => tree.elements_of("items").iter().for_each(|item| self.object(item, report)),
            Nature::Nothing if self.source.found => report.skipped += 1,
            Nature::Nothing => {
                let fault = Fault {
                    path: String::new(),
                    code: "NoKind",
                    message: "this is no Kubernetes object: it does not say apiVersion and kind".into(),
                    help: "begin it with apiVersion: cilium.io/v1alpha1 and kind: TracingPolicy".into(),
                };
                self.unjudged(self.finding(fault, tree.place_of("")), report);
            }
        }
    }

    fn policy(&self, tree: &Tree, value: Value) -> Entry {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let (kind, namespace) = (text("/kind"), text("/metadata/namespace"));
        let name = text("/metadata/name").or_else(|| text("/metadata/generateName"));
        let judgement = judge(&value);
        // What both find is said once, in the words of the one that knows more. Where it has more to say than is shown, the
        // schema has nothing to add yet.
        let judged = &judgement.faults;
        let schema = if judged.iter().any(|f| CUT.contains(&f.code)) { Vec::new() } else { schema_faults_in(value) };
        let also = schema.into_iter().map(from_schema).filter(|f| judged.iter().all(|known| known.path != f.path));
        let mut faults: Vec<_> = also.map(|f| self.found(f, tree)).collect();
        faults.extend(judgement.faults.into_iter().map(|f| self.found(f, tree)));
        let repeated = tree.repeated_keys();
        let more = repeated.len().saturating_sub(MAX_REPEATED);
        faults.extend(repeated.into_iter().take(MAX_REPEATED).map(|(path, place)| self.repeated(path, place)));
        faults.sort_by_key(|f| (f.line, f.column));
        faults.extend((more > 0).then(|| self.more_repeated(more)));
        let of_nodes = judgement.policy.iter().zip(self.nodes);
        let of_nodes = of_nodes.flat_map(|(policy, nodes)| node_warnings(&nodes.about(policy), &nodes.facts));
        let warnings = judgement.warnings.into_iter().chain(of_nodes).map(|f| self.found(f, tree)).collect();
        Entry {
            file: self.source.name.clone(),
            kind,
            namespace,
            name,
            accepted: faults.is_empty(),
            faults,
            warnings,
            judged: true,
            source: Some(self.index),
        }
    }

    fn repeated(&self, path: String, place: Range<usize>) -> Finding {
        let fault = Fault {
            path,
            code: "DuplicateKey",
            message: "this field is written twice; only the last one would count".into(),
            help: "remove one of them".into(),
        };
        self.finding(fault, place)
    }

    fn more_repeated(&self, more: usize) -> Finding {
        let fault = Fault {
            path: "spec".into(),
            code: "DuplicateKey",
            message: format!("{more} more fields are written twice"),
            help: "remove them too".into(),
        };
        self.finding(fault, 0..0)
    }

    fn unjudged(&self, why: Finding, report: &mut Report) {
        report.entries.push(Entry::unjudged(self.source.name.clone(), Some(self.index), why));
    }

    fn found(&self, fault: Fault, tree: &Tree) -> Finding {
        let place = match fault.code {
            "UnknownField" => tree.key_place_of(&fault.path),
            _ => tree.place_of(&fault.path),
        };
        self.finding(fault, place)
    }

    /// `place` is in bytes of the document.
    fn finding(&self, fault: Fault, place: Range<usize>) -> Finding {
        let place = self.start + place.start..self.start + place.end;
        let (line, column) = self.lines.at(place.start);
        let Fault { path, code, message, help } = fault;
        Finding { path, code, message, help, line, column, place }
    }
}

fn from_schema(fault: SchemaFault) -> Fault {
    let SchemaFault { path, code, message, help } = fault;
    Fault { path, code, message, help }
}

pub(crate) fn nature(value: &Value) -> Nature {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if kind.is_empty() && api_version.is_empty() {
        return Nature::Nothing;
    }
    let ours = stockade_crds::PolicyKind::from_kind(kind).is_some();
    let nearly = api_version.starts_with("cilium.io/") && kind.to_lowercase().contains("tracing");
    if kind.ends_with("List") && value.get("items").is_some() {
        Nature::List
    } else if ours || nearly {
        Nature::Policy
    } else if kind.is_empty() || api_version.is_empty() {
        Nature::Nothing
    } else {
        Nature::Other
    }
}
