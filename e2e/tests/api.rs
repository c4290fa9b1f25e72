//! Tests that need an API server and no node. `cargo xtask test api` runs them.

#[path = "api/admission.rs"]
mod admission;
#[path = "api/agents.rs"]
mod agents;
#[path = "api/chart.rs"]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "the helpers of a test are test code, too")]
mod chart;
#[path = "api/cli.rs"]
mod cli;
#[path = "api/crds.rs"]
mod crds;
#[path = "api/operator.rs"]
mod operator;
#[path = "api/replicas.rs"]
mod replicas;
#[path = "api/reviews.rs"]
mod reviews;
#[path = "api/rig.rs"]
mod rig;
#[path = "api/stage.rs"]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "the helpers of a test are test code, too")]
mod stage;
