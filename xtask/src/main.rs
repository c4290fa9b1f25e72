//! Builds, generates, boots, tests and measures Stockade on one machine.

mod cache;
mod cleanup;
mod cluster;
mod ebpf;
mod process;
mod setup;
mod step;
mod versions;
mod vm;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Builds, generates, boots, tests and measures Stockade on one machine.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Xtask {
    #[command(subcommand)]
    command: Command,
}

/// One line here and one in `run` for each command; its arguments and its work are in its own module.
#[derive(Debug, Subcommand)]
enum Command {
    /// Install the system packages that all parts of the rig need.
    Setup,
    Cluster(cluster::ClusterArgs),
    /// Build the eBPF programs and say where they are.
    Ebpf,
    /// Boot kernels and run a program, or the kernel tests, in each.
    Vm(vm::Vm),
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Cluster(args) => cluster::run(&args),
        Command::Setup => setup::packages(&["build", "ebpf", "vm", "cluster"]),
        Command::Ebpf => ebpf::build().map(|object| println!("{}", object.display())),
        Command::Vm(vm) => vm::run(vm),
    }
}

fn main() -> ExitCode {
    let Xtask { command } = Xtask::parse();
    let result = cleanup::handle_signals().and_then(|()| run(command));
    let code = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    };
    cleanup::leave();
    code
}
