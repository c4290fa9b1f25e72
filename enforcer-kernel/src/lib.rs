//! The kernel side of the enforcer: learns what the node can do, loads, pins and adopts programs, installs rows, flips
//! between generations, and reads back what it claims.
//!
//! Stage 6 of a policy's way: `policy::compile` and `policy::plan` made the rows, this crate makes them true.

pub mod btf;
pub mod facts;
pub mod map;
pub mod sys;
pub mod twins;
