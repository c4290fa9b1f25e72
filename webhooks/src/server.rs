//! The endpoint: `POST /validate`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{self, DefaultBodyLimit, FromRequest, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::BodyExt as _;
use stockade_policy::NodeFacts;
use tokio::time::timeout;
use tower_http::catch_panic::CatchPanicLayer;

use crate::answer::Answer;
use crate::decide::{Action, decide};
use crate::nodes::Nodes;
use crate::review::{Malformed, Request};
use crate::room::{Place, Room};

/// A review carries the old object, which is as large as the API server stores at most (1.5 MiB), and the new one, which may have
/// six times as many bytes as somebody sent (3 MiB at most): `<` is written as `\u003c`. What a policy may have fits in here.
pub const MAX_BODY: usize = 8 << 20;
/// Where in a review the uid must be, at the latest, for it to be found in one that is larger.
const START: usize = 4 << 10;
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
    /// There was no room for it.
    Overloaded,
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
    /// What is held at once.
    pub room: Room,
}

impl Default for Settings {
    fn default() -> Self {
        let observer = Arc::new(|_, _| {});
        Self { action: Action::Deny, nodes: Nodes::default(), observer, room: Room::default() }
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

async fn validate(State(settings): State<Settings>, request: extract::Request) -> Response {
    let start = Instant::now();
    let (outcome, response) = match body(&settings.room, request).await {
        Ok((body, place)) => review(&settings, body, place).await,
        Err(refused) => *refused,
    };
    (settings.observer)(outcome, start.elapsed());
    response
}

/// The body, once there is room for it.
async fn body(room: &Room, request: extract::Request) -> Result<(Bytes, Place), Box<(Outcome, Response)>> {
    let refuse = |outcome, code, why: String| Err(Box::new((outcome, malformed(code, &Malformed { uid: None, why }))));
    let too_large = || format!("the body is larger than {} MiB", MAX_BODY >> 20);
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(MAX_BODY);
    if length > MAX_BODY {
        return match timeout(room.patience(), uid_at_start(request)).await.ok().flatten() {
            Some(uid) => Err(Box::new((Outcome::Refused, json(StatusCode::OK, &Answer::too_large(uid))))),
            None => refuse(Outcome::Malformed, StatusCode::PAYLOAD_TOO_LARGE, too_large()),
        };
    }
    let Some(place) = room.for_body(length).await else {
        return Err(Box::new(overloaded(None)));
    };
    match timeout(room.patience(), Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok((body, place)),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            refuse(Outcome::Malformed, StatusCode::PAYLOAD_TOO_LARGE, too_large())
        }
        Ok(Err(rejection)) => refuse(Outcome::Malformed, StatusCode::BAD_REQUEST, rejection.body_text()),
        Err(_) => refuse(Outcome::Malformed, StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time".into()),
    }
}

/// The uid of a review that is not read to its end. It is where API servers write it: they take no answer without it, and of
/// another code than 200 they show nothing but the code.
async fn uid_at_start(request: extract::Request) -> Option<String> {
    let mut body = request.into_body();
    let mut start = Vec::new();
    while start.len() < START {
        let frame = body.frame().await?.ok()?;
        start.extend_from_slice(frame.data_ref()?);
        let text = String::from_utf8_lossy(&start);
        let after = text.split_once(r#""request":{"uid":""#).and_then(|(_, after)| after.split_once('"'));
        if let Some((uid, _)) = after {
            return Some(uid.to_owned());
        }
    }
    None
}

async fn review(settings: &Settings, body: Bytes, place: Place) -> (Outcome, Response) {
    let parsed = Request::parse(&body);
    // What is judged has been copied out of it.
    drop(body);
    let request = match parsed {
        Ok(request) => request,
        Err(bad) => return unreadable(&bad),
    };
    let Some(judging) = settings.room.for_document().await else {
        return overloaded(Some(request.uid));
    };
    let (action, nodes) = (settings.action, settings.nodes.load());
    // Not on a thread that others are waiting for. Whoever asked may be gone; the room is taken until this is done.
    let answered = tokio::task::spawn_blocking(move || {
        let _held = (place, judging);
        answer(&request, action, &nodes)
    });
    answered.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a review was not answered");
        (Outcome::Malformed, StatusCode::INTERNAL_SERVER_ERROR.into_response())
    })
}

fn answer(request: &Request, action: Action, nodes: &[NodeFacts]) -> (Outcome, Response) {
    let decision = match decide(request, action, nodes) {
        Ok(decision) => decision,
        Err(bad) => return unreadable(&bad),
    };
    let outcome = if decision.faults.is_empty() { Outcome::Allowed } else { Outcome::Refused };
    if outcome == Outcome::Refused {
        let codes: Vec<&str> = decision.faults.iter().map(|fault| fault.code).collect();
        tracing::info!(kind = request.kind, name = request.name, ?codes, "refused");
    }
    (outcome, json(StatusCode::OK, &Answer::to(request, decision)))
}

fn unreadable(bad: &Malformed) -> (Outcome, Response) {
    tracing::warn!(uid = bad.uid, why = bad.why, "a review could not be read");
    // With a uid this is an answer; without one no answer would be taken for one.
    let code = if bad.uid.is_some() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    (Outcome::Malformed, malformed(code, bad))
}

/// With a uid it is an answer, which clients take as a reason to ask again; without one only the API server is told.
fn overloaded(uid: Option<String>) -> (Outcome, Response) {
    tracing::warn!(uid, "there is no room for a review");
    let code = if uid.is_some() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (Outcome::Overloaded, json(code, &Answer::overloaded(uid)))
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
