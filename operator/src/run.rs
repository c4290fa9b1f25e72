//! Puts the parts together. Every replica follows the cluster and serves the webhook; the elected one writes.
//!
//! Losing the election ends the leader's tasks, never the process: its webhook goes on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use stockade_crds::names::OPERATOR_MANAGER;
use stockade_webhooks::{Nodes, Settings};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::args::{Action, Args, Certificates};
use crate::facts::facts;
use crate::health::{Checks, Health};
use crate::metrics::Metrics;
use crate::secret::{self, Keeper, Known};
use crate::serve::{self, Serving};
use crate::taint;
use crate::view::SharedView;
use crate::writer::Writer;

/// The Lease of the election.
const ELECTION: &str = "stockade-operator";
/// Where cert-manager's certificate is mounted.
const CERTIFICATE_FILES: &str = "/etc/stockade/certificates";
/// The election is joined again after this long.
const REJOIN: Duration = Duration::from_secs(2);
/// Node facts and metrics are brought up to date this often.
const REFRESH: Duration = Duration::from_secs(2);

/// Runs until SIGTERM or SIGINT.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut config = kube::Config::infer().await?;
    let watches = Client::try_from(config.clone())?;
    // A request that nobody answers must end; a watch waits for as long as nothing happens.
    config.read_timeout = Some(Duration::from_secs(10));
    let requests = Client::try_from(config)?;

    let stop = CancellationToken::new();
    let metrics = Arc::new(Metrics::default());
    let health = Health::new(Arc::clone(&metrics));
    tokio::spawn(served(health.clone().serve(args.listen), "health and metrics"));

    let view = SharedView::default();
    tokio::spawn(view.clone().follow(watches.clone(), args.namespace.clone()));
    let (known, knowns) = watch::channel(Known::default());
    let names = secret::names(&args.namespace, &args.webhook_names);
    match args.certificates {
        Certificates::SelfSigned => {
            tokio::spawn(secret::follow(watches, args.namespace.clone(), known));
        }
        Certificates::CertManager => {
            tokio::spawn(async move { serve::follow_files(Path::new(CERTIFICATE_FILES), known).await });
        }
    }
    let nodes = Nodes::default();
    tokio::spawn(refresh(view.clone(), nodes.clone(), Arc::clone(&metrics)));
    let serving = Serving::default();
    let checks = Checks {
        client: requests.clone(),
        serving: serving.clone(),
        view: view.clone(),
        name: names.first().cloned().unwrap_or_default(),
    };
    tokio::spawn(checks.run(health));
    let action = match args.admission_action {
        Action::Deny => stockade_webhooks::Action::Deny,
        Action::Warn => stockade_webhooks::Action::Warn,
    };
    let observer = {
        let metrics = Arc::clone(&metrics);
        Arc::new(move |outcome, took| metrics.reviewed(outcome, took))
    };
    let settings = Settings { action, nodes, observer, ..Settings::default() };
    let mut webhook = tokio::spawn(serve::serve(args.webhook_listen, settings, knowns.clone(), serving, stop.clone()));
    let keeper = (args.certificates == Certificates::SelfSigned).then_some(names);
    let mut leading = tokio::spawn(lead(args, requests, view, knowns, keeper, metrics, stop.clone()));

    // Neither ends by itself: a replica that no longer serves, or can never lead again, must not look alive.
    tokio::select! {
        ended = end() => ended?,
        ended = &mut webhook => return Err(ended?.err().unwrap_or_else(|| anyhow::anyhow!("the webhook is served no more"))),
        ended = &mut leading => return Err(ended?.err().unwrap_or_else(|| anyhow::anyhow!("the election was left"))),
    }
    tracing::info!("ending");
    stop.cancel();
    leading.await??;
    webhook.await?
}

/// Takes part in the election; while elected, keeps certificates and writes.
async fn lead(
    args: Args,
    client: Client,
    view: SharedView,
    known: watch::Receiver<Known>,
    names: Option<Vec<String>>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let manager = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        manager = candidate(&client, &args) => manager,
    };
    let (mut elected, task) = manager.watch().await;
    while !stop.is_cancelled() {
        let leads = *elected.borrow_and_update();
        metrics.set_leader(leads);
        let mut tasks = Vec::new();
        if leads {
            tracing::info!("this replica writes");
            tasks.push(tokio::spawn(Writer::new(client.clone()).run(view.clone())));
            if let Some(names) = names.clone() {
                let keeper = Keeper { client: client.clone(), namespace: args.namespace.clone(), names };
                tasks.push(tokio::spawn(keeper.run(known.clone())));
            }
            if args.remove_startup_taint {
                tasks.push(tokio::spawn(taint::remove(client.clone(), view.clone())));
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            changed = elected.changed() => if changed.is_err() { break },
        }
        for task in tasks {
            task.abort();
        }
    }
    // Gives the Lease up, so that another replica need not wait for it to run out.
    drop(elected);
    let manager = task.await??;
    manager.release().await?;
    Ok(())
}

/// Joins the election; an API server that is not there yet is waited for, or this replica could never lead.
async fn candidate(client: &Client, args: &Args) -> LeaseManager {
    loop {
        let joined = LeaseManagerBuilder::new(client.clone(), ELECTION)
            .with_namespace(&args.namespace)
            .with_identity(&args.name)
            .with_duration(15)
            .with_grace(5)
            .with_field_manager(format!("{OPERATOR_MANAGER}-election-{}", args.name))
            .build()
            .await;
        match joined {
            Ok(manager) => return manager,
            Err(error) => tracing::warn!(%error, "the election cannot be joined; it is tried again"),
        }
        tokio::time::sleep(REJOIN).await;
    }
}

/// Keeps what warnings and metrics are made of current.
async fn refresh(view: SharedView, nodes: Nodes, metrics: Arc<Metrics>) {
    loop {
        let current = view.with(|view| {
            metrics.set(view);
            facts(view)
        });
        if *nodes.load() != current {
            nodes.store(current);
        }
        tokio::time::sleep(REFRESH).await;
    }
}

async fn served(serving: impl Future<Output = anyhow::Result<()>>, what: &str) {
    if let Err(error) = serving.await {
        tracing::error!(%error, "{what} are not served");
    }
}

async fn end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
