//! Puts the parts together: in a cluster, or on one node alone.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use serde_json::json;
use stockade_crds::{NodePolicyState, NodePolicyStateStatus};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::agent::Agent;
use crate::args::Args;
use crate::cgroup_watch;
use crate::cgroups::CgroupTree;
use crate::driver::{self, Ended, POLICIES, Wiring};
use crate::engine::Node;
use crate::events::directory::Directory;
use crate::events::export::Exporter;
use crate::exporting;
use crate::health::{Health, Readiness};
use crate::identity::{self, NodeIdentity, TOKEN_PATH};
use crate::judged::Judge;
use crate::lease;
use crate::metrics::Metrics;
use crate::population::Known;
use crate::publish;
use crate::sink::Sink;
use crate::source::cluster::{self, ClusterView};
use crate::source::dir;
use crate::source::last_known::LastKnown;

/// What runs in either case.
struct Common {
    node: Arc<Mutex<Node>>,
    judge: Judge,
    last_known: LastKnown,
    readiness: Readiness,
    trees: watch::Receiver<CgroupTree>,
    known: Arc<Known>,
    exporting: std::thread::JoinHandle<()>,
    stop: CancellationToken,
}

impl Common {
    fn start(args: &Args, node_name: &str, in_cluster: bool) -> Self {
        let stop = CancellationToken::new();
        let readiness = Readiness::default();
        readiness.wait_for(POLICIES, "the desired policies are not known yet");
        let metrics = Arc::new(Metrics::default());
        tokio::spawn(serve_health(args.listen, Health { readiness: readiness.clone(), metrics: Arc::clone(&metrics) }));
        let (tree, trees) = watch::channel(CgroupTree::default());
        tokio::spawn(follow_cgroups(args.cgroup_root.clone(), tree));
        let node = Arc::new(Mutex::new(Node::start(args.pin_root.clone(), args.state_dir.clone())));
        let known = Arc::new(Known::default());
        let exporter = Exporter::new(node_name.to_owned(), args.event_kinds, Directory::new(in_cluster));
        let sink = Sink::open(args);
        let last_known = LastKnown::in_state_dir(&args.state_dir);
        let mut judge = Judge::default();
        judge.restore(&last_known.load());
        let exporting = {
            let (node, known, stop) = (Arc::clone(&node), Arc::clone(&known), stop.clone());
            std::thread::spawn(move || exporting::run(&node, exporter, sink, &known, &metrics, &stop))
        };
        Self { node, judge, last_known, readiness, trees, known, exporting, stop }
    }

    /// Drives the agent until the process shall end.
    async fn drive(
        self,
        view: watch::Receiver<ClusterView>,
        status: watch::Sender<Option<NodePolicyStateStatus>>,
    ) -> anyhow::Result<(Ended, Arc<Mutex<Node>>)> {
        tokio::spawn(tell_exporter(Arc::clone(&self.known), view.clone(), self.trees.clone()));
        let wiring = Wiring {
            view,
            trees: self.trees,
            status,
            last_known: self.last_known,
            readiness: self.readiness,
            stop: self.stop.clone(),
        };
        let ended = driver::drive(Agent::new(Arc::clone(&self.node), self.judge), wiring).await;
        self.stop.cancel();
        let exporting = self.exporting;
        let joined = tokio::task::spawn_blocking(move || exporting.join()).await?;
        anyhow::ensure!(joined.is_ok(), "the thread that writes events has panicked");
        Ok((ended, self.node))
    }
}

/// The agent in a cluster.
pub async fn in_cluster(args: Args) -> anyhow::Result<()> {
    let identity = identity::node_of_token(Path::new(TOKEN_PATH))?;
    let common = Common::start(&args, &identity.name, true);
    stop_on_signal(common.stop.clone());
    // Watches wait for as long as nothing happens; a request that nobody answers must end.
    let mut config = kube::Config::infer().await.context("no API server is configured")?;
    let watches = Client::try_from(config.clone())?;
    config.read_timeout = Some(Duration::from_secs(10));
    let requests = Client::try_from(config)?;

    let (view, views) = watch::channel(ClusterView::default());
    let last_known = common.last_known.clone();
    let name = identity.name.clone();
    tokio::spawn(async move { cluster::follow(watches, &name, &last_known, view).await });
    let holder = std::env::var("POD_NAME").unwrap_or_else(|_| identity.name.clone());
    let leases: Api<Lease> = Api::namespaced(requests.clone(), &args.namespace);
    let beat = {
        let (name, stop) = (identity.name.clone(), common.stop.clone());
        tokio::spawn(async move { lease::beat(leases, &name, &holder, stop).await })
    };
    let (status, statuses) = watch::channel(None);
    let states: Api<NodePolicyState> = Api::all(requests);
    let publishing = tokio::spawn(publish::publish(states.clone(), identity.clone(), statuses));

    let stop = common.stop.clone();
    let (ended, node) = common.drive(views, status).await?;
    match ended {
        Ended::Stopped => beat.await?,
        Ended::Detach => {
            publishing.abort();
            detach_and_answer(node, &states, &identity).await?;
            // The answer stands; nothing may be attached again before the pod is gone.
            wait_for_end().await;
        }
    }
    stop.cancel();
    Ok(())
}

/// The answer to being asked to detach: this node's object goes, because nothing is in force here any more.
async fn detach_and_answer(
    node: Arc<Mutex<Node>>,
    states: &Api<NodePolicyState>,
    identity: &NodeIdentity,
) -> anyhow::Result<()> {
    let node = Arc::into_inner(node).context("the kernel engine is still in use")?;
    tokio::task::spawn_blocking(move || node.into_inner().unwrap_or_else(PoisonError::into_inner).detach()).await??;
    tracing::info!("everything is detached and unpinned");
    match states.delete(&identity.name, &kube::api::DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
        Err(error) => Err(error).context("the answer could not be given"),
    }
}

/// The agent alone, from a folder.
pub async fn alone(args: Args, policy_dir: std::path::PathBuf) -> anyhow::Result<()> {
    let node_name = args.node_name.clone().unwrap_or_else(host_name);
    let common = Common::start(&args, &node_name, false);
    stop_on_signal(common.stop.clone());
    let (view, views) = watch::channel(ClusterView::default());
    let (found, mut founds) = mpsc::channel(4);
    dir::read(&policy_dir).with_context(|| format!("the policies in {} cannot be read", policy_dir.display()))?;
    tokio::spawn(async move {
        if let Err(error) = dir::watch(policy_dir, found).await {
            tracing::error!(%error, "the policy folder is no longer followed");
        }
    });
    tokio::spawn(async move {
        while let Some((desired, unreadable)) = founds.recv().await {
            for (path, why) in unreadable {
                tracing::error!("{}: {why}", path.display());
            }
            let complete = ClusterView { desired, complete: true, ..ClusterView::default() };
            if view.send(complete).is_err() {
                return;
            }
        }
    });
    let (status, statuses) = watch::channel(None);
    tokio::spawn(show_status(statuses, node_name, args.state_dir.join("status.json")));
    common.drive(views, status).await.map(drop)
}

/// Detaches what any agent has left, without being one.
pub fn detach(args: &Args) -> anyhow::Result<()> {
    Node::start(args.pin_root.clone(), args.state_dir.clone()).detach()?;
    println!("everything of Stockade is detached from this node's kernel and unpinned");
    Ok(())
}

/// Status as a line on stdout and as a file, whenever it changes.
async fn show_status(
    mut statuses: watch::Receiver<Option<NodePolicyStateStatus>>,
    node: String,
    file: std::path::PathBuf,
) {
    let mut shown = None;
    while statuses.changed().await.is_ok() {
        let status = statuses.borrow_and_update().clone();
        if status.is_none() || status == shown {
            continue;
        }
        let mut line = json!({"node_name": node, "node_policy_state": status});
        if let Err(error) = tokio::fs::write(&file, format!("{line:#}\n")).await {
            tracing::error!(%error, file = %file.display(), "the status file could not be written");
        }
        // What the node can do does not change: in the file, not on every line.
        if let Some(state) = line.get_mut("node_policy_state").and_then(serde_json::Value::as_object_mut) {
            state.remove("facts");
        }
        println!("{line}");
        shown = status;
    }
}

async fn tell_exporter(
    known: Arc<Known>,
    mut view: watch::Receiver<ClusterView>,
    mut trees: watch::Receiver<CgroupTree>,
) {
    loop {
        known.set_pods(view.borrow_and_update().desired.pods.clone());
        known.set_tree(trees.borrow_and_update().clone());
        let changed = tokio::select! {
            changed = view.changed() => changed,
            changed = trees.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

async fn serve_health(listen: std::net::SocketAddr, health: Health) {
    if let Err(error) = health.serve(listen).await {
        tracing::error!(%error, %listen, "health and metrics are not served");
    }
}

async fn follow_cgroups(root: std::path::PathBuf, trees: watch::Sender<CgroupTree>) {
    if let Err(error) = cgroup_watch::follow(root, trees).await {
        tracing::error!(%error, "cgroups are no longer followed: new pods are held to the strictest set");
    }
}

fn stop_on_signal(stop: CancellationToken) {
    tokio::spawn(async move {
        wait_for_end().await;
        tracing::info!("ending; what is pinned stays in force");
        stop.cancel();
    });
}

/// SIGTERM or SIGINT.
async fn wait_for_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
