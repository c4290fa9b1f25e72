//! The cluster controller of Stockade: rolls node states up into conditions, hosts the webhook.

fn main() {}
