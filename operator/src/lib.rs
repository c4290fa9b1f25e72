//! The cluster controller of Stockade: rolls node states up into conditions, hosts the webhook.
#![forbid(unsafe_code)]

pub mod args;
pub mod certificates;
pub mod facts;
pub mod health;
pub mod liveness;
pub mod metrics;
pub mod rollup;
pub mod run;
pub mod secret;
pub mod serve;
pub mod taint;
pub mod uninstall;
pub mod view;
pub mod writer;
