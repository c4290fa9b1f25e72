//! What the cluster holds: policies, nodes, what nodes say, and their heartbeats. Followed on every replica.
//!
//! Policies and node states are read as raw objects: one that is nonsense must not keep the others from being seen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::Value;
use stockade_crds::names::{NODE_POLICY_STATE_KIND, NODE_POLICY_STATE_PLURAL, STOCKADE_GROUP, VERSION};
use stockade_crds::{NodePolicyStateStatus, PolicyKind};
use tokio::sync::Notify;

use crate::liveness::Heartbeat;

/// A policy as it is stored.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Its kind.
    pub kind: PolicyKind,
    /// The whole object.
    pub object: DynamicObject,
}

impl Policy {
    /// The object as a file would have it; a list leaves out the kind.
    #[must_use]
    pub fn raw(&self) -> Value {
        let mut raw = serde_json::to_value(&self.object).unwrap_or_default();
        if let Some(map) = raw.as_object_mut() {
            map.insert("apiVersion".into(), stockade_crds::names::POLICY_API_VERSION.into());
            map.insert("kind".into(), self.kind.kind().into());
            map.remove("status");
        }
        raw
    }
}

/// A node's state object.
#[derive(Debug, Clone)]
pub struct NodeState {
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// What the agent says; what cannot be read is as if it had not been said.
    pub status: NodePolicyStateStatus,
}

/// Everything that is known of the cluster.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// By kind, namespace and name.
    pub policies: BTreeMap<(PolicyKind, String, String), Policy>,
    /// By name.
    pub nodes: BTreeMap<String, PartialObjectMeta<Node>>,
    /// By node.
    pub states: BTreeMap<String, NodeState>,
    /// The agents' Leases, by node.
    pub leases: BTreeMap<String, Heartbeat>,
    complete: [bool; 5],
}

impl View {
    /// Whether every list has been read once.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete.iter().all(|complete| *complete)
    }
}

/// The view, shared; told when it changes.
#[derive(Debug, Clone, Default)]
pub struct SharedView {
    view: Arc<Mutex<View>>,
    changed: Arc<Notify>,
}

impl SharedView {
    /// Looks at the view; nothing may be awaited meanwhile.
    pub fn with<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        look(&self.view.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Completes at the next change after the last time it was awaited.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Follows the cluster for ever. One task a replica may wait for changes with [`Self::changed`].
    pub async fn follow(self, client: Client, namespace: String) {
        let mut changes = futures::stream::select_all(streams(&client, &namespace));
        let mut arriving = Arriving::default();
        while let Some(change) = changes.next().await {
            {
                let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
                apply(&mut view, &mut arriving, change);
            }
            self.changed.notify_one();
        }
    }
}

enum Change {
    Policy(PolicyKind, watcher::Event<DynamicObject>),
    Node(watcher::Event<PartialObjectMeta<Node>>),
    State(watcher::Event<DynamicObject>),
    Lease(watcher::Event<Lease>),
}

/// `NodePolicyState` for raw access.
#[must_use]
pub fn node_state_resource() -> ApiResource {
    let kind = GroupVersionKind::gvk(STOCKADE_GROUP, VERSION, NODE_POLICY_STATE_KIND);
    ApiResource::from_gvk_with_plural(&kind, NODE_POLICY_STATE_PLURAL)
}

fn streams(client: &Client, namespace: &str) -> Vec<BoxStream<'static, Change>> {
    let config = || watcher::Config::default().any_semantic();
    let policies = PolicyKind::ALL.map(|kind| {
        let api = Api::<DynamicObject>::all_with(client.clone(), &kind.api_resource());
        endless(watcher(api, config()), move |event| Change::Policy(kind, event))
    });
    let nodes = endless(watcher(Api::<PartialObjectMeta<Node>>::all(client.clone()), config()), Change::Node);
    let states = Api::<DynamicObject>::all_with(client.clone(), &node_state_resource());
    let states = endless(watcher(states, config()), Change::State);
    let leases = endless(watcher(Api::<Lease>::namespaced(client.clone(), namespace), config()), Change::Lease);
    policies.into_iter().chain([nodes, states, leases]).collect()
}

/// A watch that survives every error: logged, backed off from, listed again.
fn endless<K, S>(stream: S, change: impl Fn(watcher::Event<K>) -> Change + Send + 'static) -> BoxStream<'static, Change>
where
    K: kube::Resource + Clone + Send + 'static,
    S: futures::Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + 'static,
{
    stream
        .default_backoff()
        .modify(|object| object.meta_mut().managed_fields = None)
        .inspect_err(|error| tracing::warn!(%error, "a watch was interrupted and goes on"))
        .filter_map(|event| std::future::ready(event.ok()))
        .map(change)
        .boxed()
}

/// What has arrived of lists that are being read again.
#[derive(Default)]
struct Arriving {
    policies: [BTreeMap<(PolicyKind, String, String), Policy>; 2],
    nodes: BTreeMap<String, PartialObjectMeta<Node>>,
    states: BTreeMap<String, NodeState>,
    leases: BTreeMap<String, Heartbeat>,
}

fn apply(view: &mut View, arriving: &mut Arriving, change: Change) {
    let View { policies, nodes, states, leases, complete } = view;
    let [clustered, namespaced, nodes_done, states_done, leases_done] = complete;
    match change {
        Change::Policy(kind, event) => {
            let [first, second] = &mut arriving.policies;
            let (arriving, done) = match kind {
                PolicyKind::Cluster => (first, clustered),
                PolicyKind::Namespaced => (second, namespaced),
            };
            // Both kinds share a map: a new list replaces only its own.
            let mut own: BTreeMap<_, _> = std::mem::take(policies);
            let others = own.extract_if(.., |(of, _, _), _| *of != kind).collect::<BTreeMap<_, _>>();
            *done |= fold(&mut own, arriving, event, |object, _| {
                let key = (kind, object.namespace().unwrap_or_default(), object.name_any());
                (key, Policy { kind, object: object.clone() })
            });
            own.extend(others);
            *policies = own;
        }
        Change::Node(event) => {
            *nodes_done |= fold(nodes, &mut arriving.nodes, event, |node, _| (node.name_any(), node.clone()));
        }
        Change::State(event) => {
            *states_done |= fold(states, &mut arriving.states, event, |state, _| (state.name_any(), node_state(state)));
        }
        Change::Lease(event) => {
            let (now, found) = (Instant::now(), !*leases_done);
            *leases_done |= fold(leases, &mut arriving.leases, event, |lease, known| {
                let name = lease.name_any();
                let heartbeat = Heartbeat::of(lease, known.get(&name), found, now);
                (name, heartbeat)
            });
        }
    }
}

fn node_state(object: &DynamicObject) -> NodeState {
    // Without a status the agent has not spoken yet.
    let status = object.data.get("status").cloned().unwrap_or_else(|| serde_json::json!({}));
    let status = serde_json::from_value(status).unwrap_or_else(|error| {
        tracing::error!(%error, node = object.name_any(), "a NodePolicyState cannot be read and counts as empty");
        NodePolicyStateStatus::default()
    });
    NodeState { annotations: object.annotations().clone(), status }
}

/// Folds one event; a list replaces what was known once it is complete. `entry` sees what was known. Says whether a list has
/// been completed.
fn fold<K, N: Ord, V>(
    known: &mut BTreeMap<N, V>,
    arriving: &mut BTreeMap<N, V>,
    event: watcher::Event<K>,
    entry: impl Fn(&K, &BTreeMap<N, V>) -> (N, V),
) -> bool {
    match event {
        watcher::Event::Init => arriving.clear(),
        watcher::Event::InitApply(object) => arriving.extend([entry(&object, known)]),
        watcher::Event::InitDone => {
            *known = std::mem::take(arriving);
            return true;
        }
        watcher::Event::Apply(object) => {
            let (name, value) = entry(&object, known);
            known.insert(name, value);
        }
        watcher::Event::Delete(object) => {
            let (name, _) = entry(&object, known);
            known.remove(&name);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(kind: PolicyKind, name: &str) -> DynamicObject {
        DynamicObject::new(name, &kind.api_resource())
    }

    #[test]
    fn a_new_list_of_one_kind_leaves_the_other_alone() {
        let (mut view, mut arriving) = (View::default(), Arriving::default());
        let mut see = |kind, event| apply(&mut view, &mut arriving, Change::Policy(kind, event));
        see(PolicyKind::Namespaced, watcher::Event::Apply(policy(PolicyKind::Namespaced, "kept")));
        see(PolicyKind::Cluster, watcher::Event::Apply(policy(PolicyKind::Cluster, "old")));
        see(PolicyKind::Cluster, watcher::Event::Init);
        see(PolicyKind::Cluster, watcher::Event::InitApply(policy(PolicyKind::Cluster, "new")));
        see(PolicyKind::Cluster, watcher::Event::InitDone);
        let names: Vec<_> = view.policies.keys().map(|(_, _, name)| name.as_str()).collect();
        assert_eq!(names, ["new", "kept"]);
        assert!(!view.is_complete());
    }

    #[test]
    fn a_lease_that_is_listed_again_unchanged_is_as_old_as_before() {
        let (mut view, mut arriving) = (View::default(), Arriving::default());
        let mut lease = Lease::default();
        lease.metadata.name = Some("n".into());
        let mut see = |event| {
            apply(&mut view, &mut arriving, Change::Lease(event));
            view.leases.get("n").cloned()
        };
        see(watcher::Event::Init);
        see(watcher::Event::InitApply(lease.clone()));
        let first = see(watcher::Event::InitDone);
        assert!(first.is_some());
        see(watcher::Event::Init);
        see(watcher::Event::InitApply(lease.clone()));
        assert_eq!(see(watcher::Event::InitDone), first);
        assert_eq!(see(watcher::Event::Apply(lease)), first);
    }

    #[test]
    fn a_state_that_is_nonsense_counts_as_empty() {
        let mut object = DynamicObject::new("n", &node_state_resource());
        object.data = serde_json::json!({"status": {"policies": "none"}});
        assert!(node_state(&object).status.policies.is_empty());
    }
}
