//! What a tracing policy means: validation and the reference model.
//!
//! The pure core of Stockade. Nothing here does IO, reads a clock or can panic on any input; the webhook, the CLI, the
//! operator and the enforcer all ask this crate, so that they cannot disagree.
//!
//! The way of a document starts here: [`judge`] (raw object → faults, or a [`ValidatedPolicy`]). The enforcer's kernel
//! engine compiles what is valid into rows and plans their installation; [`model`] says what that must amount to, and the
//! rows are tested against it.
#![forbid(unsafe_code)]

pub mod compare;
pub mod convert;
pub mod engine;
pub mod facts;
pub mod fault;
pub mod ir;
pub mod language;
pub mod model;
pub mod point;
pub mod reasons;
pub mod sentences;
pub mod validate;
pub mod witness;

pub use facts::{NodeFacts, node_warnings};
pub use fault::Fault;
pub use ir::{ValidatedPolicy, digest};
pub use validate::{Judgement, judge};
