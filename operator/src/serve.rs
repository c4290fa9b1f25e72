//! Serves the webhook over TLS, on every replica, with whatever good certificate there is.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use stockade_webhooks::{Settings, router};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::certificates::{self, Stored};
use crate::secret::Known;

/// What is served now; empty until there is something.
#[derive(Debug, Clone, Default)]
pub struct Serving(Arc<Mutex<Option<Stored>>>);

impl Serving {
    /// What is served now.
    #[must_use]
    pub fn now(&self) -> Option<Stored> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, stored: Stored) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(stored);
    }
}

/// A new connection has this long to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// New connections are taken for so long after the end was asked for: API servers and kube-proxies learn only meanwhile that
/// this replica is gone, and a connection that is refused is a policy that cannot be written.
const LEARN: Duration = Duration::from_secs(5);
/// Requests under way have this long at the end.
const GRACE: Duration = Duration::from_secs(5);
/// Certificates in files are looked at this often.
const REREAD: Duration = Duration::from_secs(10);

/// Waits for the first certificate, then serves until `stop`, following `known`.
pub async fn serve(
    listen: SocketAddr,
    settings: Settings,
    mut known: watch::Receiver<Known>,
    serving: Serving,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let first = known.wait_for(|known| certificates::servable(&known.stored, OffsetDateTime::now_utc())).await?.clone();
    let config = RustlsConfig::from_pem(first.stored.leaf.clone().into(), first.stored.leaf_key.clone().into()).await?;
    serving.set(first.stored);
    tokio::spawn(reload(config.clone(), known, serving));
    let handle = Handle::new();
    tokio::spawn({
        let handle = handle.clone();
        async move {
            stop.cancelled().await;
            tokio::time::sleep(LEARN).await;
            handle.graceful_shutdown(Some(GRACE));
        }
    });
    tracing::info!(%listen, "serving the webhook");
    let mut server = axum_server::bind_rustls(listen, config).map(|acceptor| acceptor.handshake_timeout(HANDSHAKE));
    server.http_builder().http2().enable_connect_protocol();
    server.handle(handle).serve(router(settings).into_make_service()).await?;
    Ok(())
}

/// Serves what is stored once it may be; at once when what is served now is no good any more.
async fn reload(config: RustlsConfig, mut known: watch::Receiver<Known>, serving: Serving) {
    loop {
        let Known { stored, serve_from, .. } = known.borrow_and_update().clone();
        let now = OffsetDateTime::now_utc();
        let current = serving.now();
        let mut wait = Duration::from_secs(3600);
        if current.as_ref() != Some(&stored) && certificates::servable(&stored, now) {
            let same_authority = current.as_ref().is_some_and(|current| current.ca == stored.ca);
            let current_good = current.is_some_and(|current| certificates::servable(&current, now));
            let early = serve_from - now.unix_timestamp();
            if early > 0 && current_good && !same_authority {
                wait = Duration::from_secs(u64::try_from(early).unwrap_or_default());
            } else {
                match config.reload_from_pem(stored.leaf.clone().into(), stored.leaf_key.clone().into()).await {
                    Ok(()) => {
                        tracing::info!("serving the webhook with a new certificate");
                        serving.set(stored);
                    }
                    Err(error) => tracing::error!(%error, "a new certificate cannot be served; the old one is"),
                }
            }
        }
        tokio::select! {
            changed = known.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Follows certificates that cert-manager mounts as files.
pub async fn follow_files(dir: &Path, known: watch::Sender<Known>) {
    loop {
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
        let stored =
            Stored { ca: read("ca.crt"), leaf: read("tls.crt"), leaf_key: read("tls.key"), ca_key: String::new() };
        let found = Known::of_files(stored);
        known.send_if_modified(|known| {
            let differs = *known != found;
            *known = found;
            differs
        });
        tokio::time::sleep(REREAD).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_replica_that_is_to_end_still_answers_those_who_do_not_know_it_yet() {
        // Both libraries of the process bring a provider, and nobody has chosen.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let stored = certificates::new_authority(&["localhost".into()], OffsetDateTime::now_utc()).unwrap();
        let (_known, knowns) = watch::channel(Known::of_files(stored));
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listen, Settings::default(), knowns, Serving::default(), stop.clone()));
        while tokio::net::TcpStream::connect(listen).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(tokio::net::TcpStream::connect(listen).await.is_ok(), "a connection is refused at once");
        task.abort();
    }
}
