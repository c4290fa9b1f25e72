//! The admission server of Stockade as a library: an [`axum::Router`] as a value, and the manifests that belong to it.
//!
//! Stage 2 of a policy's way. A request goes [`review`] (bytes → what is asked) → [`decide`] (the judgement of
//! `stockade-policy`, which is the only thing that may refuse) → [`answer`] (the `AdmissionReview` that goes back).
//! [`nodes`] adds warnings from what is known of the cluster's nodes; it never refuses. There is no Kubernetes client here
//! and nothing is written anywhere, so a dry run gets the same answer.
#![forbid(unsafe_code)]

pub mod answer;
pub mod decide;
pub mod manifests;
pub mod nodes;
pub mod review;
pub mod room;
pub mod server;
pub mod warnings;
mod weight;

pub use decide::{Action, Decision};
pub use nodes::Nodes;
pub use room::Room;
pub use server::{Observer, Settings, router};
