//! Tests that need nodes. `cargo xtask test node` runs them.
