//! What the agent is started with.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// The per-node agent of Stockade: makes tracing policies true in this node's kernel and says so.
#[derive(Debug, Clone, Parser)]
#[command(name = "stockade-enforcer", version)]
pub struct Args {
    /// Run this node alone, from the policies in this folder (*.yaml, *.yml, *.json); reloads when they change.
    #[arg(long, value_name = "DIR")]
    pub policy_dir: Option<PathBuf>,
    /// Detach and unpin everything that Stockade left in this node's kernel, then end.
    #[arg(long, conflicts_with = "policy_dir")]
    pub detach: bool,
    /// The node's name. Default: the host's name.
    #[arg(long, env = "NODE_NAME")]
    pub node_name: Option<String>,
    /// The namespace of this release: where the node's Lease lives.
    #[arg(long, env = "POD_NAMESPACE", default_value = "stockade-system")]
    pub namespace: String,
    /// Where health (/livez, /readyz) and /metrics are served.
    #[arg(long, env = "STOCKADE_LISTEN", default_value = "0.0.0.0:8081")]
    pub listen: SocketAddr,
    /// What must outlive the agent: last known policies, the legend of what is in the kernel.
    #[arg(long, env = "STOCKADE_STATE_DIR", default_value = "/var/lib/stockade")]
    pub state_dir: PathBuf,
    /// Where programs, maps and links are pinned; on a BPF file system.
    #[arg(long, env = "STOCKADE_PIN_ROOT", default_value = "/sys/fs/bpf/stockade")]
    pub pin_root: PathBuf,
    /// The host's cgroup v2 tree.
    #[arg(long, env = "STOCKADE_CGROUP_ROOT", default_value = "/sys/fs/cgroup")]
    pub cgroup_root: PathBuf,
    /// Where events go, as JSON lines: `-` is stdout, anything else a file that is rotated.
    #[arg(long, env = "STOCKADE_EVENTS", default_value = "-", value_name = "FILE")]
    pub events: String,
    /// Rotate the event file beyond this many MiB.
    #[arg(long, env = "STOCKADE_EVENTS_MAX_MIB", default_value_t = 10)]
    pub events_max_mib: usize,
    /// How many rotated event files are kept.
    #[arg(long, env = "STOCKADE_EVENTS_MAX_FILES", default_value_t = 5)]
    pub events_max_files: usize,
    /// Handlers of RuntimeClasses whose containers are processes of this node's kernel, beside runc and its like.
    #[arg(long, env = "STOCKADE_HOST_KERNEL_RUNTIMES", value_delimiter = ',', value_name = "HANDLER")]
    pub host_kernel_runtimes: Vec<String>,
    /// Which events are exported: those of policies only, or executions and exits too.
    #[arg(long, env = "STOCKADE_EVENTS_KINDS", value_enum, default_value_t = EventKinds::All)]
    pub event_kinds: EventKinds,
}

/// Which events are exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum EventKinds {
    /// Policy events, executions and exits.
    All,
    /// Policy events alone.
    Policy,
}
