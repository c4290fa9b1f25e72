//! The cluster controller of Stockade.

use std::time::Duration;

use clap::Parser;
use stockade_operator::args::{Args, Command};
use stockade_operator::{run, uninstall};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        log.json().init();
    } else {
        log.init();
    }
    let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    anyhow::ensure!(installed.is_ok(), "another TLS provider is installed already");
    match args.command {
        Some(Command::Uninstall { timeout }) => {
            let client = kube::Client::try_default().await?;
            uninstall::uninstall(client, Duration::from_secs(timeout)).await
        }
        None => run::run(args).await,
    }
}
