//! The stockade command: lint and status.

fn main() {}
