//! The Secret with the webhook's CA and certificate: written by the leader, followed by every replica.
//!
//! A new CA is trusted before anything of it is served: its Secret says from when on it may be. A replica goes on with what
//! it has until then, so that a deleted or damaged Secret costs no request.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;
use stockade_crds::names::OPERATOR_MANAGER;
use stockade_webhooks::manifests::{CONFIGURATION, SERVICE, WEBHOOK};
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::certificates::{self, CertificateError, Need, Stored};

/// The Secret's name.
pub const NAME: &str = "stockade-webhook-ca";
/// From when on the leaf may be served by a replica that has another good one: seconds since 1970.
const SERVE_FROM: &str = "stockade.dev/serve-from";
/// How long API servers get to learn of a new CA.
const LEARN: i64 = 60;
/// Ages are looked at this often, changes at once.
const CHECK: Duration = Duration::from_secs(30);

/// The names that the API server calls the webhook by, the Service's first.
#[must_use]
pub fn names(namespace: &str, further: &[String]) -> Vec<String> {
    let service = format!("{SERVICE}.{namespace}.svc");
    [vec![service], further.to_vec()].concat()
}

/// What a replica knows of the Secret.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// What it holds.
    pub stored: Stored,
    /// From when on its leaf may be served.
    pub serve_from: i64,
    /// It has been looked for.
    pub looked: bool,
    version: Option<String>,
}

impl Known {
    /// What somebody else keeps and mounts as files.
    #[must_use]
    pub fn of_files(stored: Stored) -> Self {
        Self { stored, looked: true, ..Self::default() }
    }
}

/// Follows the Secret for ever.
pub async fn follow(client: Client, namespace: String, known: watch::Sender<Known>) {
    let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let api: Api<Secret> = Api::namespaced(client, &namespace);
    let mut events = watcher(api, config).default_backoff().boxed();
    let mut arriving = None;
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(secret)) => drop(known.send_replace(read(&secret))),
            Ok(watcher::Event::Delete(_)) => drop(known.send_replace(Known { looked: true, ..Known::default() })),
            Ok(watcher::Event::Init) => arriving = None,
            Ok(watcher::Event::InitApply(secret)) => arriving = Some(read(&secret)),
            Ok(watcher::Event::InitDone) => {
                let found = arriving.take().unwrap_or_default();
                known.send_replace(Known { looked: true, ..found });
            }
            Err(error) => tracing::warn!(%error, "the watch of the certificate's Secret was interrupted and goes on"),
        }
    }
}

fn read(secret: &Secret) -> Known {
    let data = secret.data.as_ref();
    let text = |key: &str| {
        let bytes = data.and_then(|data| data.get(key)).map(|value| value.0.clone()).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    };
    let serve_from = secret.annotations().get(SERVE_FROM).and_then(|at| at.parse().ok()).unwrap_or_default();
    Known {
        stored: Stored { ca: text("ca.crt"), ca_key: text("ca.key"), leaf: text("tls.crt"), leaf_key: text("tls.key") },
        serve_from,
        looked: true,
        version: secret.metadata.resource_version.clone(),
    }
}

/// What the leader does about certificates.
pub struct Keeper {
    /// For requests.
    pub client: Client,
    /// Where the Secret is.
    pub namespace: String,
    /// The names in the certificate.
    pub names: Vec<String>,
}

/// Why the certificates are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// They could not be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The API server refused.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl Keeper {
    /// Keeps for as long as this replica leads.
    pub async fn run(self, mut known: watch::Receiver<Known>) {
        loop {
            let now = OffsetDateTime::now_utc();
            let current = known.borrow_and_update().clone();
            if current.looked
                && let Err(error) = self.keep(&current, now).await
            {
                tracing::warn!(%error, "the webhook's certificates could not be kept; it is tried again");
            }
            tokio::select! {
                changed = known.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(CHECK) => {}
            }
        }
    }

    async fn keep(&self, known: &Known, now: OffsetDateTime) -> Result<(), KeepError> {
        let (stored, serve_from) = match certificates::need(&known.stored, &self.names, now) {
            Need::Nothing => return self.trust(&known.stored.ca, now).await,
            Need::Leaf => (certificates::new_leaf(&known.stored, &self.names, now)?, known.serve_from),
            Need::Authority => {
                tracing::info!("making a new certificate authority for the webhook");
                (certificates::new_authority(&self.names, now)?, now.unix_timestamp() + LEARN)
            }
        };
        // Trusted first: whoever serves the new leaf is believed.
        self.trust(&stored.ca, now).await?;
        self.write(known, &stored, serve_from).await
    }

    /// Puts the CA into the webhook configuration's bundle, under a field manager of our own.
    async fn trust(&self, ca: &str, now: OffsetDateTime) -> Result<(), KeepError> {
        let api: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let Some(live) = api.get_opt(CONFIGURATION).await? else {
            tracing::warn!(
                "there is no ValidatingWebhookConfiguration {CONFIGURATION}: nothing is judged at admission"
            );
            return Ok(());
        };
        let live = bundle_of(&live);
        let bundle = certificates::bundle(&live, ca, now);
        if bundle == live {
            return Ok(());
        }
        let patch = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": CONFIGURATION},
            "webhooks": [{"name": WEBHOOK, "clientConfig": {"caBundle": ByteString(bundle.into_bytes())}}],
        });
        let params = PatchParams::apply(OPERATOR_MANAGER).force();
        api.patch(CONFIGURATION, &params, &Patch::Apply(&patch)).await?;
        Ok(())
    }

    async fn write(&self, known: &Known, stored: &Stored, serve_from: i64) -> Result<(), KeepError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let data = [
            ("ca.crt", &stored.ca),
            ("ca.key", &stored.ca_key),
            ("tls.crt", &stored.leaf),
            ("tls.key", &stored.leaf_key),
        ];
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(NAME.into()),
                annotations: Some(BTreeMap::from([(SERVE_FROM.to_owned(), serve_from.to_string())])),
                resource_version: known.version.clone(),
                ..ObjectMeta::default()
            },
            data: Some(
                data.into_iter().map(|(key, text)| (key.into(), ByteString(text.clone().into_bytes()))).collect(),
            ),
            type_: Some("Opaque".into()),
            ..Secret::default()
        };
        let params = PostParams { field_manager: Some(OPERATOR_MANAGER.into()), ..PostParams::default() };
        let result = match &known.version {
            Some(_) => api.replace(NAME, &params, &secret).await,
            None => api.create(&params, &secret).await,
        };
        match result {
            // Somebody was faster; the watch brings what it is now.
            Err(kube::Error::Api(error)) if error.code == 409 => Ok(()),
            result => Ok(result.map(drop)?),
        }
    }
}

/// The bundle of the live configuration.
#[must_use]
pub fn bundle_of(configuration: &ValidatingWebhookConfiguration) -> String {
    let webhooks = configuration.webhooks.iter().flatten();
    let bundles = webhooks.filter(|w| w.name == WEBHOOK).filter_map(|w| w.client_config.ca_bundle.as_ref());
    bundles.map(|bundle| String::from_utf8_lossy(&bundle.0).into_owned()).collect()
}
