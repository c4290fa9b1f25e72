//! Label selectors.

use std::collections::{BTreeMap, BTreeSet};

use super::node::Node;
use super::report::Report;
use super::schema::quoted;
use crate::fault::codes;
use crate::ir::{LabelOperator, LabelRequirement, LabelSelector};
use crate::language::limits::MAX_LABELS;

/// The selector that `node` writes, with `matchLabels` as `In` of one value.
pub(super) fn read(node: &Node<'_>, report: &mut Report) -> LabelSelector {
    let mut requirements = BTreeSet::new();
    let written = node.field("matchLabels").map_or(0, |labels| labels.entries().count());
    if written + node.count("matchExpressions") > MAX_LABELS {
        let what = format!("there are more than {MAX_LABELS} requirements on labels");
        report.fault(node.path(), codes::TOO_MANY, what, "select by fewer labels");
        return LabelSelector { requirements };
    }
    if let Some(labels) = node.field("matchLabels") {
        for (key, value) in labels.entries() {
            check_key(key, value.path(), report);
            let Some(text) = value.text() else { continue };
            check_value(text, value.path(), report);
            requirements.insert(LabelRequirement {
                key: key.to_owned(),
                operator: LabelOperator::In,
                values: BTreeSet::from([text.to_owned()]),
            });
        }
    }
    for expression in node.each("matchExpressions") {
        requirements.extend(read_expression(&expression, report));
    }
    let selector = LabelSelector { requirements };
    if let Some(key) = never(&selector) {
        let what = format!("no value of {} satisfies all of the requirements on it", quoted(&key));
        report.fault(node.path(), codes::LABEL_SELECTOR_NEVER, what, "remove one of them");
    }
    selector
}

fn read_expression(node: &Node<'_>, report: &mut Report) -> Option<LabelRequirement> {
    let key = node.field("key")?;
    check_key(key.text()?, key.path(), report);
    let operator = match node.text_of("operator") {
        "In" => LabelOperator::In,
        "NotIn" => LabelOperator::NotIn,
        "Exists" => LabelOperator::Exists,
        "DoesNotExist" => LabelOperator::DoesNotExist,
        _ => return None,
    };
    let values = node.list("values");
    let takes_values = matches!(operator, LabelOperator::In | LabelOperator::NotIn);
    if takes_values && values.is_empty() {
        let help = "list at least one value, or use Exists or DoesNotExist";
        report.fault(node.path_of("values"), codes::LABEL_SELECTOR_INVALID, "In and NotIn need values", help);
    }
    if !takes_values && !values.is_empty() {
        let what = "Exists and DoesNotExist take no values";
        report.fault(node.path_of("values"), codes::LABEL_SELECTOR_INVALID, what, "remove them, or use In or NotIn");
    }
    for value in &values {
        if let Some(text) = value.text() {
            check_value(text, value.path(), report);
        }
    }
    let values = values.iter().filter_map(|value| value.text().map(ToOwned::to_owned)).collect();
    Some(LabelRequirement { key: key.text()?.to_owned(), operator, values })
}

/// A key on which the requirements exclude each other.
pub(super) fn never(selector: &LabelSelector) -> Option<String> {
    let mut by_key: BTreeMap<&String, Vec<&LabelRequirement>> = BTreeMap::new();
    for requirement in &selector.requirements {
        by_key.entry(&requirement.key).or_default().push(requirement);
    }
    by_key.into_iter().find(|(_, of_key)| !satisfiable(of_key)).map(|(key, _)| key.clone())
}

/// Whether whatever satisfies `all` satisfies `also`.
pub(super) fn implies(all: &LabelSelector, also: &LabelSelector) -> bool {
    let cannot_fail = |requirement: &LabelRequirement| {
        let operator = match requirement.operator {
            LabelOperator::In => LabelOperator::NotIn,
            LabelOperator::NotIn => LabelOperator::In,
            LabelOperator::Exists => LabelOperator::DoesNotExist,
            LabelOperator::DoesNotExist => LabelOperator::Exists,
        };
        let mut with = all.clone();
        with.requirements.insert(LabelRequirement { operator, ..requirement.clone() });
        never(&with).is_some()
    };
    also.requirements.iter().all(|own| all.requirements.contains(own) || cannot_fail(own))
}

fn satisfiable(of_key: &[&LabelRequirement]) -> bool {
    let with = |operator| of_key.iter().filter(move |requirement| requirement.operator == operator);
    let absent = with(LabelOperator::DoesNotExist).next().is_some();
    let present = with(LabelOperator::Exists).next().is_some();
    let mut required = with(LabelOperator::In).map(|requirement| requirement.values.clone());
    let Some(first) = required.next() else { return !(absent && present) };
    let allowed = required.fold(first, |allowed, values| &allowed & &values);
    let excluded: BTreeSet<String> =
        with(LabelOperator::NotIn).flat_map(|requirement| requirement.values.clone()).collect();
    // An In without values has been reported for that.
    !absent && (allowed.is_empty() && of_key.len() == 1 || !allowed.is_subset(&excluded))
}

fn check_key(key: &str, path: &str, report: &mut Report) {
    // The agent's own label for a pod's namespace has a colon, which no Kubernetes label has.
    let plain = key.strip_prefix("k8s:").unwrap_or(key);
    let (prefix, name) = plain.rsplit_once('/').map_or((None, plain), |(prefix, name)| (Some(prefix), name));
    let good_prefix = prefix.is_none_or(|prefix| !prefix.is_empty() && prefix.len() <= 253 && !prefix.contains('/'));
    if name.is_empty() || !good_prefix || !is_label_text(name) {
        let what = format!("{} is not a label's key", quoted(key));
        report.fault(path, codes::LABEL_SELECTOR_INVALID, what, "write a key that a label can have");
    }
}

fn check_value(value: &str, path: &str, report: &mut Report) {
    if !is_label_text(value) {
        let what = format!("{} is not a label's value", quoted(value));
        let help = "write at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit";
        report.fault(path, codes::LABEL_SELECTOR_INVALID, what, help);
    }
}

fn is_label_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    bytes.len() <= 63
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}
