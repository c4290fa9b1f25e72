//! Builds, generates, boots, tests and measures Stockade on one machine.

mod bench;
mod built;
mod cache;
mod cleanup;
mod cluster;
mod demo;
mod doctor;
mod ebpf;
mod elevate;
mod images;
mod process;
mod setup;
mod step;
mod test;
mod tidy;
mod versions;
mod vm;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, ensure};
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
    Bench(bench::Bench),
    Doctor(doctor::Doctor),
    /// Install the system packages that all parts of the rig need.
    Setup,
    Cluster(cluster::ClusterArgs),
    Demo(demo::Demo),
    /// Build the eBPF programs and say where they are.
    Ebpf,
    /// Write the generated files: CRDs, webhook manifests, RBAC, docs.
    Gen,
    Test(test::Test),
    /// Check what no compiler does: arrows between crates, names, sizes, licences, links, generated files.
    Tidy,
    Vm(vm::Vm),
}

impl Command {
    /// Whether it does what only root can: nodes, and whatever builds them.
    fn needs_root(&self) -> bool {
        match self {
            Self::Cluster(_) | Self::Demo(_) | Self::Bench(_) => true,
            Self::Test(test) => test.needs_root(),
            Self::Doctor(_) | Self::Setup | Self::Ebpf | Self::Gen | Self::Tidy | Self::Vm(_) => false,
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    if command.needs_root() {
        elevate::become_root()?;
    }
    match command {
        Command::Bench(bench) => bench::run(&bench),
        Command::Doctor(doctor::Doctor {}) => doctor::run(),
        Command::Cluster(args) => cluster::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Setup => setup::packages(setup::ALL),
        Command::Ebpf => ebpf::build().map(|object| println!("{}", object.display())),
        Command::Gen => generate(),
        Command::Test(test) => return Ok(test::run(&test)),
        Command::Tidy => tidy::run(None).and_then(|wrong| {
            ensure!(wrong.is_empty(), "{} things are not tidy", wrong.len());
            println!("tidy");
            Ok(())
        }),
        Command::Vm(vm) => vm::run(vm),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn generate() -> Result<()> {
    let run = process::Run::new("cargo").args(["run", "--quiet", "--package", "stockade-gen"]);
    run.current_dir(workspace::root()).run()
}

fn main() -> ExitCode {
    let Xtask { command } = Xtask::parse();
    let result = cleanup::handle_signals().and_then(|()| run(command));
    let code = match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    };
    cleanup::leave();
    code
}
