//! What nodes have published, as the judge's warnings want it.

use kube::ResourceExt;
use stockade_policy::NodeFacts;

use crate::view::View;

/// The facts of every node that has published some.
#[must_use]
pub fn facts(view: &View) -> Vec<NodeFacts> {
    let of_node = |(name, state): (&String, &crate::view::NodeState)| {
        let facts = state.status.facts.as_ref()?;
        let labels = view.nodes.get(name)?.labels().clone().into_iter().collect();
        Some(NodeFacts::published(name.clone(), facts, labels))
    };
    view.states.iter().filter_map(of_node).collect()
}
