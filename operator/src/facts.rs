//! What nodes have published, as the judge's warnings want it.

use std::collections::BTreeMap;

use kube::ResourceExt;
use stockade_crds::node_policy_state::parse_hook_signature;
use stockade_policy::NodeFacts;
use stockade_policy::facts::BtfParam;

use crate::view::View;

/// The facts of every node that has published some.
#[must_use]
pub fn facts(view: &View) -> Vec<NodeFacts> {
    let of_node = |(name, state): (&String, &crate::view::NodeState)| {
        let facts = state.status.facts.as_ref()?;
        Some(NodeFacts {
            node: name.clone(),
            kernel_release: facts.kernel_release.clone(),
            architecture: facts.architecture.clone(),
            lsm: facts.lsm.clone(),
            lsm_hooks: facts.lsm_hooks.iter().filter_map(|text| hook(text)).collect(),
            features: facts.features.iter().cloned().collect(),
            labels: view.nodes.get(name)?.labels().clone().into_iter().collect::<BTreeMap<_, _>>(),
        })
    };
    view.states.iter().filter_map(of_node).collect()
}

fn hook(text: &str) -> Option<(String, Vec<BtfParam>)> {
    let (name, params) = parse_hook_signature(text)?;
    let params = params.into_iter().map(|(name, ty)| BtfParam { name: name.into(), ty: ty.into() });
    Some((name.into(), params.collect()))
}
