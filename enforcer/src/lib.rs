//! The per-node agent of Stockade: from desired policies to what this node's kernel does, and back to what people see.
//!
//! [`source`] (API server or folder) → `agent` (judges, asks the kernel engine to make it so) → `node_state` (what is
//! published) and `events` (what is exported). The kernel side is the crate `stockade-enforcer-kernel`.
#![forbid(unsafe_code)]

pub mod activity;
pub mod agent;
pub mod args;
pub mod cgroup_watch;
pub mod cgroups;
pub mod counts;
pub mod detached;
pub mod driver;
pub mod engine;
pub mod events;
pub mod exporting;
pub mod health;
pub mod identity;
pub mod judged;
pub mod kernel;
pub mod lease;
pub mod metrics;
pub mod node_state;
pub mod pods;
pub mod population;
pub mod publish;
pub mod rotation;
pub mod run;
pub mod runtimes;
pub mod served_crds;
pub mod sink;
pub mod source;
