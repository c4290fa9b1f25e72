//! Whether who works on the kernel gets on: told at each step, because the whole may take long and a single step may not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// No step takes longer: the longest is the verifier's with one program, seconds where processors are short.
pub const LONGEST_STEP: Duration = Duration::from_secs(120);

/// When the last step was made. Shared by who makes them and by who judges whether there will be another.
#[derive(Debug, Clone)]
pub struct Progress {
    start: Instant,
    longest_step: Duration,
    /// Milliseconds after `start`; [`RESTING`].
    last: Arc<AtomicU64>,
}

/// Nothing is to be done any more.
const RESTING: u64 = u64::MAX;

impl Default for Progress {
    fn default() -> Self {
        Self::with_longest_step(LONGEST_STEP)
    }
}

impl Progress {
    /// A step is made now; after one that takes longer than this, nothing gets on.
    #[must_use]
    pub fn with_longest_step(longest_step: Duration) -> Self {
        Self { start: Instant::now(), longest_step, last: Arc::default() }
    }

    /// A step is made.
    pub fn step(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(RESTING - 1);
        self.last.store(now, Ordering::Relaxed);
    }

    /// No steps are to be expected from now on.
    pub fn rest(&self) {
        self.last.store(RESTING, Ordering::Relaxed);
    }

    /// For how long nothing has got on, if that is longer than any step takes.
    #[must_use]
    pub fn stuck_for(&self) -> Option<Duration> {
        let last = Some(self.last.load(Ordering::Relaxed)).filter(|last| *last != RESTING)?;
        let since = self.start.elapsed().saturating_sub(Duration::from_millis(last));
        (since > self.longest_step).then_some(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_makes_no_step_is_stuck_and_who_rests_is_not() {
        let progress = Progress::with_longest_step(Duration::ZERO);
        while progress.stuck_for().is_none() {
            std::thread::yield_now();
        }
        progress.rest();
        assert_eq!(progress.stuck_for(), None);
        let progress = Progress::default();
        progress.clone().step();
        assert_eq!(progress.stuck_for(), None);
    }
}
