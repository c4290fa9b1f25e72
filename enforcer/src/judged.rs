//! From raw objects to the policies that the kernel is to hold. Pure.
//!
//! The enforcer judges again: nothing is trusted for having been admitted. A policy whose new version is refused stays in
//! force as it was.

use std::collections::BTreeMap;

use serde_json::Value;
use stockade_crds::PolicyEntry;
use stockade_crds::names::SUSPEND_ANNOTATION;
use stockade_enforcer_kernel::Progress;
use stockade_policy::ir::{Mode, PolicyId, PolicyKind, ValidatedPolicy};
use stockade_policy::{Judgement, judge};

use crate::node_state;
use crate::source::{Desired, PolicyKey};

/// Judgements of the raw objects, and the last version of each policy that was accepted.
#[derive(Debug, Default)]
pub struct Judge {
    judged: BTreeMap<PolicyKey, (Value, Judgement)>,
    good: BTreeMap<PolicyKey, (Value, ValidatedPolicy)>,
    /// Told at each document: one may take a second, and there may be hundreds.
    progress: Progress,
}

/// What is to be made true, and what already has to be said about the rest.
#[derive(Debug, Default)]
pub struct Judged {
    /// For the kernel: newest accepted versions, sorted by id.
    pub policies: Vec<ValidatedPolicy>,
    /// Entries of policies that are refused, or wait for something.
    pub entries: Vec<PolicyEntry>,
    /// Raw objects of what is in `policies`: what a restart without an API server goes on from.
    pub last_good: BTreeMap<PolicyKey, Value>,
}

impl Judge {
    /// One that has judged nothing yet and tells `progress` of each document.
    #[must_use]
    pub fn telling(progress: Progress) -> Self {
        Self { progress, ..Self::default() }
    }

    /// Judges what is new in `desired` and forgets what is gone from it.
    pub fn judge(&mut self, desired: &Desired) -> Judged {
        self.judged.retain(|key, _| desired.policies.contains_key(key));
        self.good.retain(|key, _| desired.policies.contains_key(key));
        let mut judged = Judged::default();
        judged.entries.extend(desired.unreadable.iter().map(|(file, why)| node_state::unreadable(file, why)));
        for (key, object) in &desired.policies {
            let verdict = match self.judged.get(key) {
                Some((known, verdict)) if known == object => verdict.clone(),
                _ => {
                    self.progress.step();
                    let verdict = judge(object);
                    self.judged.insert(key.clone(), (object.clone(), verdict.clone()));
                    verdict
                }
            };
            // The same name on another object: what the deleted one asked for is not this one's older version.
            let uid = identify(object).1;
            if self.good.get(key).is_some_and(|(_, policy)| policy.uid != uid) {
                self.good.remove(key);
            }
            if let Some(policy) = &verdict.policy {
                self.good.insert(key.clone(), (object.clone(), policy.clone()));
            } else {
                let (id, uid, generation) = identify(object);
                let mut entry = node_state::refused(&id, &uid, generation, &verdict.faults);
                entry.generation_in_force = self.good.get(key).map(|(_, policy)| policy.generation);
                judged.entries.push(entry);
            }
            self.admit(key, object, desired, &mut judged);
        }
        judged.policies.sort_by(|a, b| a.id.cmp(&b.id));
        judged
    }

    /// Makes `documents` the accepted versions of an earlier run: what is in force of a policy that is refused now.
    pub fn restore(&mut self, documents: &BTreeMap<PolicyKey, Value>) {
        for (key, object) in documents {
            self.progress.step();
            if let Some(policy) = judge(object).policy {
                self.good.insert(key.clone(), (object.clone(), policy));
            }
        }
    }

    fn admit(&self, key: &str, object: &Value, desired: &Desired, judged: &mut Judged) {
        let Some((good, policy)) = self.good.get(key) else { return };
        judged.last_good.insert(key.to_owned(), good.clone());
        if let Some(selector) = &policy.node_selector {
            match &desired.node_labels {
                None => {
                    let why = "its nodeSelector waits for this node's labels, which the operator has not told yet";
                    judged.entries.push(node_state::pending(policy, why));
                    return;
                }
                Some(labels) if !selector.matches(labels) => return,
                Some(_) => {}
            }
        }
        let mut policy = policy.clone();
        if suspended(object) {
            policy.mode = Mode::Monitor;
        }
        judged.policies.push(policy);
    }
}

/// Break-glass: the annotation puts a policy into monitor mode without being judged.
fn suspended(object: &Value) -> bool {
    let annotation = object.get("metadata").and_then(|m| m.get("annotations")).and_then(|a| a.get(SUSPEND_ANNOTATION));
    annotation.and_then(Value::as_str) == Some("true")
}

/// Who an object says it is, as far as it says so.
fn identify(object: &Value) -> (PolicyId, String, i64) {
    let meta = |key: &str| object.get("metadata").and_then(|meta| meta.get(key));
    let text = |key| meta(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let namespaced = object.get("kind").and_then(Value::as_str) == Some("TracingPolicyNamespaced");
    let id = PolicyId {
        kind: if namespaced { PolicyKind::Namespaced } else { PolicyKind::Cluster },
        namespace: if namespaced { text("namespace") } else { String::new() },
        name: text("name"),
    };
    (id, text("uid"), meta("generation").and_then(Value::as_i64).unwrap_or_default())
}
