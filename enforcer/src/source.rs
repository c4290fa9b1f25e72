//! Where desired policies come from: the API server, or a folder.

pub mod cluster;
pub mod dir;
pub mod last_known;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::pods::PodInfo;

/// What names a policy object: `kind/namespace/name`, or the file and document number of one without a name.
pub type PolicyKey = String;

/// Everything that the agent has been told to make true, and whom it is about.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// Files that hold policies and cannot be read: name → why. What they held before is in `policies` still.
    pub unreadable: BTreeMap<String, String>,
    /// The raw objects.
    pub policies: BTreeMap<PolicyKey, Value>,
    /// The node's pods, by uid.
    pub pods: BTreeMap<String, PodInfo>,
    /// The node's labels, for `nodeSelector`; `None` while nobody has told them.
    pub node_labels: Option<BTreeMap<String, String>>,
}

/// The key of a policy object.
#[must_use]
pub fn key_of(object: &Value) -> Option<PolicyKey> {
    let kind = object.get("kind")?.as_str()?;
    let meta = object.get("metadata")?;
    let namespace = meta.get("namespace").and_then(Value::as_str).unwrap_or_default();
    Some(format!("{kind}/{namespace}/{}", meta.get("name")?.as_str()?))
}
