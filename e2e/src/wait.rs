//! Waiting for conditions: tests never sleep for a time and hope.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Long enough for what takes a second on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until the answer is `Ok(Some(_))`, for a minute. What the last answer was is in the error.
pub async fn eventually<T, F>(what: &str, ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    eventually_within(PATIENCE, what, ask).await
}

/// Asks until the answer is `Ok(Some(_))`. What the last answer was is in the error.
pub async fn eventually_within<T, F>(limit: Duration, what: &str, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let started = Instant::now();
    loop {
        let last = match ask().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => "not yet".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        if started.elapsed() > limit {
            bail!("waited {} s in vain: {what}; the last answer: {last}", limit.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
