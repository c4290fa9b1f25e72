//! What black-box tests share: a rig that `cargo xtask test api` or `cargo xtask test node` has brought up, and ways to ask it.
//!
//! Tests know the product by what its users know: its binaries, its images and its API. Nothing here links its crates.

mod api_server;
pub mod demo;
mod kubectl;
mod operator;
mod rig;
pub mod trouble;
mod wait;

pub use api_server::{ApiServer, Namespace};
pub use kubectl::{Kubectl, Output};
pub use operator::{Operator, OperatorOptions};
pub use rig::Rig;
pub use wait::{eventually, eventually_within};
