//! Builds, generates, boots, tests and measures Stockade on one machine.

fn main() {}
