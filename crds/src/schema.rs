//! The CRDs, built from the Rust types.
//!
//! What the API server demands of a structural schema, and what admission demands of ours, is made here in one pass over
//! what schemars says: no `nullable`, no default (but one, on `status`), unknown fields of every object under `spec` kept
//! for the webhook to judge, lists that are replaced as a whole, integers that are int32 or int64.

use std::sync::LazyLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::names::{self, PolicyKind};
use crate::node_policy_state::NodePolicyStateStatus;
use crate::policy_status::PolicyStatus;
use crate::spec::TracingPolicySpec;
use crate::words::{ConditionStatus, ConditionType, Reason};

/// A CRD of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crd {
    /// A kind of policy.
    Policy(PolicyKind),
    /// `NodePolicyState`.
    NodePolicyState,
}

impl Crd {
    /// All of them.
    pub const ALL: [Self; 3] =
        [Self::Policy(PolicyKind::Cluster), Self::Policy(PolicyKind::Namespaced), Self::NodePolicyState];

    /// `metadata.name`: plural and group.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Policy(kind) => kind.crd_name().to_owned(),
            Self::NodePolicyState => format!("{}.{}", names::NODE_POLICY_STATE_PLURAL, names::STOCKADE_GROUP),
        }
    }

    /// Name of its generated file: group and plural, as controller-gen calls them.
    #[must_use]
    pub fn file_name(self) -> String {
        match self {
            Self::Policy(kind) => format!("{}_{}.yaml", names::POLICY_GROUP, kind.plural()),
            Self::NodePolicyState => format!("{}_{}.yaml", names::STOCKADE_GROUP, names::NODE_POLICY_STATE_PLURAL),
        }
    }

    /// The whole `CustomResourceDefinition`.
    #[must_use]
    pub fn manifest(self) -> Value {
        match self {
            Self::Policy(kind) => policy_crd(kind),
            Self::NodePolicyState => node_policy_state_crd(),
        }
    }

    /// Its `openAPIV3Schema`.
    #[must_use]
    pub fn schema(self) -> Value {
        match self {
            Self::Policy(kind) => policy_schema(kind),
            Self::NodePolicyState => node_policy_state_schema(),
        }
    }
}

fn policy_crd(kind: PolicyKind) -> Value {
    let scope = match kind {
        PolicyKind::Cluster => "Cluster",
        PolicyKind::Namespaced => "Namespaced",
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": kind.crd_name(),
            "labels": {
                "app.kubernetes.io/part-of": "stockade",
                (names::SCHEMA_VERSION_LABEL): names::SCHEMA_VERSION,
            },
        },
        "spec": {
            "group": names::POLICY_GROUP,
            "names": {
                "kind": kind.kind(),
                "listKind": format!("{}List", kind.kind()),
                "plural": kind.plural(),
                "singular": kind.singular(),
                "shortNames": [kind.short_name()],
                "categories": ["tetragon", "stockade"],
            },
            "scope": scope,
            "versions": [{
                "name": names::VERSION,
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": policy_columns(),
                "schema": { "openAPIV3Schema": policy_schema(kind) },
            }],
        },
    })
}

fn policy_columns() -> Value {
    let of_condition = |ty: ConditionType, field: &str| format!(".status.conditions[?(@.type==\"{ty}\")].{field}");
    Value::Array(vec![
        column("Mode", ".status.mode", "Enforce, Monitor, or Observe: nothing in it enforces.", false),
        column("Ready", ".status.summary", "Nodes that do what the policy asks, of nodes that should.", false),
        column("Enforcing", &of_condition(ConditionType::Enforcing, "status"), "What it forbids is denied.", false),
        column("Reason", &of_condition(ConditionType::Ready, "reason"), "Why it is ready or not.", false),
        column("Strength", ".status.strength", "How certainly what it forbids is prevented.", true),
        column("Denied", ".status.activity.denied", "Operations denied, order of magnitude.", true),
        column("Would-Deny", ".status.activity.wouldDeny", "The same in monitor mode.", true),
        column("Faults", ".status.activity.faults", "Operations that could not be judged.", true),
        column("Digest", ".status.digest", "Digest of the compiled policy.", true),
        age_column(),
    ])
}

fn policy_schema(kind: PolicyKind) -> Value {
    let mut spec = generated::<TracingPolicySpec>();
    open_objects(&mut spec);
    let mut status = generated::<PolicyStatus>();
    conditions_by_type(&mut status);
    set(&mut status, "description", json!("What all nodes together do about it. Written by the operator."));
    set(&mut status, "default", pending_status());
    let description = match kind {
        PolicyKind::Cluster => "What processes of the cluster may not do, or shall be reported for doing.",
        PolicyKind::Namespaced => {
            "What processes of the pods of a namespace may not do, or shall be reported for doing."
        }
    };
    root(description, &["metadata", "spec"], [("spec", spec), ("status", status)])
}

/// What a policy's status is before anybody has looked at it. Without it, tools that wait for objects take a policy for
/// done in a cluster where no operator runs.
fn pending_status() -> Value {
    json!({
        "conditions": [{
            "type": ConditionType::Ready,
            "status": ConditionStatus::Unknown,
            "reason": Reason::Pending,
            "message": "waiting for the operator",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        }],
    })
}

fn node_policy_state_crd() -> Value {
    let of_condition = |ty: ConditionType| format!(".status.conditions[?(@.type==\"{ty}\")].status");
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": Crd::NodePolicyState.name(),
            "labels": { "app.kubernetes.io/part-of": "stockade" },
        },
        "spec": {
            "group": names::STOCKADE_GROUP,
            "names": {
                "kind": names::NODE_POLICY_STATE_KIND,
                "listKind": format!("{}List", names::NODE_POLICY_STATE_KIND),
                "plural": names::NODE_POLICY_STATE_PLURAL,
                "singular": "nodepolicystate",
                "shortNames": [names::NODE_POLICY_STATE_SHORT],
                "categories": ["stockade"],
            },
            "scope": "Cluster",
            "versions": [{
                "name": names::VERSION,
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": [
                    column("Agent", &of_condition(ConditionType::AgentReady), "The enforcer runs.", false),
                    column("Supported", &of_condition(ConditionType::KernelSupported),
                        "The kernel has what enforcement needs.", false),
                    column("Intact", &of_condition(ConditionType::Intact),
                        "What is in the kernel is what was put there.", false),
                    column("Kernel", ".status.facts.kernelRelease", "Release of the kernel.", false),
                    column("Version", ".status.facts.agentVersion", "Version of the enforcer.", true),
                    age_column(),
                ],
                "schema": { "openAPIV3Schema": node_policy_state_schema() },
            }],
        },
    })
}

fn node_policy_state_schema() -> Value {
    let mut status = generated::<NodePolicyStateStatus>();
    conditions_by_type(&mut status);
    let description = "What one node's kernel can do and which policies are in force there. Named like the node.";
    root(description, &["metadata"], [("status", status)])
}

fn root<const N: usize>(description: &str, required: &[&str], parts: [(&str, Value); N]) -> Value {
    let mut properties = Map::new();
    properties.insert("apiVersion".into(), json!({ "type": "string" }));
    properties.insert("kind".into(), json!({ "type": "string" }));
    properties.insert("metadata".into(), json!({ "type": "object" }));
    properties.extend(parts.into_iter().map(|(name, schema)| (name.to_owned(), schema)));
    json!({ "description": description, "type": "object", "required": required, "properties": properties })
}

fn column(name: &str, path: &str, description: &str, wide_only: bool) -> Value {
    json!({
        "name": name, "type": "string", "jsonPath": path, "description": description,
        "priority": i32::from(wide_only),
    })
}

fn age_column() -> Value {
    json!({ "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" })
}

/// The structural schema of a Rust type.
fn generated<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    make_structural(&mut schema);
    schema
}

/// Rewrites one schema and everything below it.
fn make_structural(schema: &mut Value) {
    unwrap_optional(schema);
    let Some(map) = schema.as_object_mut() else { return };
    for key in ["$schema", "title", "default", "nullable"] {
        map.remove(key);
    }
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|t| t != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            map.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(words)) = map.get_mut("enum") {
        words.retain(|w| !w.is_null());
    }
    if let Some(Value::String(text)) = map.get_mut("description") {
        *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    if map.get("type") == Some(&json!("array")) {
        map.insert("x-kubernetes-list-type".into(), json!("atomic"));
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(make_structural);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(key) {
            make_structural(inner);
        }
    }
}

/// An optional structure is an alternative of the structure and null: only the structure stays, with the field's own
/// description.
fn unwrap_optional(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    let Some(Value::Array(mut alternatives)) = map.remove("anyOf") else { return };
    alternatives.retain(|a| a.get("type") != Some(&json!("null")));
    let Some(Value::Object(inner)) = alternatives.pop() else { return };
    for (key, value) in inner {
        map.entry(key).or_insert(value);
    }
}

/// Keeps unknown fields of this object and of every object below it.
fn open_objects(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    if map.contains_key("properties") {
        map.insert("x-kubernetes-preserve-unknown-fields".into(), json!(true));
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(open_objects);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(key) {
            open_objects(inner);
        }
    }
}

/// Conditions have several writers: each owns the ones of its types.
fn conditions_by_type(status: &mut Value) {
    if let Some(conditions) = status.pointer_mut("/properties/conditions") {
        set(conditions, "x-kubernetes-list-type", json!("map"));
        set(conditions, "x-kubernetes-list-map-keys", json!(["type"]));
    }
}

fn set(schema: &mut Value, key: &str, value: Value) {
    if let Some(map) = schema.as_object_mut() {
        map.insert(key.into(), value);
    }
}

/// The schema of a kind of policy, built once.
#[must_use]
pub fn policy_schema_of(kind: PolicyKind) -> &'static Value {
    static CLUSTER: LazyLock<Value> = LazyLock::new(|| policy_schema(PolicyKind::Cluster));
    static NAMESPACED: LazyLock<Value> = LazyLock::new(|| policy_schema(PolicyKind::Namespaced));
    match kind {
        PolicyKind::Cluster => &CLUSTER,
        PolicyKind::Namespaced => &NAMESPACED,
    }
}
