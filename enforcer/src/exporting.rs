//! The thread that takes events from the kernel and writes them, and keeps the numbers of `/metrics` current.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::engine::Node;
use crate::events::export::{Exporter, Seen};
use crate::kernel::{Counts, Kernel};
use crate::metrics::{Metrics, set};
use crate::population::Known;
use crate::sink::Sink;

/// Events taken at a time: a bound on how long an application waits for the engine.
const BATCH: usize = 256;
/// How long to wait when there is none.
const IDLE: Duration = Duration::from_millis(20);
/// How often numbers, clocks and the directory of pods are brought up to date.
const REFRESH: Duration = Duration::from_secs(2);

/// How long events are still written after `stop`, when they never end.
const LAST: Duration = Duration::from_secs(2);

/// Whatever ends this thread ends the agent: one that exports nothing must not look alive.
struct EndsAgent<'a>(&'a CancellationToken);

impl Drop for EndsAgent<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Runs until `stop`, then writes what is there still.
pub fn run(
    node: &Arc<Mutex<Node>>,
    mut exporter: Exporter,
    mut sink: Sink,
    known: &Known,
    metrics: &Metrics,
    stop: &CancellationToken,
) {
    let _ends = EndsAgent(stop);
    let mut refreshed = None;
    let mut undecodable = 0;
    let mut stopped: Option<Instant> = None;
    loop {
        if known.take_changes(&mut exporter.directory) {
            exporter.follow_ups().iter().for_each(|line| sink.write(line));
        }
        if refreshed.is_none_or(|at: Instant| at.elapsed() >= REFRESH) {
            refreshed = Some(Instant::now());
            exporter.refresh();
            let counts = node.lock().unwrap_or_else(PoisonError::into_inner).counts();
            show(metrics, &counts, &sink, exporter.seen(), undecodable);
        }
        let events = node.lock().unwrap_or_else(PoisonError::into_inner).events(BATCH);
        let idle = events.is_empty();
        for event in events {
            match event {
                Ok(event) => exporter.lines(event).iter().for_each(|line| sink.write(line)),
                Err(error) => {
                    undecodable += 1;
                    tracing::error!(%error, "an event of the kernel could not be decoded");
                }
            }
        }
        if stop.is_cancelled() {
            let since = *stopped.get_or_insert_with(Instant::now);
            if idle || since.elapsed() >= LAST {
                sink.flush();
                return;
            }
        }
        if idle {
            sink.flush();
            std::thread::sleep(IDLE);
        }
    }
}

fn show(metrics: &Metrics, counts: &Counts, sink: &Sink, seen: Seen, undecodable: u64) {
    metrics.show_counts(counts);
    let (written, failed) = sink.counts();
    set(&metrics.events_written, written);
    set(&metrics.events_failed, failed.saturating_add(undecodable).saturating_add(seen.unexplained));
    set(&metrics.unknown_pod_execs, seen.unknown_pod_execs);
}
