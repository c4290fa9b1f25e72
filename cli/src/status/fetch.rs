//! The questions to the API server.

use anyhow::Context as _;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::ResourceExt as _;
use stockade_crds::{NodePolicyStateStatus, PolicyKind};

use super::view::{NodeView, PolicyView};
use crate::args::StatusArgs;
use crate::cluster::{self, Connection, PAGE, explained};

/// The policies that the arguments ask for; with what the nodes say, if they ask for one by name.
pub(crate) async fn policies(args: &StatusArgs) -> anyhow::Result<Vec<PolicyView>> {
    let Connection { client, server, default_namespace } = cluster::connect(&args.cluster).await?;
    let wanted = Wanted::new(args, &default_namespace)?;
    let mut found = Vec::new();
    for kind in PolicyKind::ALL {
        let Some(scope) = wanted.scope(kind) else { continue };
        let resource = kind.api_resource();
        let api = match scope {
            Scope::Everywhere => Api::all_with(client.clone(), &resource),
            Scope::Namespace(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        };
        let objects = list(&api).await.map_err(explained);
        let objects = objects.with_context(|| format!("asking {server} for {}", kind.plural()))?;
        let objects = objects.into_iter().filter(|o| wanted.name.as_ref().is_none_or(|name| *name == o.name_any()));
        found.extend(objects.map(|object| PolicyView::new(kind, object)));
    }
    found.sort_by_key(|p| (p.namespace(), p.name()));
    if wanted.name.is_some() && !found.is_empty() {
        ask_nodes(&client, &mut found).await.map_err(explained).context("asking for the nodes' states")?;
    }
    Ok(found)
}

/// For the message that there is no such policy.
pub(crate) fn where_looked(args: &StatusArgs) -> String {
    match &args.namespace {
        Some(namespace) => format!(" in namespace {namespace}"),
        None if args.all_namespaces => " in any namespace".into(),
        None => ", neither for the cluster nor in the current namespace (-A looks into all)".into(),
    }
}

enum Scope<'a> {
    Everywhere,
    Namespace(&'a str),
}

/// Which policies are asked for.
struct Wanted<'a> {
    kind: Option<PolicyKind>,
    name: Option<String>,
    /// `None`: all.
    namespace: Option<&'a str>,
    /// `-n` was given: the cluster's own policies are not meant.
    only_namespaced: bool,
}

impl<'a> Wanted<'a> {
    fn new(args: &'a StatusArgs, default_namespace: &'a str) -> anyhow::Result<Self> {
        let (kind, name) = match args.policy.as_deref().map(|policy| policy.split_once('/')) {
            None => (None, None),
            Some(None) => (None, args.policy.clone()),
            Some(Some((kind, name))) => (Some(named_kind(kind)?), Some(name.to_owned())),
        };
        let namespace = match &args.namespace {
            Some(namespace) => Some(namespace.as_str()),
            None if args.all_namespaces || name.is_none() => None,
            None => Some(default_namespace),
        };
        Ok(Self { kind, name, namespace, only_namespaced: args.namespace.is_some() })
    }

    fn scope(&self, kind: PolicyKind) -> Option<Scope<'a>> {
        if self.kind.is_some_and(|wanted| wanted != kind) {
            return None;
        }
        match (kind, self.namespace) {
            (PolicyKind::Cluster, _) => (!self.only_namespaced).then_some(Scope::Everywhere),
            (PolicyKind::Namespaced, None) => Some(Scope::Everywhere),
            (PolicyKind::Namespaced, Some(namespace)) => Some(Scope::Namespace(namespace)),
        }
    }
}

/// A kind in any of the ways in which kubectl takes it.
fn named_kind(text: &str) -> anyhow::Result<PolicyKind> {
    let lower = text.to_lowercase();
    let name = lower.strip_suffix(".cilium.io").unwrap_or(&lower);
    PolicyKind::ALL
        .into_iter()
        .find(|k| [k.singular(), k.plural(), k.short_name()].contains(&name))
        .with_context(|| format!("{text} is no kind of policy; there are tracingpolicy and tracingpolicynamespaced"))
}

async fn list(api: &Api<DynamicObject>) -> Result<Vec<DynamicObject>, kube::Error> {
    let mut objects = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await?;
        objects.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(objects),
        }
    }
}

/// Adds what each node says; the states themselves, which are large, are dropped as they come.
async fn ask_nodes(client: &Client, policies: &mut [PolicyView]) -> Result<(), kube::Error> {
    let api = cluster::node_states(client);
    let mut params = ListParams::default().limit(PAGE);
    policies.iter_mut().for_each(|policy| policy.nodes = Some(Vec::new()));
    loop {
        let page = api.list(&params).await?;
        for state in page.items {
            let name = state.name_any();
            let status = state.data.get("status").cloned().unwrap_or_default();
            let status: NodePolicyStateStatus = serde_json::from_value(status).unwrap_or_default();
            for policy in policies.iter_mut() {
                let node = NodeView::new(name.clone(), status.clone(), policy);
                policy.nodes.get_or_insert_default().push(node);
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}
