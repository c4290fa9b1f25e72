//! Puts the parts together: in a cluster, or on one node alone.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use serde_json::json;
use stockade_crds::{NodePolicyState, NodePolicyStateStatus, Reason};
use stockade_enforcer_kernel::Progress;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::agent::Agent;
use crate::args::Args;
use crate::cgroup_watch;
use crate::cgroups::CgroupTree;
use crate::detached::Detached;
use crate::driver::{self, Ended, POLICIES, Wiring};
use crate::engine::{Node, holds_anything};
use crate::events::directory::Directory;
use crate::events::export::Exporter;
use crate::exporting;
use crate::health::{Health, Readiness};
use crate::identity::{self, NodeIdentity, TOKEN_PATH};
use crate::judged::Judge;
use crate::kernel::Kernel;
use crate::lease;
use crate::metrics::Metrics;
use crate::population::Known;
use crate::publish;
use crate::runtimes::{self, Handlers, Runtimes};
use crate::served_crds;
use crate::sink::Sink;
use crate::source::cluster::{self, ClusterView, Following};
use crate::source::dir::{self, Folder};
use crate::source::last_known::LastKnown;

/// How long the thread that writes events has to write the last ones.
const LAST_EVENTS: Duration = Duration::from_secs(4);

/// What runs in either case.
struct Common {
    node: Arc<Mutex<Node>>,
    judge: Judge,
    last_known: LastKnown,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    progress: Progress,
    trees: watch::Receiver<CgroupTree>,
    known: Arc<Known>,
    exporting: std::thread::JoinHandle<()>,
    runtimes: Runtimes,
    stop: CancellationToken,
}

impl Common {
    fn start(args: &Args, node_name: &str, in_cluster: bool) -> anyhow::Result<Self> {
        let sink = Sink::open(args).with_context(|| format!("events cannot be written to {}", args.events))?;
        let stop = CancellationToken::new();
        stop_on_signal(stop.clone());
        let readiness = Readiness::default();
        readiness.wait_for(POLICIES, "the desired policies are not known yet");
        let metrics = Arc::new(Metrics::default());
        let progress = Progress::default();
        serve_health(args, &readiness, &metrics, &progress);
        let (tree, trees) = watch::channel(CgroupTree::default());
        tokio::spawn(cgroup_watch::follow(args.cgroup_root.clone(), tree));
        let node = Arc::new(Mutex::new(Node::start(args.pin_root.clone(), args.state_dir.clone(), progress.clone())));
        let known = Arc::new(Known::default());
        let exporter = Exporter::new(node_name.to_owned(), args.event_kinds, Directory::new(in_cluster));
        let last_known = LastKnown::in_state_dir(&args.state_dir);
        let mut judge = Judge::telling(progress.clone());
        judge.restore(&last_known.policies().unwrap_or_default());
        let exporting = {
            let (node, known, stop) = (Arc::clone(&node), Arc::clone(&known), stop.clone());
            let metrics = Arc::clone(&metrics);
            std::thread::spawn(move || exporting::run(&node, exporter, sink, &known, &metrics, &stop))
        };
        let runtimes = Runtimes { also_host: args.host_kernel_runtimes.iter().cloned().collect() };
        Ok(Self { runtimes, node, judge, last_known, readiness, metrics, progress, trees, known, exporting, stop })
    }

    /// Drives the agent until the process shall end.
    async fn drive(
        self,
        view: watch::Receiver<ClusterView>,
        handlers: watch::Receiver<Handlers>,
        status: watch::Sender<Option<NodePolicyStateStatus>>,
    ) -> anyhow::Result<Ended> {
        tokio::spawn(tell_exporter(Arc::clone(&self.known), view.clone(), self.trees.clone()));
        let wiring = Wiring {
            view,
            trees: self.trees,
            handlers,
            status,
            last_known: self.last_known,
            readiness: self.readiness,
            metrics: self.metrics,
            progress: self.progress.clone(),
            stop: self.stop.clone(),
        };
        let ended = driver::drive(Agent::new(self.node, self.judge).with_runtimes(self.runtimes), wiring).await;
        self.progress.rest();
        self.stop.cancel();
        let exporting = self.exporting;
        let joined = tokio::task::spawn_blocking(move || exporting.join());
        match tokio::time::timeout(LAST_EVENTS, joined).await {
            Ok(joined) => anyhow::ensure!(joined?.is_ok(), "the thread that writes events has panicked"),
            Err(_) => tracing::error!("the last events could not be written in time: nobody takes them"),
        }
        anyhow::ensure!(ended != Ended::SourceGone, "what follows the desired policies has ended");
        Ok(ended)
    }
}

/// The agent in a cluster.
pub async fn in_cluster(args: Args) -> anyhow::Result<()> {
    let identity = identity::node_of_token(Path::new(TOKEN_PATH))?;
    let holder = std::env::var("POD_NAME").unwrap_or_else(|_| identity.name.clone());
    // Watches wait for as long as nothing happens; a request that nobody answers must end.
    let mut config = kube::Config::infer().await.context("no API server is configured")?;
    let watches = Client::try_from(config.clone())?;
    config.read_timeout = Some(Duration::from_secs(10));
    config.connect_timeout = Some(Duration::from_secs(5));
    let requests = Client::try_from(config)?;
    let states: Api<NodePolicyState> = Api::all(requests.clone());

    let detached = Detached::in_state_dir(&args.state_dir);
    if detached.is_of(&holder).context("whether this pod has detached already cannot be read")? {
        let (readiness, progress) = (Readiness::default(), Progress::default());
        progress.rest();
        serve_health(&args, &readiness, &Arc::default(), &progress);
        return stay_detached(&args, &states, &identity, &readiness).await;
    }
    let common = Common::start(&args, &identity.name, true)?;
    let (node, last_known, readiness) = (Arc::clone(&common.node), common.last_known.clone(), common.readiness.clone());
    let (view, views) = watch::channel(ClusterView::default());
    let vanished = Arc::new(Notify::new());
    let following =
        Following { last_known: last_known.clone(), readiness: readiness.clone(), vanished: Arc::clone(&vanished) };
    let name = identity.name.clone();
    tokio::spawn(async move { cluster::follow(watches, &name, following, view).await });
    tokio::spawn(served_crds::follow(requests.clone(), readiness.clone()));
    let (handler, handlers) = watch::channel(Handlers::default());
    tokio::spawn(runtimes::follow(requests.clone(), views.clone(), handler));
    let leases: Api<Lease> = Api::namespaced(requests, &args.namespace);
    let beat = {
        let (name, holder, stop) = (identity.name.clone(), holder.clone(), common.stop.clone());
        let (node, progress) = (Arc::clone(&common.node), common.progress.clone());
        let at_work = move || progress.stuck_for().is_none() && is_in_charge(&node);
        tokio::spawn(async move { lease::beat(leases, &name, &holder, at_work, stop).await })
    };
    let (status, statuses) = watch::channel(None);
    let publishing = tokio::spawn(publish::publish(states.clone(), identity.clone(), statuses, vanished));

    let ended = common.drive(views, handlers, status).await;
    if !matches!(ended, Ok(Ended::Detach)) {
        beat.await?;
        return ended.map(drop);
    }
    publishing.abort();
    // Noted first: an agent that is killed from here on goes on with detaching, not with attaching.
    detached.note(&holder).context("that this pod detaches could not be noted")?;
    last_known.forget().context("the last known policies could not be removed")?;
    let detach = move || node.lock().unwrap_or_else(PoisonError::into_inner).detach();
    tokio::task::spawn_blocking(detach).await??;
    stay_detached(&args, &states, &identity, &readiness).await
}

/// Gives the answer to being asked to detach, and attaches nothing again for as long as this pod is there.
async fn stay_detached(
    args: &Args,
    states: &Api<NodePolicyState>,
    identity: &NodeIdentity,
    readiness: &Readiness,
) -> anyhow::Result<()> {
    const WHY: &str = "everything is detached, as was asked for; another pod of the enforcer attaches it again";
    readiness.wait_for("detached", WHY);
    // An agent that was killed while it detached has left the rest to this one.
    if holds_anything(&args.pin_root) {
        let (pin_root, state_dir) = (args.pin_root.clone(), args.state_dir.clone());
        tokio::task::spawn_blocking(move || Node::start(pin_root, state_dir, Progress::default()).detach()).await??;
    }
    // The answer: this node's object goes, because nothing is in force here any more.
    match states.delete(&identity.name, &kube::api::DeleteParams::default()).await {
        Err(kube::Error::Api(error)) if error.code == 404 => {}
        answer => drop(answer.context("the answer could not be given")?),
    }
    tracing::info!("everything is detached and unpinned");
    wait_for_end().await;
    Ok(())
}

/// The agent alone, from a folder.
pub async fn alone(args: Args, policy_dir: std::path::PathBuf) -> anyhow::Result<()> {
    let node_name = args.node_name.clone().unwrap_or_else(host_name);
    let last_known = LastKnown::in_state_dir(&args.state_dir).policies().unwrap_or_default();
    let mut folder = Folder::new(policy_dir.clone(), last_known);
    folder.read().with_context(|| format!("the policies in {} cannot be read", policy_dir.display()))?;
    let common = Common::start(&args, &node_name, false)?;
    let (view, views) = watch::channel(ClusterView::default());
    let (found, mut founds) = mpsc::channel(4);
    tokio::spawn(dir::watch(folder, found));
    tokio::spawn(async move {
        while let Some(desired) = founds.recv().await {
            if view.send(ClusterView { desired, complete: true, ..ClusterView::default() }).is_err() {
                return;
            }
        }
    });
    let (status, statuses) = watch::channel(None);
    tokio::spawn(show_status(statuses, node_name, args.state_dir.join("status.json")));
    // Without a cluster there are no classes.
    let (_, handlers) = watch::channel(Handlers::default());
    common.drive(views, handlers, status).await.map(drop)
}

/// Detaches what any agent has left, without being one.
pub fn detach(args: &Args) -> anyhow::Result<()> {
    Node::start(args.pin_root.clone(), args.state_dir.clone(), Progress::default()).detach()?;
    LastKnown::in_state_dir(&args.state_dir).forget()?;
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
        // Whole or not at all: whoever reads it meanwhile reads the one before.
        let part = file.with_extension("json.part");
        let written = async {
            if let Some(folder) = file.parent() {
                tokio::fs::create_dir_all(folder).await?;
            }
            tokio::fs::write(&part, format!("{line:#}\n")).await?;
            tokio::fs::rename(&part, &file).await
        };
        if let Err(error) = written.await {
            tracing::error!(%error, file = %file.display(), "the status file could not be written");
        }
        // What the node can do does not change: in the file, not on every line.
        if let Some(state) = line.get_mut("node_policy_state").and_then(serde_json::Value::as_object_mut) {
            state.remove("facts");
        }
        // Whether anybody reads it is not the agent's concern.
        if let Err(error) = writeln!(std::io::stdout().lock(), "{line}") {
            tracing::debug!(%error, "the status could not be shown");
        }
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

fn serve_health(args: &Args, readiness: &Readiness, metrics: &Arc<Metrics>, progress: &Progress) {
    let health = Health { readiness: readiness.clone(), metrics: Arc::clone(metrics), progress: progress.clone() };
    let listen = args.listen;
    tokio::spawn(async move {
        if let Err(error) = health.serve(listen).await {
            tracing::error!(%error, %listen, "health and metrics are not served");
        }
    });
}

fn stop_on_signal(stop: CancellationToken) {
    tokio::spawn(async move {
        wait_for_end().await;
        tracing::info!("ending; what is pinned stays in force");
        stop.cancel();
    });
}

/// Whether no other enforcer holds this node. One that is busy with its kernel holds it itself.
fn is_in_charge(node: &Mutex<Node>) -> bool {
    node.try_lock().map_or(true, |node| node.down().is_none_or(|trouble| trouble.reason != Reason::SecondEnforcer))
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
