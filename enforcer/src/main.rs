//! The per-node agent of Stockade.

use clap::Parser;
use stockade_enforcer::{args::Args, run};
use tracing_subscriber::EnvFilter;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        log.json().init();
    } else {
        log.init();
    }
    if args.detach {
        return run::detach(&args);
    }
    let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    anyhow::ensure!(installed.is_ok(), "another TLS provider is installed already");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = match args.policy_dir.clone() {
        Some(dir) => runtime.block_on(run::alone(args, dir)),
        None => runtime.block_on(run::in_cluster(args)),
    };
    // Whatever hangs (a reader of stdout that does not read) must not keep the process beyond its grace period.
    runtime.shutdown_background();
    ended
}
