//! Waiting for a condition, with a deadline.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long the API server may take: 4 s on a quiet machine.
pub(crate) const API_SERVER: Duration = Duration::from_secs(120);
/// How long the registry may take.
pub(crate) const REGISTRY: Duration = Duration::from_secs(20);
/// How long a node may take to be Ready: 45 s on a quiet machine, since its processor is emulated.
pub(crate) const NODE: Duration = Duration::from_secs(480);

/// Asks `condition` until it holds. An error of it ends the waiting.
pub(crate) fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    loop {
        if condition()? {
            return Ok(());
        }
        if started.elapsed() > limit {
            bail!("waited {} s in vain until {what}", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(200));
    }
}
