//! The cluster controller of Stockade: rolls node states up into conditions, hosts the webhook.
#![forbid(unsafe_code)]

pub mod rollup;
