//! The object around the spec: its size, its kind, its name.

use std::io;

use serde_json::Value;

use super::node::{Node, in_path};
use super::report::Report;
use super::schema::quoted;
use super::{fields, nearest, schema, spec};
use crate::fault::{Fault, codes};
use crate::ir::{PolicyId, PolicyKind, ValidatedPolicy};
use crate::language::limits::MAX_DOCUMENT_BYTES;

const API_VERSION: &str = "cilium.io/v1alpha1";
const KINDS: [&str; 2] = ["TracingPolicy", "TracingPolicyNamespaced"];
const TOP_LEVEL: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
/// `kubectl apply` keeps a copy of the document here, which is not a part of it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

pub(super) fn judge(object: &Value, report: &mut Report) -> Option<ValidatedPolicy> {
    if !object.is_object() {
        report.fault("", codes::WRONG_TYPE, "the document is not an object", "write a TracingPolicy");
        return None;
    }
    if size(object) > MAX_DOCUMENT_BYTES {
        let Fault { path, code, message, help } = too_large();
        report.fault(path, code, message, help);
        return None;
    }
    let root = Node::new(object, "");
    let kind = kind(&root, report)?;
    unknown_top_level(&root, report);
    let id = identity(&root, kind, report);
    let Some(document_spec) = root.field("spec") else {
        report.fault("spec", codes::MISSING_FIELD, "spec is required", "write an object with at least one hook");
        return None;
    };
    if let Some(value) = object.get("spec") {
        schema::check(value, "spec", &fields::SPEC, report);
    }
    let mut policy = spec::judge(&document_spec, id, report);
    if let Some(metadata) = root.field("metadata") {
        metadata.text_of("uid").clone_into(&mut policy.uid);
        policy.generation = metadata.field("generation").and_then(|field| field.integer()).unwrap_or(0);
    }
    Some(policy)
}

/// What is wrong with a document that has more bytes than one may have, whatever is in it.
#[must_use]
pub fn too_large() -> Fault {
    Fault {
        path: "spec".into(),
        code: codes::DOCUMENT_TOO_LARGE,
        message: format!("the document has more than {MAX_DOCUMENT_BYTES} bytes as compact JSON"),
        help: "split it into several policies".into(),
    }
}

/// The kind; without a known one there is nothing to judge the rest by.
fn kind(root: &Node<'_>, report: &mut Report) -> Option<PolicyKind> {
    let api_version = root.text_of("apiVersion");
    if api_version != API_VERSION {
        let what = format!("{} is not the version of a tracing policy", quoted(api_version));
        report.fault("apiVersion", codes::WRONG_KIND, what, format!("write {API_VERSION}"));
    }
    match root.text_of("kind") {
        "TracingPolicy" => Some(PolicyKind::Cluster),
        "TracingPolicyNamespaced" => Some(PolicyKind::Namespaced),
        other => {
            let what = format!("{} is not a tracing policy", quoted(other));
            report.fault("kind", codes::WRONG_KIND, what, nearest::suggestion(other, &KINDS, &KINDS));
            None
        }
    }
}

fn unknown_top_level(root: &Node<'_>, report: &mut Report) {
    for (name, _) in root.entries().filter(|(name, _)| !TOP_LEVEL.contains(name)) {
        let what = format!("{} does not exist here", quoted(name));
        report.fault(in_path(name), codes::UNKNOWN_FIELD, what, nearest::suggestion(name, &TOP_LEVEL, &TOP_LEVEL));
    }
}

fn identity(root: &Node<'_>, kind: PolicyKind, report: &mut Report) -> PolicyId {
    let metadata = root.field("metadata");
    let (mut name, mut namespace) = (String::new(), String::new());
    match &metadata {
        Some(metadata) if metadata.is_object() => {
            name = metadata_text(metadata, "name", report);
            namespace = metadata_text(metadata, "namespace", report);
            if name.is_empty() && metadata.text_of("generateName").is_empty() {
                report.fault("metadata.name", codes::MISSING_FIELD, "the policy has no name", "write metadata.name");
            }
        }
        Some(metadata) => report.fault(metadata.path(), codes::WRONG_TYPE, "this is not an object", "write an object"),
        None => report.fault("metadata", codes::MISSING_FIELD, "metadata is required", "write metadata with a name"),
    }
    if !name.is_empty() && !is_dns_name(&name, 253, true) {
        let what = format!("{} is not a name that Kubernetes accepts", quoted(&name));
        let help =
            "write at most 253 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit";
        report.fault("metadata.name", codes::INVALID_NAME, what, help);
    }
    if !namespace.is_empty() && kind == PolicyKind::Cluster {
        let what = "TracingPolicy has no namespace and reaches the whole cluster";
        report.warn(
            "metadata.namespace",
            codes::NAMESPACE_IGNORED,
            what,
            "for one namespace use TracingPolicyNamespaced",
        );
        namespace.clear();
    } else if !namespace.is_empty() && !is_dns_name(&namespace, 63, false) {
        let what = format!("{} is not a name that Kubernetes accepts", quoted(&namespace));
        let help = "write at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit";
        report.fault("metadata.namespace", codes::INVALID_NAME, what, help);
    }
    PolicyId { kind, namespace, name }
}

fn metadata_text(metadata: &Node<'_>, name: &str, report: &mut Report) -> String {
    let Some(field) = metadata.field(name) else { return String::new() };
    field.text().map(ToOwned::to_owned).unwrap_or_else(|| {
        report.fault(field.path(), codes::WRONG_TYPE, "this is not a string", "write a string");
        // Not empty, so that the name is not reported as missing as well.
        "wrong-type".into()
    })
}

/// RFC 1123: a label, or with `dots` a subdomain.
fn is_dns_name(name: &str, longest: usize, dots: bool) -> bool {
    let label = |label: &str| {
        let bytes = label.as_bytes();
        let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        bytes.first().is_some_and(alphanumeric)
            && bytes.last().is_some_and(alphanumeric)
            && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
    };
    name.len() <= longest && if dots { name.split('.').all(label) } else { label(name) }
}

/// Bytes of compact JSON, without what the API server and clients add, so that a file and the stored object count alike.
fn size(object: &Value) -> usize {
    let mut bytes = 0;
    let Some(map) = object.as_object() else { return bytes_of(object) };
    for (key, value) in map.iter().filter(|(key, _)| *key != "status") {
        bytes += key.len() + 4;
        match value.as_object().filter(|_| key == "metadata") {
            None => bytes += bytes_of(value),
            Some(metadata) => bytes += metadata_size(metadata),
        }
    }
    bytes + 1
}

fn metadata_size(metadata: &serde_json::Map<String, Value>) -> usize {
    let mut bytes = 0;
    for (key, value) in metadata.iter().filter(|(key, _)| *key != "managedFields") {
        let copy = value.get(LAST_APPLIED).map_or(0, bytes_of);
        bytes += key.len() + 4 + bytes_of(value).saturating_sub(copy);
    }
    bytes + 1
}

fn bytes_of(value: &Value) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Writing a `Value` to a sink that cannot fail cannot fail; if it ever did, what cannot be written is not small.
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        Err(_) => usize::MAX / 4,
    }
}
