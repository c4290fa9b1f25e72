//! Tests that need an API server and no node. `cargo xtask test api` runs them.

#[path = "api/cli.rs"]
mod cli;
#[path = "api/crds.rs"]
mod crds;
#[path = "api/rig.rs"]
mod rig;
