//! `/livez` and `/readyz` with the reasons why not, `/metrics`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use stockade_enforcer_kernel::Progress;

use crate::metrics::Metrics;

/// Why the agent is not ready: what → the reason, empty when ready. Shared by everything that must be.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<Reasons>>);

#[derive(Debug, Default)]
struct Reasons {
    waits: BTreeMap<&'static str, String>,
    notes: BTreeMap<&'static str, String>,
}

impl Readiness {
    /// Says that `what` is not ready, and why.
    pub fn wait_for(&self, what: &'static str, why: impl Into<String>) {
        let mut reasons = self.lock();
        reasons.notes.remove(what);
        reasons.waits.insert(what, why.into());
    }

    /// Says that `what` is ready.
    pub fn ready(&self, what: &'static str) {
        let mut reasons = self.lock();
        reasons.notes.remove(what);
        reasons.waits.remove(what);
    }

    /// Says that `what` does not keep the agent from being ready, and what people should know about it.
    pub fn note(&self, what: &'static str, text: impl Into<String>) {
        let mut reasons = self.lock();
        reasons.waits.remove(what);
        reasons.notes.insert(what, text.into());
    }

    /// What is not ready, one reason a line; empty when all is.
    #[must_use]
    pub fn reasons(&self) -> String {
        lines(&self.lock().waits)
    }

    /// What people should know though the agent is ready, one a line.
    #[must_use]
    pub fn notes(&self) -> String {
        lines(&self.lock().notes)
    }

    fn lock(&self) -> MutexGuard<'_, Reasons> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lines(reasons: &BTreeMap<&'static str, String>) -> String {
    reasons.iter().map(|(what, why)| format!("{what}: {}\n", why.replace('\n', " "))).collect()
}

/// What the endpoints tell.
#[derive(Clone)]
pub struct Health {
    /// Why the agent is not ready.
    pub readiness: Readiness,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// Whether the driver gets on.
    pub progress: Progress,
}

impl Health {
    /// The endpoints as a value.
    pub fn router(self) -> Router {
        Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self)
    }

    /// `Err`: why the process is better ended. What is pinned stays in force, and its successor goes on from it.
    pub fn alive(&self) -> Result<(), String> {
        let why = |stuck: Duration| format!("the driver has made no step for {} s", stuck.as_secs());
        self.progress.stuck_for().map_or(Ok(()), |stuck| Err(why(stuck)))
    }

    /// Serves the endpoints until the process ends.
    pub async fn serve(self, listen: SocketAddr) -> anyhow::Result<()> {
        let listener = tokio::net::TcpListener::bind(listen).await?;
        axum::serve(listener, self.router()).await?;
        Ok(())
    }
}

async fn livez(State(health): State<Health>) -> Response {
    match health.alive() {
        Ok(()) => "ok\n".into_response(),
        Err(why) => {
            tracing::error!("{why}");
            (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
        }
    }
}

async fn readyz(State(health): State<Health>) -> Response {
    let (reasons, notes) = (health.readiness.reasons(), health.readiness.notes());
    if reasons.is_empty() {
        format!("ok\n{notes}").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{reasons}{notes}")).into_response()
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match health.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_named_until_it_is_gone() {
        let readiness = Readiness::default();
        readiness.wait_for("policies", "not listed yet");
        readiness.wait_for("kernel", "starting");
        assert_eq!(readiness.reasons(), "kernel: starting\npolicies: not listed yet\n");
        readiness.ready("kernel");
        readiness.ready("policies");
        assert_eq!(readiness.reasons(), "");
        readiness.note("kernel", "no bpf in lsm=");
        assert_eq!((readiness.reasons().as_str(), readiness.notes().as_str()), ("", "kernel: no bpf in lsm=\n"));
    }
}
