//! What a tracing policy means: validation, reference model, compiler, planner.
//!
//! The pure core of Stockade. Nothing here does IO, reads a clock or can panic on any input; the webhook, the CLI, the
//! operator and the enforcer all ask this crate, so that they cannot disagree.
//!
//! The way of a document: [`judge`] (raw object → faults, or a [`ValidatedPolicy`]) → `compile` (policies → rules and
//! rows) → `plan` (rows, what the node has and can do → actions). `model` says what all of it must amount to.
#![forbid(unsafe_code)]

pub mod facts;
pub mod fault;
pub mod ir;
pub mod model;
pub mod validate;

pub use facts::{NodeFacts, node_warnings};
pub use fault::Fault;
pub use ir::{ValidatedPolicy, digest};
pub use validate::{Judgement, judge};
