//! What the leader writes: statuses of policies, and on node states the condition `AgentReady` and the node's labels.
//!
//! Nothing is written when nothing changed, a policy at most every few seconds, and all of them together at a bounded rate,
//! failures before successes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, json};
use stockade_crds::names::{OPERATOR_MANAGER, POLICY_API_VERSION, STOCKADE_API_VERSION, SUSPEND_ANNOTATION};
use stockade_crds::{ConditionStatus, ConditionType, PolicyKind, PolicyStatus, Reason};
use stockade_policy::judge;

use crate::liveness::{self, Kubelets};
use crate::rollup::{Document, Input, Liveness, Node, roll_up};
use crate::view::{NodeState, Policy, SharedView, View, node_state_resource};

/// The annotation in which an agent is told the labels of its node.
pub const NODE_LABELS: &str = "stockade.dev/node-labels";

/// Time passes for Leases and young nodes even when nothing changes.
const TICK: Duration = Duration::from_secs(2);
/// Changes within this time are looked at together.
const COALESCE: Duration = Duration::from_millis(600);
/// A policy that is rolling out is written at most this often.
const ROLLING: Duration = Duration::from_secs(5);
/// A policy is otherwise written at most this often, unless its Ready changes.
const SETTLED: Duration = Duration::from_secs(60);
/// Policies written in one round: with what is written coming back as a change, five a second.
const ROUND: usize = 3;

type Key = (PolicyKind, String, String);

/// The leader's writer.
pub struct Writer {
    client: Client,
    recorder: Recorder,
    kubelets: Kubelets,
    /// Judgements by policy: of which version, and what.
    documents: BTreeMap<Key, (Version, Document)>,
    written: BTreeMap<Key, (Instant, PolicyStatus)>,
    /// When the API server last refused a status.
    refused: BTreeMap<Key, Instant>,
}

/// What a judgement depends on. A policy that is deleted and made anew between two rounds begins at generation 1 again, so
/// the uid is part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    uid: Option<String>,
    generation: Option<i64>,
    suspended: bool,
}

impl Version {
    fn of(object: &DynamicObject) -> Self {
        Self {
            uid: object.metadata.uid.clone(),
            generation: object.metadata.generation,
            suspended: object.annotations().get(SUSPEND_ANNOTATION).is_some_and(|value| value == "true"),
        }
    }
}

/// A status that is to be written.
struct Due {
    key: Key,
    policy: Policy,
    status: PolicyStatus,
    was: Option<PolicyStatus>,
}

impl Writer {
    /// A writer that has written nothing.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let reporter = Reporter { controller: "stockade-operator".into(), instance: None };
        let recorder = Recorder::new(client.clone(), reporter);
        let (documents, written, refused) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { client, recorder, kubelets: Kubelets::default(), documents, written, refused }
    }

    /// Writes for as long as this replica leads.
    pub async fn run(mut self, view: SharedView) {
        loop {
            if view.with(View::is_complete) {
                self.round(&view).await;
            }
            tokio::select! {
                () = view.changed() => tokio::time::sleep(COALESCE).await,
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    async fn round(&mut self, view: &SharedView) {
        let now = Timestamp::now();
        let stale = view.with(|view| liveness::stale(view, Instant::now()));
        self.kubelets.look(&self.client, view, &stale).await;
        let (mut due, states) = view.with(|view| (self.due(view, now), self.states_due(view, now)));
        due.sort_by_key(|due| rank(self.refused.contains_key(&due.key), &due.status));
        for due in due.into_iter().take(ROUND) {
            self.write(due).await;
        }
        for (node, patch, subresource) in states {
            self.write_state(&node, &patch, subresource).await;
        }
    }

    /// The policies whose status differs from what is stored and may be written now.
    fn due(&mut self, view: &View, now: Timestamp) -> Vec<Due> {
        self.documents.retain(|key, _| view.policies.contains_key(key));
        self.written.retain(|key, _| view.policies.contains_key(key));
        self.refused.retain(|key, _| view.policies.contains_key(key));
        let nodes = self.nodes(view, now);
        let mut due = Vec::new();
        for (key, policy) in &view.policies {
            let document = self.document(key, policy);
            let own = with_entries(&nodes, view, key, policy);
            let was = stored_status(&policy.object);
            let input = Input {
                generation: policy.object.metadata.generation.unwrap_or_default(),
                deleting: policy.object.metadata.deletion_timestamp.is_some(),
                document,
                nodes: &own,
                previous: was.as_ref(),
                now,
            };
            let Some(status) = roll_up(&input) else { continue };
            if was.as_ref() != Some(&status) && self.may_write(key, &status, was.as_ref()) {
                due.push(Due { key: key.clone(), policy: policy.clone(), status, was });
            }
        }
        due
    }

    fn may_write(&self, key: &Key, status: &PolicyStatus, was: Option<&PolicyStatus>) -> bool {
        if self.refused.get(key).is_some_and(|at| at.elapsed() < ROLLING) {
            return false;
        }
        let Some((at, written)) = self.written.get(key) else { return true };
        // What was written may not have come back through the watch yet. Later it was changed by somebody else.
        if written == status {
            return at.elapsed() >= SETTLED;
        }
        at.elapsed() >= pause(status, was)
    }

    fn document(&mut self, key: &Key, policy: &Policy) -> Document {
        let version = Version::of(&policy.object);
        if let Some((of, document)) = self.documents.get(key)
            && *of == version
        {
            return document.clone();
        }
        let judgement = judge(&policy.raw());
        let document = match &judgement.policy {
            Some(validated) => Document::accepted(validated, version.suspended),
            None => Document::Invalid(judgement.faults),
        };
        self.documents.insert(key.clone(), (version, document.clone()));
        document
    }

    fn nodes(&self, view: &View, now: Timestamp) -> Vec<Node> {
        let at = Instant::now();
        let node = |(name, node): (&String, &kube::api::PartialObjectMeta<_>)| Node {
            name: name.clone(),
            labels: node.labels().clone(),
            covered: view.states.contains_key(name),
            joining: liveness::joining(view, name, now),
            liveness: self.kubelets.liveness(view, name, at),
            entry: None,
        };
        view.nodes.iter().map(node).collect()
    }

    async fn write(&mut self, due: Due) {
        let Due { key, policy, status, was } = due;
        let (kind, namespace, name) = &key;
        let api = policies(&self.client, *kind, namespace);
        let patch = json!({
            "apiVersion": POLICY_API_VERSION, "kind": kind.kind(), "metadata": {"name": name}, "status": status,
        });
        match api.patch_status(name, &PatchParams::apply(OPERATOR_MANAGER).force(), &Patch::Apply(&patch)).await {
            Ok(_) => {
                self.tell(&policy, &status, was.as_ref()).await;
                self.refused.remove(&key);
                self.written.insert(key, (Instant::now(), status));
            }
            Err(error) => {
                tracing::warn!(%error, %kind, namespace, name, "a policy's status could not be written");
                self.refused.insert(key, Instant::now());
            }
        }
    }

    /// An Event for each transition of `Ready`.
    async fn tell(&self, policy: &Policy, status: &PolicyStatus, was: Option<&PolicyStatus>) {
        let Some(now) = condition(status, ConditionType::Ready) else { return };
        if was.and_then(|was| condition(was, ConditionType::Ready)).map(|c| (&c.status, &c.reason))
            == Some((&now.status, &now.reason))
        {
            return;
        }
        let normal = now.status == ConditionStatus::True.as_str() || now.reason == Reason::Progressing.as_str();
        let event = Event {
            type_: if normal { EventType::Normal } else { EventType::Warning },
            reason: now.reason.clone(),
            note: Some(now.message.clone()),
            action: "RollUp".into(),
            secondary: None,
        };
        let reference = policy.object.object_ref(&policy.kind.api_resource());
        if let Err(error) = self.recorder.publish(&event, &reference).await {
            tracing::warn!(%error, "an Event could not be recorded");
        }
    }

    /// What is to be written on node states: (node, patch, whether of the status).
    fn states_due(&self, view: &View, now: Timestamp) -> Vec<(String, Value, bool)> {
        let (mut due, at) = (Vec::new(), Instant::now());
        for (name, state) in &view.states {
            let Some(node) = view.nodes.get(name) else { continue };
            let labels = serde_json::to_string(node.labels()).unwrap_or_default();
            if state.annotations.get(NODE_LABELS) != Some(&labels) {
                due.push((name.clone(), json!({"metadata": {"annotations": {(NODE_LABELS): labels}}}), false));
            }
            if let Some(condition) = agent_ready(state, self.kubelets.liveness(view, name, at), now) {
                due.push((name.clone(), json!({"status": {"conditions": [condition]}}), true));
            }
        }
        due
    }

    async fn write_state(&self, node: &str, patch: &Value, of_status: bool) {
        let states = Api::<DynamicObject>::all_with(self.client.clone(), &node_state_resource());
        let mut object = json!({
            "apiVersion": STOCKADE_API_VERSION,
            "kind": stockade_crds::names::NODE_POLICY_STATE_KIND,
            "metadata": {"name": node},
        });
        merge(&mut object, patch);
        let params = PatchParams::apply(OPERATOR_MANAGER).force();
        let result = if of_status {
            states.patch_status(node, &params, &Patch::Apply(&object)).await
        } else {
            states.patch(node, &params, &Patch::Apply(&object)).await
        };
        match result {
            Ok(_) if of_status => self.tell_of_node(node, patch).await,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, node, "a node's state could not be written"),
        }
    }

    /// What a node causes is one Event on the Node, not one on each of its policies.
    async fn tell_of_node(&self, node: &str, patch: &Value) {
        let Some(ready) = patch.pointer("/status/conditions/0") else { return };
        let text = |field: &str| ready.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let alive = text("status") == ConditionStatus::True.as_str();
        let event = Event {
            type_: if alive { EventType::Normal } else { EventType::Warning },
            reason: text("reason"),
            note: Some(text("message")),
            action: "Heartbeat".into(),
            secondary: None,
        };
        let reference = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(node.into()),
            ..ObjectReference::default()
        };
        if let Err(error) = self.recorder.publish(&event, &reference).await {
            tracing::warn!(%error, node, "an Event could not be recorded");
        }
    }
}

fn merge(object: &mut Value, patch: &Value) {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(object.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (object, patch) => *object = patch.clone(),
    }
}

fn policies(client: &Client, kind: PolicyKind, namespace: &str) -> Api<DynamicObject> {
    match kind {
        PolicyKind::Cluster => Api::all_with(client.clone(), &kind.api_resource()),
        PolicyKind::Namespaced => Api::namespaced_with(client.clone(), namespace, &kind.api_resource()),
    }
}

/// The nodes with what each says of this policy: of this very object, not of a namesake that was deleted.
fn with_entries(nodes: &[Node], view: &View, key: &Key, policy: &Policy) -> Vec<Node> {
    let (kind, namespace, name) = key;
    let uid = policy.object.metadata.uid.as_deref().unwrap_or_default();
    let entry = |state: &NodeState| {
        let mut entries = state.status.policies.iter();
        entries
            .find(|entry| {
                entry.kind == kind.kind()
                    && entry.name == *name
                    && entry.namespace.as_deref().unwrap_or_default() == namespace
                    && entry.uid == uid
            })
            .cloned()
    };
    let with = |node: &Node| Node { entry: view.states.get(&node.name).and_then(entry), ..node.clone() };
    nodes.iter().map(with).collect()
}

fn stored_status(object: &DynamicObject) -> Option<PolicyStatus> {
    let status: PolicyStatus = serde_json::from_value(object.data.get("status")?.clone()).ok()?;
    // The schema's default is not something that was written.
    status.observed_generation.is_some().then_some(status)
}

fn condition(status: &PolicyStatus, kind: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

/// What is written first: failures, because they are what somebody waits to hear of. What was refused comes last, so that a
/// few objects whose status the API server never takes do not use up every round.
fn rank(refused: bool, status: &PolicyStatus) -> (bool, bool) {
    (refused, ready_status(status) == Some(ConditionStatus::True))
}

/// How long after one write the next may follow.
fn pause(status: &PolicyStatus, was: Option<&PolicyStatus>) -> Duration {
    let same =
        was.is_some_and(|was| ready(was) == ready(status) && was.observed_generation == status.observed_generation);
    match (same, is_rolling(status) || was.is_some_and(is_rolling)) {
        (false, _) => Duration::ZERO,
        (true, true) => ROLLING,
        (true, false) => SETTLED,
    }
}

/// Nodes are still to say what became of it, also when others have failed already.
fn is_rolling(status: &PolicyStatus) -> bool {
    is_true(status, ConditionType::Reconciling) || status.nodes.is_some_and(|nodes| nodes.pending > 0)
}

fn ready(status: &PolicyStatus) -> Option<(&str, &str)> {
    condition(status, ConditionType::Ready).map(|c| (c.status.as_str(), c.reason.as_str()))
}

fn ready_status(status: &PolicyStatus) -> Option<ConditionStatus> {
    condition(status, ConditionType::Ready).map(|c| ConditionStatus::parse(&c.status))
}

fn is_true(status: &PolicyStatus, kind: ConditionType) -> bool {
    condition(status, kind).is_some_and(|c| c.status == ConditionStatus::True.as_str())
}

/// The condition `AgentReady`, when it is not what is stored: Unknown when the Lease ran out, as for kubelets.
fn agent_ready(state: &NodeState, liveness: Liveness, now: Timestamp) -> Option<Condition> {
    let (status, reason, message) = match liveness {
        Liveness::Alive => (ConditionStatus::True, Reason::AgentRunning, "the enforcer renews its Lease"),
        Liveness::AgentDown => {
            (ConditionStatus::Unknown, Reason::AgentDown, "the enforcer's Lease ran out, the kubelet's is fresh")
        }
        Liveness::Unreachable => {
            (ConditionStatus::Unknown, Reason::NodesUnreachable, "the enforcer's and the kubelet's Lease ran out")
        }
    };
    let stored = state.status.conditions.iter().find(|c| c.type_ == ConditionType::AgentReady.as_str());
    if stored.is_some_and(|c| c.status == status.as_str() && c.reason == reason.as_str()) {
        return None;
    }
    let same = stored.filter(|c| c.status == status.as_str());
    Some(Condition {
        type_: ConditionType::AgentReady.as_str().into(),
        status: status.as_str().into(),
        reason: reason.as_str().into(),
        message: message.into(),
        last_transition_time: same.map_or(Time(now), |c| c.last_transition_time.clone()),
        observed_generation: None,
    })
}

#[cfg(test)]
mod tests {
    use stockade_crds::policy_status::NodeCounts;

    use super::*;

    fn status(ready: (ConditionStatus, Reason), third: Option<ConditionType>, pending: i32) -> PolicyStatus {
        let condition = |kind: ConditionType, status: ConditionStatus, reason: Reason| Condition {
            type_: kind.as_str().into(),
            status: status.as_str().into(),
            reason: reason.as_str().into(),
            message: String::new(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: Some(1),
        };
        let mut conditions = vec![condition(ConditionType::Ready, ready.0, ready.1)];
        conditions.extend(third.map(|third| condition(third, ConditionStatus::True, ready.1)));
        PolicyStatus {
            observed_generation: Some(1),
            nodes: Some(NodeCounts { pending, ..NodeCounts::default() }),
            conditions,
            ..PolicyStatus::default()
        }
    }

    #[test]
    fn a_policy_that_is_made_anew_is_another_version() {
        let mut object = DynamicObject::new("p", &PolicyKind::Cluster.api_resource());
        object.metadata.uid = Some("first".into());
        object.metadata.generation = Some(1);
        let first = Version::of(&object);
        assert_eq!(first, Version::of(&object.clone()));
        object.metadata.uid = Some("second".into());
        assert_ne!(first, Version::of(&object), "both are at generation 1");
        object.metadata.uid = Some("first".into());
        object.annotations_mut().insert(SUSPEND_ANNOTATION.into(), "true".into());
        assert_ne!(first, Version::of(&object), "an annotation moves no generation");
    }

    #[test]
    fn failures_come_first_and_what_was_refused_last() {
        let good = status((ConditionStatus::True, Reason::Enforced), None, 0);
        let bad = status((ConditionStatus::False, Reason::Invalid), Some(ConditionType::Stalled), 0);
        let mut due = [("refused", rank(true, &bad)), ("good", rank(false, &good)), ("bad", rank(false, &bad))];
        due.sort_by_key(|(_, rank)| *rank);
        assert_eq!(due.map(|(name, _)| name), ["bad", "good", "refused"]);
    }

    #[test]
    fn what_somebody_waits_for_is_written_at_once_and_numbers_alone_rarely() {
        let enforced = status((ConditionStatus::True, Reason::Enforced), None, 0);
        let failed =
            |pending| status((ConditionStatus::False, Reason::HookUnavailable), Some(ConditionType::Stalled), pending);
        assert_eq!(pause(&enforced, None), Duration::ZERO);
        assert_eq!(pause(&enforced, Some(&failed(0))), Duration::ZERO);
        assert_eq!(pause(&enforced, Some(&enforced)), SETTLED);
        assert_eq!(pause(&failed(0), Some(&failed(0))), SETTLED);
        assert_eq!(pause(&failed(0), Some(&failed(1))), ROLLING, "the last node has spoken, and others wait for it");
        let edited = PolicyStatus { observed_generation: Some(2), ..failed(0) };
        assert_eq!(pause(&edited, Some(&failed(0))), Duration::ZERO);
    }
}
