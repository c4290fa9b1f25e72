//! The API server as the source: watches on the two kinds of policy, on this node's pods and on this node's own state.
//!
//! Policies are read as raw objects: one that is nonsense must not keep the others from being loaded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::Value;
use tokio::sync::{Notify, watch};

use super::{Desired, last_known::LastKnown};
use crate::health::Readiness;
use crate::pods::PodInfo;

/// The annotation in which the operator tells an agent the labels of its node: agents may not read nodes.
pub const NODE_LABELS: &str = "stockade.dev/node-labels";
/// The annotation that, when it is `true`, asks an agent to detach and unpin everything.
pub const DETACH: &str = "stockade.dev/detach";

/// How long the API server may be away at the start before the last known policies are used.
const PATIENCE: Duration = Duration::from_secs(10);
/// A watch that has reported no trouble for so long has none; it tries again at least every 30 s.
const QUIET: Duration = Duration::from_secs(90);

/// What the cluster has said so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterView {
    /// What is to be made true.
    pub desired: Desired,
    /// Whether every list has been read once: until then nothing may be removed.
    pub complete: bool,
    /// Whether some of `desired` is of an earlier run, because the API server has not said it yet.
    pub last_known: bool,
    /// The agent was asked to detach.
    pub detach: bool,
}

enum Change {
    Policy(PolicyKind, watcher::Event<DynamicObject>),
    Pod(Box<watcher::Event<Pod>>),
    State(watcher::Event<DynamicObject>),
    Trouble(Trouble),
}

impl Change {
    /// The watch that it is of.
    fn what(&self) -> &'static str {
        let [cluster, namespaced, pods, state] = WATCHES;
        match self {
            Self::Policy(PolicyKind::Cluster, _) => cluster,
            Self::Policy(PolicyKind::Namespaced, _) => namespaced,
            Self::Pod(_) => pods,
            Self::State(_) => state,
            Self::Trouble(trouble) => trouble.what,
        }
    }
}

/// Why a watch does not go on.
struct Trouble {
    what: &'static str,
    message: String,
    /// The server has answered that it will not: waiting alone does not help.
    refused: bool,
}

/// The watches, as readiness names them.
const WATCHES: [&str; 4] =
    ["watch of tracingpolicies", "watch of tracingpoliciesnamespaced", "watch of pods", "watch of nodepolicystates"];

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

/// What following needs and tells besides the view.
pub struct Following {
    /// What an earlier run knew.
    pub last_known: LastKnown,
    /// Told which watch does not work, and why.
    pub readiness: Readiness,
    /// Woken when this node's own state object has vanished.
    pub vanished: Arc<Notify>,
}

/// Follows the cluster for the node `node` until nobody listens.
pub async fn follow(client: Client, node: &str, with: Following, view: watch::Sender<ClusterView>) {
    let mut changes = futures::stream::select_all(streams(&client, node));
    let mut lists = Lists::default();
    let patience = tokio::time::sleep(PATIENCE);
    tokio::pin!(patience);
    let mut patient = true;
    let mut look = tokio::time::interval(QUIET / 6);
    loop {
        tokio::select! {
            _ = look.tick() => take_back(&mut lists, &with.readiness, Instant::now()),
            change = changes.next() => {
                let Some(change) = change else { return };
                take(change, &mut lists, &with, &view);
            }
            () = &mut patience, if patient => {
                patient = false;
                if !view.borrow().complete {
                    view.send_if_modified(|view| use_last_known(view, &lists, &with.last_known));
                }
            }
        }
        if view.is_closed() {
            return;
        }
    }
}

fn take(change: Change, lists: &mut Lists, with: &Following, view: &watch::Sender<ClusterView>) {
    if let Change::Trouble(trouble) = &change {
        // A list that was read once stays good for a while; a refusal is for somebody to put right.
        if trouble.refused || !lists.complete(trouble.what) {
            lists.troubled.insert(trouble.what, Instant::now());
            with.readiness.wait_for(trouble.what, trouble.message.clone());
        }
        return;
    }
    let what = change.what();
    let was_there = !lists.state.known.is_empty();
    view.send_if_modified(|view| apply(view, lists, change));
    if was_there && lists.state.known.is_empty() {
        with.vanished.notify_one();
    }
    if lists.heard(what) {
        lists.troubled.remove(what);
        with.readiness.ready(what);
    }
}

/// A watch that was refused and is not refused any more says nothing until something happens: no news for longer than a
/// watch waits between attempts is good news.
fn take_back(lists: &mut Lists, readiness: &Readiness, now: Instant) {
    let passed = |at: &Instant| now.duration_since(*at) >= QUIET;
    let quiet: Vec<_> = lists.troubled.iter().filter(|(_, at)| passed(at)).map(|(what, _)| *what).collect();
    for what in quiet {
        if lists.complete(what) {
            lists.troubled.remove(what);
            readiness.ready(what);
        }
    }
}

/// Fills in what the API server has not said from what an earlier run knew. What is in force stays as it is when nothing
/// is known: an empty list that nobody has sent must not remove anything.
fn use_last_known(view: &mut ClusterView, lists: &Lists, last_known: &LastKnown) -> bool {
    let population = last_known.population();
    let policies = if lists.policies_complete() { Some(view.desired.policies.clone()) } else { last_known.policies() };
    let pods = if lists.pods.complete {
        Some(lists.pods.known.clone())
    } else {
        population.as_ref().map(|population| population.pods.clone())
    };
    let (Some(policies), Some(pods)) = (policies, pods) else {
        tracing::warn!(
            "the API server has not told everything and nothing is known from before: what is in force stays"
        );
        return false;
    };
    tracing::warn!(
        policies = policies.len(),
        pods = pods.len(),
        "the API server did not answer; going on with the last known"
    );
    view.desired.policies = policies;
    view.desired.pods = pods;
    if view.desired.node_labels.is_none() {
        view.desired.node_labels = population.and_then(|population| population.node_labels);
    }
    view.last_known = true;
    true
}

fn streams(client: &Client, node: &str) -> Vec<BoxStream<'static, Change>> {
    let [cluster, namespaced, of_pods, of_states] = WATCHES;
    let policies = [(PolicyKind::Cluster, cluster), (PolicyKind::Namespaced, namespaced)].map(|(kind, what)| {
        let api = Api::<DynamicObject>::all_with(client.clone(), &kind.resource());
        endless(api, watcher::Config::default(), what, move |event| Change::Policy(kind, event))
    });
    let pods = Api::<Pod>::all(client.clone());
    let pods = endless(pods, watcher::Config::default().fields(&format!("spec.nodeName={node}")), of_pods, |event| {
        Change::Pod(Box::new(event))
    });
    let state = resource("stockade.dev", "v1alpha1", "NodePolicyState", "nodepolicystates");
    let state = Api::<DynamicObject>::all_with(client.clone(), &state);
    let own = watcher::Config::default().fields(&format!("metadata.name={node}"));
    let state = endless(state, own, of_states, Change::State);
    policies.into_iter().chain([pods, state]).collect()
}

/// A watch that survives every error: they are logged and told, backed off from, and the list is read again.
fn endless<K>(
    api: Api<K>,
    config: watcher::Config,
    what: &'static str,
    change: impl Fn(watcher::Event<K>) -> Change + Send + 'static,
) -> BoxStream<'static, Change>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    watcher(api, config)
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .map(move |event| match event {
            Ok(event) => change(event),
            Err(error) => {
                tracing::warn!(%error, "the {what} was interrupted and goes on");
                Change::Trouble(Trouble { what, refused: refused(&error), message: error.to_string() })
            }
        })
        .boxed()
}

/// Whether the server has said no: no right, no such kind.
fn refused(error: &watcher::Error) -> bool {
    let code = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code,
        _ => 0,
    };
    matches!(code, 401 | 403 | 404)
}

/// What the server's lists hold, and which of them have been read once.
#[derive(Default)]
struct Lists {
    cluster: Listing<Value>,
    namespaced: Listing<Value>,
    pods: Listing<PodInfo>,
    state: Listing<()>,
    /// Watches that readiness waits for, and when they were last in trouble.
    troubled: BTreeMap<&'static str, Instant>,
}

impl Lists {
    fn policies_complete(&self) -> bool {
        self.cluster.complete && self.namespaced.complete
    }

    /// Whether the list of this watch has been read once.
    fn complete(&self, what: &str) -> bool {
        let [cluster, namespaced, pods, _] = WATCHES;
        match what {
            _ if what == cluster => self.cluster.complete,
            _ if what == namespaced => self.namespaced.complete,
            _ if what == pods => self.pods.complete,
            _ => self.state.complete,
        }
    }

    /// Whether the last that was heard from this watch is a whole list or what came after one.
    fn heard(&self, what: &str) -> bool {
        let [cluster, namespaced, pods, _] = WATCHES;
        match what {
            _ if what == cluster => self.cluster.current,
            _ if what == namespaced => self.namespaced.current,
            _ if what == pods => self.pods.current,
            _ => self.state.current,
        }
    }
}

/// One list: a new reading of it replaces what was known only once it is complete.
struct Listing<V> {
    complete: bool,
    /// Not being read again at the moment.
    current: bool,
    known: BTreeMap<String, V>,
    arriving: BTreeMap<String, V>,
}

impl<V> Default for Listing<V> {
    fn default() -> Self {
        Self { complete: false, current: false, known: BTreeMap::new(), arriving: BTreeMap::new() }
    }
}

impl<V> Listing<V> {
    /// Takes in an event; says whether what is known may have changed.
    fn fold<K>(&mut self, event: watcher::Event<K>, entry: impl Fn(&K) -> Option<(String, V)>) -> bool {
        let settled = !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_));
        self.current = settled;
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
        settled
    }
}

/// Takes in a change; says whether the view may be another one.
fn apply(view: &mut ClusterView, lists: &mut Lists, change: Change) -> bool {
    let settled = match change {
        Change::Policy(kind, event) => {
            let listing = match kind {
                PolicyKind::Cluster => &mut lists.cluster,
                PolicyKind::Namespaced => &mut lists.namespaced,
            };
            let settled = listing.fold(event, |object| Some((policy_key(kind, object), raw(kind, object))));
            if settled && lists.policies_complete() {
                let both = lists.cluster.known.iter().chain(&lists.namespaced.known);
                view.desired.policies = both.map(|(key, policy)| (key.clone(), policy.clone())).collect();
            }
            settled
        }
        Change::Pod(event) => {
            let settled = lists.pods.fold(*event, |pod| PodInfo::from_pod(pod).map(|pod| (pod.uid.clone(), pod)));
            // Until then the pods of an earlier run stand: half a list would take pods out of their classes.
            if settled && lists.pods.complete {
                view.desired.pods.clone_from(&lists.pods.known);
            }
            settled
        }
        Change::State(event) => {
            if let watcher::Event::Apply(object) | watcher::Event::InitApply(object) = &event {
                read_state(view, object);
            }
            lists.state.fold(event, |object| Some((object.name_any(), ())))
        }
        Change::Trouble(_) => false,
    };
    view.complete = lists.policies_complete() && lists.pods.complete && lists.state.complete;
    view.last_known &= !view.complete;
    settled
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
    view.detach = annotations.get(DETACH).is_some_and(|value| value == "true");
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
        assert!(view.last_known, "the pods are still those of an earlier run");
        apply(&mut view, &mut lists, Change::Pod(Box::new(watcher::Event::InitDone)));
        apply(&mut view, &mut lists, Change::State(watcher::Event::InitDone));
        assert!(view.complete && !view.last_known);
    }

    fn pod(uid: &str) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {"name": uid, "namespace": "shop", "uid": uid}})).unwrap()
    }

    #[test]
    fn pods_of_an_earlier_run_stand_until_the_list_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let kept = LastKnown::in_state_dir(dir.path());
        let (mut view, mut lists) = (ClusterView::default(), Lists::default());
        assert!(!use_last_known(&mut view, &lists, &kept), "nothing kept: what is in force stays");
        assert!(!view.last_known);
        kept.save(&BTreeMap::from([("TracingPolicy//a".to_owned(), Value::Null)])).unwrap();
        assert!(!use_last_known(&mut view, &lists, &kept), "policies without pods would catch every pod");
        let known = PodInfo::from_pod(&pod("old")).unwrap();
        let node_labels = Some(BTreeMap::from([("zone".to_owned(), "a".to_owned())]));
        let population =
            super::super::last_known::LastPopulation { pods: BTreeMap::from([("old".into(), known)]), node_labels };
        kept.save_population(&population).unwrap();
        assert!(use_last_known(&mut view, &lists, &kept));
        assert_eq!(view.desired.node_labels, population.node_labels);
        apply(&mut view, &mut lists, Change::Pod(Box::new(watcher::Event::Init)));
        apply(&mut view, &mut lists, Change::Pod(Box::new(watcher::Event::InitApply(pod("new")))));
        assert_eq!(view.desired.pods.keys().collect::<Vec<_>>(), ["old"]);
        apply(&mut view, &mut lists, Change::Pod(Box::new(watcher::Event::InitDone)));
        assert_eq!(view.desired.pods.keys().collect::<Vec<_>>(), ["new"]);
        assert!(view.last_known && view.desired.policies.contains_key("TracingPolicy//a"));
    }

    #[test]
    fn a_refused_watch_is_told_and_taken_back_when_the_list_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let with = Following {
            last_known: LastKnown::in_state_dir(dir.path()),
            readiness: Readiness::default(),
            vanished: Arc::default(),
        };
        let mut lists = Lists::default();
        let (view, _views) = watch::channel(ClusterView::default());
        let trouble =
            |refused| Change::Trouble(Trouble { what: WATCHES[2], message: "pods is forbidden".into(), refused });
        take(trouble(false), &mut lists, &with, &view);
        assert_eq!(with.readiness.reasons(), "watch of pods: pods is forbidden\n");
        take(Change::Pod(Box::new(watcher::Event::Init)), &mut lists, &with, &view);
        assert!(!with.readiness.reasons().is_empty(), "a list that was asked for is not an answer");
        take(Change::Pod(Box::new(watcher::Event::InitDone)), &mut lists, &with, &view);
        assert_eq!(with.readiness.reasons(), "");
        take(trouble(false), &mut lists, &with, &view);
        assert_eq!(with.readiness.reasons(), "", "an interruption passes");
        take(trouble(true), &mut lists, &with, &view);
        assert_eq!(with.readiness.reasons(), "watch of pods: pods is forbidden\n");
        take(Change::State(watcher::Event::InitDone), &mut lists, &with, &view);
        assert!(!with.readiness.reasons().is_empty(), "what another watch says is no answer");
        take_back(&mut lists, &with.readiness, Instant::now());
        assert!(!with.readiness.reasons().is_empty());
        take_back(&mut lists, &with.readiness, Instant::now() + QUIET);
        assert_eq!(with.readiness.reasons(), "");
    }

    #[test]
    fn a_refusal_is_told_from_an_interruption() {
        let status = |code| Box::new(kube::core::Status { code, ..kube::core::Status::default() });
        assert!(refused(&watcher::Error::InitialListFailed(kube::Error::Api(status(403)))));
        assert!(!refused(&watcher::Error::WatchError(status(410))));
        assert!(!refused(&watcher::Error::NoResourceVersion));
    }

    #[tokio::test]
    async fn an_own_object_that_vanished_is_told_also_by_a_new_list() {
        let dir = tempfile::tempdir().unwrap();
        let with = Following {
            last_known: LastKnown::in_state_dir(dir.path()),
            readiness: Readiness::default(),
            vanished: Arc::default(),
        };
        let mut lists = Lists::default();
        let (view, _views) = watch::channel(ClusterView::default());
        for event in [watcher::Event::Apply(policy("n1")), watcher::Event::Init, watcher::Event::InitDone] {
            take(Change::State(event), &mut lists, &with, &view);
        }
        with.vanished.notified().await;
    }

    #[test]
    fn only_a_true_demand_detaches() {
        let (mut view, mut lists) = (ClusterView::default(), Lists::default());
        for (value, detach) in [("false", false), ("true", true), ("", false)] {
            let mut state = policy("n1");
            state.annotations_mut().insert(DETACH.into(), value.into());
            apply(&mut view, &mut lists, Change::State(watcher::Event::Apply(state)));
            assert_eq!(view.detach, detach, "{value:?}");
        }
    }

    #[test]
    fn the_kind_that_a_list_leaves_out_is_put_back() {
        let raw = raw(PolicyKind::Cluster, &policy("a"));
        assert_eq!(raw["kind"], "TracingPolicy");
        assert_eq!(raw["apiVersion"], "cilium.io/v1alpha1");
    }
}
