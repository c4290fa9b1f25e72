//! The endpoint: `POST /validate`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tower_http::catch_panic::CatchPanicLayer;

use crate::answer::Answer;
use crate::decide::{Action, decide};
use crate::nodes::Nodes;
use crate::review::{Malformed, Request};

/// A review carries the old and the new object, each of which may be as large as the API server stores.
pub const MAX_BODY: usize = 8 << 20;
/// Where the API server posts to.
pub const PATH: &str = "/validate";

/// How a review ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Allowed.
    Allowed,
    /// Refused for its faults.
    Refused,
    /// Not a review.
    Malformed,
}

/// Told about each review, for metrics.
pub type Observer = Arc<dyn Fn(Outcome, Duration) + Send + Sync>;

/// What the endpoint needs.
#[derive(Clone)]
pub struct Settings {
    /// What becomes of faults.
    pub action: Action,
    /// What is known of the cluster's nodes.
    pub nodes: Nodes,
    /// Told about each review.
    pub observer: Observer,
}

impl Default for Settings {
    fn default() -> Self {
        Self { action: Action::Deny, nodes: Nodes::default(), observer: Arc::new(|_, _| {}) }
    }
}

/// The admission server as a value.
pub fn router(settings: Settings) -> Router {
    Router::new()
        .route(PATH, post(validate))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        // The judgement does not panic. Should it ever, that is one failed request and not a lost connection.
        .layer(CatchPanicLayer::new())
        .with_state(settings)
}

async fn validate(State(settings): State<Settings>, body: Result<Bytes, BytesRejection>) -> Response {
    let start = Instant::now();
    let (outcome, response) = match body {
        Ok(body) => review(&settings, &body),
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let why = format!("the body is larger than {} MiB", MAX_BODY >> 20);
            (Outcome::Malformed, malformed(StatusCode::PAYLOAD_TOO_LARGE, &Malformed { uid: None, why }))
        }
        Err(rejection) => {
            let why = rejection.body_text();
            (Outcome::Malformed, malformed(StatusCode::BAD_REQUEST, &Malformed { uid: None, why }))
        }
    };
    (settings.observer)(outcome, start.elapsed());
    response
}

fn review(settings: &Settings, body: &[u8]) -> (Outcome, Response) {
    let request = match Request::parse(body) {
        Ok(request) => request,
        Err(bad) => {
            tracing::warn!(uid = bad.uid, why = bad.why, "a review could not be read");
            // With a uid this is an answer; without one no answer would be taken for one.
            let code = if bad.uid.is_some() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
            return (Outcome::Malformed, malformed(code, &bad));
        }
    };
    let decision = decide(&request, settings.action, &settings.nodes.load());
    let outcome = if decision.faults.is_empty() { Outcome::Allowed } else { Outcome::Refused };
    if outcome == Outcome::Refused {
        let codes: Vec<&str> = decision.faults.iter().map(|fault| fault.code).collect();
        tracing::info!(kind = request.kind, name = request.name, ?codes, "refused");
    }
    (outcome, json(StatusCode::OK, &Answer::to(&request, decision)))
}

fn malformed(code: StatusCode, malformed: &Malformed) -> Response {
    json(code, &Answer::malformed(malformed))
}

fn json(code: StatusCode, answer: &Answer) -> Response {
    match serde_json::to_vec(answer) {
        Ok(body) => (code, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
