//! What the operator is started with.

use std::net::SocketAddr;

use clap::{Parser, Subcommand, ValueEnum};

/// The cluster controller of Stockade: judges policies at admission, reports what is in force.
#[derive(Debug, Clone, Parser)]
#[command(name = "stockade-operator", version)]
pub struct Args {
    /// The namespace of this release: Secret, Leases and the webhook's Service are there.
    #[arg(long, env = "POD_NAMESPACE", default_value = "stockade-system", global = true)]
    pub namespace: String,
    /// This replica's name in the election of the one that writes.
    #[arg(long, env = "POD_NAME", default_value = "stockade-operator", global = true)]
    pub name: String,
    /// Where the webhook is served.
    #[arg(long, env = "STOCKADE_WEBHOOK_LISTEN", default_value = "0.0.0.0:9443")]
    pub webhook_listen: SocketAddr,
    /// Where health (/livez, /readyz) and /metrics are served.
    #[arg(long, env = "STOCKADE_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// What happens to an ambiguous policy.
    #[arg(long, env = "STOCKADE_ADMISSION_ACTION", value_enum, ignore_case = true, default_value_t = Action::Deny)]
    pub admission_action: Action,
    /// Where the webhook's certificate comes from.
    #[arg(long, env = "STOCKADE_CERTIFICATES", value_enum, default_value_t = Certificates::SelfSigned)]
    pub certificates: Certificates,
    /// Further names in the webhook's certificate, for API servers that do not reach it through its Service.
    #[arg(long, env = "STOCKADE_WEBHOOK_NAMES", value_delimiter = ',')]
    pub webhook_names: Vec<String>,
    /// Remove the taint stockade.dev/agent-not-ready from nodes whose enforcer is at work.
    #[arg(long, env = "STOCKADE_REMOVE_STARTUP_TAINT", value_parser = clap::builder::BoolishValueParser::new())]
    pub remove_startup_taint: bool,
    /// What to do; without it: run.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What else the program does.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Asks every agent to detach and unpin, waits, and names the nodes that did not answer.
    Uninstall {
        /// How long to wait for answers, in seconds.
        #[arg(long, default_value_t = 120)]
        timeout: u64,
    },
}

/// What happens to an ambiguous policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// It is refused.
    Deny,
    /// It is let in with warnings.
    Warn,
}

/// Where the webhook's certificate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Certificates {
    /// A CA of its own, renewed by itself.
    #[value(name = "self")]
    SelfSigned,
    /// cert-manager, mounted as files.
    #[value(name = "certManager")]
    CertManager,
}
