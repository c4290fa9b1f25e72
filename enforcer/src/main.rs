//! The per-node agent of Stockade.

fn main() {}
