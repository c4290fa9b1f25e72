//! `cargo xtask cluster`: a Kubernetes of real parts on one machine.

mod addresses;
mod control_plane;
mod fixture;
mod network;
mod node;
mod node_image;
mod pki;
mod rig;
mod sandbox;
mod scratch;
mod wait;

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::{cache::Cache, demo, images, setup};

pub(crate) use addresses::{Node, REGISTRY};
pub(crate) use rig::{Extent, Rig};
pub(crate) use scratch::Scratch;

/// Brings up a cluster of real parts, and reaches it.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Which rig: each has its own network, so several can be up at once
    #[arg(long, global = true, default_value = "cluster")]
    run: String,
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Brings it up
    Up {
        /// Only etcd and the API server
        #[arg(long)]
        api_only: bool,
    },
    /// Ends it and removes its files
    Down,
    /// Says what is up
    Status,
    /// Runs kubectl in it
    #[command(disable_help_flag = true)]
    Kubectl {
        /// What kubectl is told
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Runs helm in it
    #[command(disable_help_flag = true)]
    Helm {
        /// What helm is told
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Runs a command on a node, outside of every pod
    Ssh {
        /// The node's name
        node: String,
        /// The command
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Runs any command in its network, as its administrator
    Exec {
        /// The command
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Ends one of its programs, or a node, as a crash would
    Kill {
        /// Its name: that of its log
        program: String,
    },
    /// Puts two releases of this checkout's images into its registry, and says which values name them
    Images,
    /// Starts the API server again
    StartApiServer,
}

/// Runs `cargo xtask cluster`.
pub(crate) fn run(args: &ClusterArgs) -> Result<()> {
    let run = &args.run;
    match &args.command {
        ClusterCommand::Up { api_only } => up(run, if *api_only { Extent::Api } else { Extent::Cluster }),
        ClusterCommand::Down => {
            let there = Rig::down(run)?;
            println!("{}", if there { "down" } else { "nothing was up" });
            Ok(())
        }
        ClusterCommand::Status => {
            let rig = open(run)?;
            println!("{} is up; its files are in {}", run, rig.dir().display());
            pass_on(rig.command("kubectl").args(["get", "nodes", "-o", "wide"]))
        }
        ClusterCommand::Kubectl { args } => pass_on(open(run)?.command("kubectl").args(args)),
        ClusterCommand::Helm { args } => pass_on(open(run)?.command("helm").args(args)),
        ClusterCommand::Ssh { node, command } => {
            let node = Node::named(node)?;
            pass_on(&mut open(run)?.on_node(node, &command.join(" ")))
        }
        ClusterCommand::Exec { command } => {
            let (program, args) = command.split_first().context("no command")?;
            pass_on(open(run)?.command(program).args(args))
        }
        ClusterCommand::Kill { program } => open(run)?.kill(program),
        ClusterCommand::Images => {
            let rig = open(run)?;
            demo::push_releases(&rig, &images::compile()?)?;
            println!("{0}/release-1.yaml and {0}/release-2.yaml", rig.dir().display());
            Ok(())
        }
        ClusterCommand::StartApiServer => open(run)?.start_api_server(),
    }
}

/// Installs what a rig of this extent needs from Debian.
pub(crate) fn prepare() -> Result<()> {
    setup::packages(&["build", "cluster"])
}

fn open(run: &str) -> Result<Rig> {
    Rig::open(&Cache::open()?, run)
}

fn up(run: &str, extent: Extent) -> Result<()> {
    prepare()?;
    let (rig, leash) = Rig::up(&Cache::open()?, run, extent)?;
    leash.release()?;
    let name = if run == "cluster" { String::new() } else { format!(" --run {run}") };
    println!("up: its files are in {}", rig.dir().display());
    println!("  cargo xtask cluster{name} kubectl get nodes");
    println!("  cargo xtask cluster{name} down");
    Ok(())
}

/// Becomes the command, so that the terminal, signals and the exit code are its own.
fn pass_on(command: &mut Command) -> Result<()> {
    Err(command.exec()).with_context(|| format!("cannot start {command:?}"))
}
