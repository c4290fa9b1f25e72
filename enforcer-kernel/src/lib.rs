//! The kernel side of the enforcer: learns what the node can do, loads, pins and adopts programs, installs rows, flips
//! between generations, and reads back what it claims.
//!
//! Stages 4 to 6 of a policy's way: [`compile`] and `planning`, which are pure, make the rows; the rest makes them true.

pub mod attach;
mod binaries;
pub mod btf;
pub mod cgroups;
pub mod compile;
pub mod counters;
pub mod engine;
pub mod event;
pub mod execute;
pub mod facts;
pub mod instance;
pub mod kernel;
pub mod legend;
pub mod map;
mod marks;
pub mod object;
pub mod offsets;
mod older;
pub mod ops;
pub mod pins;
pub mod place;
mod planning;
pub mod probe;
mod program_file;
pub mod progress;
pub mod report;
pub mod ring;
pub mod rows;
pub mod scope;
pub mod start;
pub mod sys;

pub use engine::{Engine, Tampered, Verification, facts};
pub use probe::{Checked, Liveness};
pub use progress::Progress;
pub use report::{ApplyReport, HookReport, PolicyReport, Reason, Trouble};
pub use scope::ScopeSnapshot;
pub use start::{Options, StartError};

pub use stockade_policy::facts::twins;
