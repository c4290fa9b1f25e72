//! `/livez`; `/readyz` with the reasons why not; `/metrics`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client};
use stockade_crds::PolicyKind;
use stockade_webhooks::manifests::CONFIGURATION;
use time::OffsetDateTime;

use crate::certificates;
use crate::metrics::Metrics;
use crate::secret::bundle_of;
use crate::serve::Serving;
use crate::view::{SharedView, View};

/// How often the reasons are looked for.
const CHECK: Duration = Duration::from_secs(2);

/// What the endpoints tell.
#[derive(Debug, Clone)]
pub struct Health {
    reasons: Arc<Mutex<Vec<String>>>,
    metrics: Arc<Metrics>,
}

impl Health {
    /// Not ready, because nothing has been looked at.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { reasons: Arc::new(Mutex::new(vec!["starting".into()])), metrics }
    }

    /// Serves the endpoints until the process ends.
    pub async fn serve(self, listen: SocketAddr) -> anyhow::Result<()> {
        let listener = tokio::net::TcpListener::bind(listen).await?;
        let router = Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self);
        axum::serve(listener, router).await?;
        Ok(())
    }

    fn set(&self, reasons: Vec<String>) {
        *self.reasons.lock().unwrap_or_else(PoisonError::into_inner) = reasons;
    }
}

async fn readyz(State(health): State<Health>) -> Response {
    let reasons = health.reasons.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
    if reasons.is_empty() { "ok\n".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, reasons).into_response() }
}

async fn metrics(State(health): State<Health>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match health.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// What is looked at.
pub struct Checks {
    /// For requests.
    pub client: Client,
    /// What is served.
    pub serving: Serving,
    /// What is known of the cluster.
    pub view: SharedView,
    /// The name by which the API server calls the webhook.
    pub name: String,
}

impl Checks {
    /// Looks for reasons for ever.
    pub async fn run(self, health: Health) {
        let mut crds_good = false;
        loop {
            let mut reasons = Vec::new();
            if !self.view.with(View::is_complete) {
                reasons.push("caches: not every list has been read yet".to_owned());
            }
            reasons.extend(self.certificate().await.err());
            if !crds_good {
                let missing = self.crds().await;
                crds_good = missing.is_ok();
                reasons.extend(missing.err());
            }
            health.set(reasons);
            tokio::time::sleep(CHECK).await;
        }
    }

    /// The webhook is served, and the API server trusts what is served.
    async fn certificate(&self) -> Result<(), String> {
        let Some(served) = self.serving.now() else {
            return Err("certificate: there is none yet, the webhook is not served".into());
        };
        let api: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let live = match api.get_opt(CONFIGURATION).await {
            Ok(Some(live)) => live,
            Ok(None) => return Err(format!("webhook: there is no ValidatingWebhookConfiguration {CONFIGURATION}")),
            // An API server that does not answer asks nothing either.
            Err(_) => return Ok(()),
        };
        certificates::verify(&bundle_of(&live), &served.leaf, &self.name, OffsetDateTime::now_utc())
            .map_err(|error| format!("certificate: the API server does not trust what is served: {error}"))
    }

    /// The served CRDs are ours: with a status and with `spec.mode`.
    async fn crds(&self) -> Result<(), String> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for kind in PolicyKind::ALL {
            let name = kind.crd_name();
            let crd = api.get(name).await.map_err(|error| format!("crds: {name}: {error}"))?;
            let version = crd.spec.versions.iter().find(|version| version.name == "v1alpha1");
            let status = version.and_then(|v| v.subresources.as_ref()).is_some_and(|s| s.status.is_some());
            let schema = version.and_then(|v| v.schema.as_ref()).and_then(|s| s.open_api_v3_schema.as_ref());
            let spec = schema.and_then(|s| s.properties.as_ref()).and_then(|p| p.get("spec"));
            let mode = spec.and_then(|s| s.properties.as_ref()).is_some_and(|p| p.contains_key("mode"));
            if !status || !mode {
                return Err(format!("crds: {name} lacks status or spec.mode: install the chart stockade-crds"));
            }
        }
        Ok(())
    }
}
