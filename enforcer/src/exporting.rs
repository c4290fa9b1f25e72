//! The thread that takes events from the kernel and writes them, and keeps the numbers of `/metrics` current.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::engine::Node;
use crate::events::export::Exporter;
use crate::kernel::{Counts, Kernel};
use crate::metrics::{Metrics, PlaceLabels, PolicyLabels};
use crate::population::Known;
use crate::sink::Sink;

/// Events taken at a time: a bound on how long an application waits for the engine.
const BATCH: usize = 256;
/// How long to wait when there is none.
const IDLE: Duration = Duration::from_millis(20);
/// How often numbers, clocks and the directory of pods are brought up to date.
const REFRESH: Duration = Duration::from_secs(2);

/// Runs until `stop`, then writes what is there still.
pub fn run(
    node: &Arc<Mutex<Node>>,
    mut exporter: Exporter,
    mut sink: Sink,
    known: &Known,
    metrics: &Metrics,
    stop: &CancellationToken,
) {
    let mut refreshed = None;
    let mut undecodable = 0;
    loop {
        if known.take_changes(&mut exporter.directory) || refreshed.is_none_or(|at: Instant| at.elapsed() >= REFRESH) {
            refreshed = Some(Instant::now());
            exporter.set_clock();
            let counts = node.lock().unwrap_or_else(PoisonError::into_inner).counts();
            show(metrics, &counts, &sink, undecodable);
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
        if idle {
            sink.flush();
            if stop.is_cancelled() {
                return;
            }
            std::thread::sleep(IDLE);
        }
    }
}

fn show(metrics: &Metrics, counts: &Counts, sink: &Sink, undecodable: i64) {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    for (policy, verdicts) in &counts.verdicts {
        for (verdict, count) in [
            ("matched", verdicts.matched),
            ("denied", verdicts.denied),
            ("would_deny", verdicts.would_deny),
            ("fault", verdicts.faults),
        ] {
            let labels = PolicyLabels {
                policy_namespace: policy.namespace.clone(),
                policy: policy.name.clone(),
                verdict: verdict.into(),
            };
            metrics.verdicts.get_or_create(&labels).set(number(count));
        }
    }
    metrics.events_lost.set(number(counts.events_lost));
    for (program, count) in &counts.missed {
        metrics.missed.get_or_create(&PlaceLabels { place: program.clone() }).set(number(*count));
    }
    for (place, count) in &counts.errors {
        metrics.kernel_errors.get_or_create(&PlaceLabels { place: place.clone() }).set(number(*count));
    }
    let (written, failed) = sink.counts();
    metrics.events_written.set(number(written));
    metrics.events_failed.set(number(failed).saturating_add(undecodable));
}
