//! The Kubernetes API types of Stockade: `TracingPolicy`, `TracingPolicyNamespaced`, `NodePolicyState`.
//!
//! Policies are *read* as raw objects everywhere: one stored object that does not fit a typed kind would otherwise fail
//! the whole LIST that it is part of. What is typed here is what Stockade itself writes ([`PolicyStatus`],
//! [`NodePolicyState`]), the names that all components share ([`names`], [`words`]), and the shape of a policy's spec, from
//! which the schemas are generated.
#![forbid(unsafe_code)]

pub mod names;
pub mod node_policy_state;
#[cfg(feature = "offline")]
pub mod offline;
pub mod policy_status;
pub mod schema;
pub mod spec;
pub mod words;

pub use names::PolicyKind;
pub use node_policy_state::{NodeFactsStatus, NodePolicyState, NodePolicyStateStatus, PolicyEntry};
#[cfg(feature = "offline")]
pub use offline::{SchemaFault, schema_faults, schema_faults_in};
pub use policy_status::{NodeCounts, PolicyStatus};
pub use schema::Crd;
pub use spec::TracingPolicySpec;
pub use words::{ConditionStatus, ConditionType, EntryState, Mode, Reason, Strength};
