//! The stockade command: `lint` judges policies without a cluster, `explain` says what they do, `test` whether that is what is
//! expected, `diff` what changes; `convert` rewrites them, `status` shows what a cluster does about them.
//!
//! Exit codes of every command: 0 nothing refused, 1 something is, 2 it could not be found out; 2 wins.
#![forbid(unsafe_code)]

mod args;
mod cluster;
mod convert;
mod diff;
mod document;
mod event;
mod explain;
mod lines;
mod lint;
mod man;
mod policies;
mod snippet;
mod source;
mod status;
mod test;
mod tree;

use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Args, Command};

/// What a command found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Nothing is refused.
    Fine,
    /// Something is.
    Refused,
    /// It could not be found out.
    Unknown,
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse_from(std::env::args_os());
    match run(args) {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Refused) => ExitCode::from(1),
        Ok(Outcome::Unknown) => ExitCode::from(2),
        // Whoever reads our output has had enough of it: `stockade lint … | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("error: {}", chain(&error));
            ExitCode::from(2)
        }
    }
}

fn run(args: Args) -> anyhow::Result<Outcome> {
    match args.command {
        Command::Lint(args) => lint::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Version(args) => version(args.output),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), args::program_name(), &mut text);
            io::stdout().write_all(&text)?;
            Ok(Outcome::Fine)
        }
    }
}

fn version(output: Option<args::VersionFormat>) -> anyhow::Result<Outcome> {
    let version = env!("CARGO_PKG_VERSION");
    let schema = stockade_crds::names::SCHEMA_VERSION;
    let mut out = io::stdout().lock();
    match output {
        None => writeln!(out, "stockade {version} (policy schema {schema})")?,
        Some(args::VersionFormat::Json) => {
            let object = serde_json::json!({ "version": 1, "stockade": version, "policySchema": schema });
            writeln!(out, "{object:#}")?;
        }
    }
    Ok(Outcome::Fine)
}

/// The error and its causes, each said once: many libraries repeat the cause in what they say themselves.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|e| e.downcast_ref::<io::Error>()).any(|e| e.kind() == ErrorKind::BrokenPipe)
}
