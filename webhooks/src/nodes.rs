//! What is known of the cluster's nodes: a reason to warn a document's author, never one to refuse it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use stockade_policy::NodeFacts;

/// A snapshot of the facts of all nodes that have an enforcer. Whoever follows the nodes replaces it; readers never wait.
#[derive(Debug, Clone, Default)]
pub struct Nodes(Arc<ArcSwap<Vec<NodeFacts>>>);

impl Nodes {
    /// Replaces the snapshot.
    pub fn store(&self, nodes: Vec<NodeFacts>) {
        self.0.store(Arc::new(nodes));
    }

    /// The current snapshot.
    #[must_use]
    pub fn load(&self) -> Arc<Vec<NodeFacts>> {
        self.0.load_full()
    }
}
