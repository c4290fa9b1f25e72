//! The cluster that the user means, and what its nodes have published about themselves.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DynamicObject, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind, ResourceExt as _};
use kube::{Client, Config};
use stockade_crds::{NodePolicyStateStatus, names};
use stockade_policy::{NodeFacts, ValidatedPolicy};

use crate::args::ClusterArgs;

/// Objects a request: node states can be 64 KiB each.
pub(crate) const PAGE: u32 = 50;

/// A way to ask the API server.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) server: String,
    pub(crate) default_namespace: String,
}

/// The nodes of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Nodes {
    pub(crate) facts: Vec<NodeFacts>,
    /// Whether their labels could be read.
    has_labels: bool,
}

impl Nodes {
    /// A policy as it can be compared with these nodes: without their labels, as if it were about all of them.
    pub(crate) fn about<'p>(&self, policy: &'p ValidatedPolicy) -> Cow<'p, ValidatedPolicy> {
        if self.has_labels || policy.node_selector.is_none() {
            return Cow::Borrowed(policy);
        }
        Cow::Owned(ValidatedPolicy { node_selector: None, ..policy.clone() })
    }
}

/// What the nodes of the cluster have published, if a cluster is asked for; says what could not be found out.
pub(crate) fn nodes(args: &ClusterArgs) -> anyhow::Result<Option<Nodes>> {
    if args.context.is_none() && args.kubeconfig.is_none() {
        return Ok(None);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting")?;
    let nodes = runtime.block_on(fetch(args))?;
    if nodes.facts.is_empty() {
        anstream::eprintln!("note: no node of the cluster has published what its kernel can do");
    } else if !nodes.has_labels {
        anstream::eprintln!("note: the nodes' labels may not be read; policies are compared with all nodes");
    }
    Ok(Some(nodes))
}

async fn fetch(args: &ClusterArgs) -> anyhow::Result<Nodes> {
    let Connection { client, server, .. } = connect(args).await?;
    let labels = match labels(client.clone()).await {
        Ok(labels) => Some(labels),
        Err(kube::Error::Api(status)) if status.code == 403 => None,
        Err(error) => return Err(error).with_context(|| format!("asking {server} for nodes")),
    };
    let has_labels = labels.is_some();
    let mut labels = labels.unwrap_or_default();
    let api = node_states(&client);
    let (mut facts, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let page = api.list(&params).await.map_err(explained);
        let page = page.with_context(|| format!("asking {server} for {}", names::NODE_POLICY_STATE_PLURAL))?;
        for state in page.items {
            let name = state.name_any();
            let status = state.data.get("status").cloned().unwrap_or_default();
            let status: NodePolicyStateStatus = serde_json::from_value(status).unwrap_or_default();
            // As the webhook has it: a node that is gone has no say.
            let own = labels.remove(&name).or_else(|| (!has_labels).then(BTreeMap::new));
            facts.extend(status.facts.zip(own).map(|(facts, own)| NodeFacts::published(name, &facts, own)));
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(Nodes { facts, has_labels }),
        }
    }
}

type Labels = BTreeMap<String, String>;

async fn labels(client: Client) -> Result<BTreeMap<String, Labels>, kube::Error> {
    let api: Api<Node> = Api::all(client);
    let (mut found, mut params) = (BTreeMap::new(), ListParams::default().limit(PAGE));
    loop {
        let page = api.list_metadata(&params).await?;
        found.extend(page.items.iter().map(|node| (node.name_any(), node.labels().clone())));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// What nodes say.
pub(crate) fn node_states(client: &Client) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk(names::STOCKADE_GROUP, names::VERSION, names::NODE_POLICY_STATE_KIND);
    let resource = ApiResource::from_gvk_with_plural(&gvk, names::NODE_POLICY_STATE_PLURAL);
    Api::all_with(client.clone(), &resource)
}

/// Connects to the cluster that the arguments name.
pub(crate) async fn connect(args: &ClusterArgs) -> anyhow::Result<Connection> {
    let config = config(args).await?;
    let (server, default_namespace) = (config.cluster_url.to_string(), config.default_namespace.clone());
    let client = Client::try_from(config).context("setting up the connection")?;
    Ok(Connection { client, server, default_namespace })
}

async fn config(args: &ClusterArgs) -> anyhow::Result<Config> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only when another thread has been faster, and there is none.
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
    let mut config = match &args.kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path).with_context(|| format!("reading {}", path.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.context("using the kubeconfig")?
        }
        None if args.context.is_some() => Config::from_kubeconfig(&options).await.context("using the kubeconfig")?,
        None => Config::infer().await.context("finding out which cluster is meant")?,
    };
    config.connect_timeout = Some(Duration::from_secs(10));
    config.read_timeout = Some(Duration::from_secs(30));
    Ok(config)
}

/// A server that has no such kind says only that there is no such page.
pub(crate) fn explained(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if status.code == 404 => {
            anyhow::anyhow!("the cluster has no such kind; install the chart stockade-crds")
        }
        other => other.into(),
    }
}
