//! The API server as the source: watches on the two kinds of policy, on this node's pods and on this node's own state.
//!
//! Policies are read as raw objects: one that is nonsense must not keep the others from being loaded.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::Value;
use tokio::sync::watch;

use super::{Desired, last_known::LastKnown};
use crate::pods::PodInfo;

/// The annotation in which the operator tells an agent the labels of its node: agents may not read nodes.
pub const NODE_LABELS: &str = "stockade.dev/node-labels";
/// The annotation that asks an agent to detach and unpin everything.
pub const DETACH: &str = "stockade.dev/detach";

/// How long the API server may be away at the start before the last known policies are used.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the cluster has said so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterView {
    /// What is to be made true.
    pub desired: Desired,
    /// Whether every list has been read once: until then nothing may be removed.
    pub complete: bool,
    /// Whether `desired.policies` are those of an earlier run.
    pub last_known: bool,
    /// The agent was asked to detach.
    pub detach: bool,
}

enum Change {
    Policy(PolicyKind, watcher::Event<DynamicObject>),
    Pod(Box<watcher::Event<Pod>>),
    State(watcher::Event<DynamicObject>),
}

/// The two kinds, in the order in which they are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PolicyKind {
    Cluster,
    Namespaced,
}

impl PolicyKind {
    fn resource(self) -> ApiResource {
        match self {
            Self::Cluster => resource("cilium.io", "v1alpha1", "TracingPolicy", "tracingpolicies"),
            Self::Namespaced => {
                resource("cilium.io", "v1alpha1", "TracingPolicyNamespaced", "tracingpoliciesnamespaced")
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Cluster => "TracingPolicy",
            Self::Namespaced => "TracingPolicyNamespaced",
        }
    }
}

/// A resource by all its names: no discovery is needed, so that the start does not depend on it.
#[must_use]
pub fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// Follows the cluster for the node `node` until nobody listens.
pub async fn follow(client: Client, node: &str, last_known: &LastKnown, view: watch::Sender<ClusterView>) {
    let mut changes = futures::stream::select_all(streams(&client, node));
    let mut lists = Lists::default();
    let patience = tokio::time::sleep(PATIENCE);
    tokio::pin!(patience);
    loop {
        tokio::select! {
            change = changes.next() => {
                let Some(change) = change else { return };
                view.send_modify(|view| apply(view, &mut lists, change));
            }
            () = &mut patience, if !lists.policies_complete() && !view.borrow().last_known => {
                let policies = last_known.load();
                tracing::warn!(policies = policies.len(), "the API server did not answer; going on with the last known policies");
                view.send_modify(|view| {
                    view.desired.policies = policies;
                    view.last_known = true;
                });
            }
        }
        if view.is_closed() {
            return;
        }
    }
}

fn streams(client: &Client, node: &str) -> Vec<BoxStream<'static, Change>> {
    let policies = [PolicyKind::Cluster, PolicyKind::Namespaced].map(|kind| {
        let api = Api::<DynamicObject>::all_with(client.clone(), &kind.resource());
        endless(api, watcher::Config::default(), move |event| Change::Policy(kind, event))
    });
    let pods = Api::<Pod>::all(client.clone());
    let pods = endless(pods, watcher::Config::default().fields(&format!("spec.nodeName={node}")), |event| {
        Change::Pod(Box::new(event))
    });
    let state = resource("stockade.dev", "v1alpha1", "NodePolicyState", "nodepolicystates");
    let state = Api::<DynamicObject>::all_with(client.clone(), &state);
    let state = endless(state, watcher::Config::default().fields(&format!("metadata.name={node}")), Change::State);
    policies.into_iter().chain([pods, state]).collect()
}

/// A watch that survives every error: they are logged, backed off from, and the list is read again.
fn endless<K>(
    api: Api<K>,
    config: watcher::Config,
    change: impl Fn(watcher::Event<K>) -> Change + Send + 'static,
) -> BoxStream<'static, Change>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    watcher(api, config)
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .inspect_err(|error| tracing::warn!(%error, "a watch was interrupted and goes on"))
        .filter_map(|event| std::future::ready(event.ok()))
        .map(change)
        .boxed()
}

/// What the server's lists hold, and which of them have been read once.
#[derive(Default)]
struct Lists {
    cluster: Listing<Value>,
    namespaced: Listing<Value>,
    pods: Listing<PodInfo>,
    state: bool,
}

impl Lists {
    fn policies_complete(&self) -> bool {
        self.cluster.complete && self.namespaced.complete
    }
}

/// One list: a new reading of it replaces what was known only once it is complete.
struct Listing<V> {
    complete: bool,
    known: BTreeMap<String, V>,
    arriving: BTreeMap<String, V>,
}

impl<V> Default for Listing<V> {
    fn default() -> Self {
        Self { complete: false, known: BTreeMap::new(), arriving: BTreeMap::new() }
    }
}

impl<V> Listing<V> {
    fn fold<K>(&mut self, event: watcher::Event<K>, entry: impl Fn(&K) -> Option<(String, V)>) {
        match event {
            watcher::Event::Init => self.arriving.clear(),
            watcher::Event::InitApply(object) => self.arriving.extend(entry(&object)),
            watcher::Event::InitDone => {
                self.known = std::mem::take(&mut self.arriving);
                self.complete = true;
            }
            watcher::Event::Apply(object) => self.known.extend(entry(&object)),
            watcher::Event::Delete(object) => {
                if let Some((key, _)) = entry(&object) {
                    self.known.remove(&key);
                }
            }
        }
    }
}

fn apply(view: &mut ClusterView, lists: &mut Lists, change: Change) {
    match change {
        Change::Policy(kind, event) => {
            let listing = match kind {
                PolicyKind::Cluster => &mut lists.cluster,
                PolicyKind::Namespaced => &mut lists.namespaced,
            };
            listing.fold(event, |object| Some((policy_key(kind, object), raw(kind, object))));
            if lists.policies_complete() {
                let both = lists.cluster.known.iter().chain(&lists.namespaced.known);
                view.desired.policies = both.map(|(key, policy)| (key.clone(), policy.clone())).collect();
                view.last_known = false;
            }
        }
        Change::Pod(event) => {
            lists.pods.fold(*event, |pod| PodInfo::from_pod(pod).map(|pod| (pod.uid.clone(), pod)));
            view.desired.pods.clone_from(&lists.pods.known);
        }
        Change::State(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => read_state(view, &object),
        Change::State(watcher::Event::InitDone) => lists.state = true,
        Change::State(watcher::Event::Init | watcher::Event::Delete(_)) => {}
    }
    view.complete = lists.policies_complete() && lists.pods.complete && lists.state;
}

fn policy_key(kind: PolicyKind, object: &DynamicObject) -> String {
    format!("{}/{}/{}", kind.name(), object.namespace().unwrap_or_default(), object.name_any())
}

/// The object as it would be in a file; a watch leaves out the kind of listed objects.
fn raw(kind: PolicyKind, object: &DynamicObject) -> Value {
    let mut raw = serde_json::to_value(object).unwrap_or_default();
    if let Some(map) = raw.as_object_mut() {
        map.insert("apiVersion".into(), "cilium.io/v1alpha1".into());
        map.insert("kind".into(), kind.name().into());
        map.remove("status");
    }
    raw
}

fn read_state(view: &mut ClusterView, object: &DynamicObject) {
    let annotations = object.annotations();
    view.detach = annotations.contains_key(DETACH);
    if let Some(labels) = annotations.get(NODE_LABELS) {
        match serde_json::from_str(labels) {
            Ok(labels) => view.desired.node_labels = Some(labels),
            Err(error) => tracing::warn!(%error, "the annotation {NODE_LABELS} is no JSON object of strings"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str) -> DynamicObject {
        DynamicObject::new(name, &PolicyKind::Cluster.resource()).data(serde_json::json!({"spec": {"kprobes": []}}))
    }

    fn cluster(event: watcher::Event<DynamicObject>) -> Change {
        Change::Policy(PolicyKind::Cluster, event)
    }

    #[test]
    fn a_list_that_is_being_read_again_removes_nothing_before_it_is_complete() {
        let (mut view, mut lists) = (ClusterView::default(), Lists::default());
        for event in [watcher::Event::Init, watcher::Event::InitApply(policy("a")), watcher::Event::InitDone] {
            apply(&mut view, &mut lists, cluster(event));
        }
        apply(&mut view, &mut lists, Change::Policy(PolicyKind::Namespaced, watcher::Event::InitDone));
        assert_eq!(view.desired.policies.keys().collect::<Vec<_>>(), ["TracingPolicy//a"]);
        apply(&mut view, &mut lists, cluster(watcher::Event::Init));
        apply(&mut view, &mut lists, cluster(watcher::Event::InitApply(policy("b"))));
        assert_eq!(view.desired.policies.keys().collect::<Vec<_>>(), ["TracingPolicy//a"]);
        apply(&mut view, &mut lists, cluster(watcher::Event::InitDone));
        assert_eq!(view.desired.policies.keys().collect::<Vec<_>>(), ["TracingPolicy//b"]);
        assert!(!view.complete);
    }

    #[test]
    fn last_known_policies_stay_whole_until_both_lists_are_complete() {
        let (mut view, mut lists) = (ClusterView::default(), Lists::default());
        view.last_known = true;
        view.desired.policies.insert("TracingPolicyNamespaced/shop/old".into(), Value::Null);
        for event in [watcher::Event::Init, watcher::Event::InitApply(policy("a")), watcher::Event::InitDone] {
            apply(&mut view, &mut lists, cluster(event));
        }
        assert_eq!(view.desired.policies.keys().collect::<Vec<_>>(), ["TracingPolicyNamespaced/shop/old"]);
        for event in [watcher::Event::Init, watcher::Event::InitDone] {
            apply(&mut view, &mut lists, Change::Policy(PolicyKind::Namespaced, event));
        }
        assert_eq!(view.desired.policies.keys().collect::<Vec<_>>(), ["TracingPolicy//a"]);
        assert!(!view.last_known);
    }

    #[test]
    fn the_kind_that_a_list_leaves_out_is_put_back() {
        let raw = raw(PolicyKind::Cluster, &policy("a"));
        assert_eq!(raw["kind"], "TracingPolicy");
        assert_eq!(raw["apiVersion"], "cilium.io/v1alpha1");
    }
}
