//! `cargo xtask bench`: what an operation costs in a guest, in executed instructions, and what judging a policy costs here; and
//! the tables in `docs/performance.md` that say so.

mod reasons;
mod rows;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};

use self::rows::Row;
use crate::{ebpf, process::Run, step::step, vm, workspace};

const PACKAGE: &str = "stockade-enforcer-kernel";
/// The example of that package that measures and prints a row of JSON for each figure.
const EXAMPLE: &str = "hot_path";
/// The agent, for its own memory: package and program.
const AGENT: &str = "stockade-enforcer";
const DOCUMENT: &str = "docs/performance.md";
/// The example that measures judging and compiling.
const POLICY_EXAMPLE: &str = "policy_cost";
const END: &str = "<!-- end -->";

/// Measure, and compare with the budgets.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What a hook costs, in executed instructions of a guest.
    HotPath(HotPath),
    /// What judging and compiling policies costs on this machine, in time of one CPU and in memory.
    Policy(Shown),
}

impl What {
    /// As it is called on the command line.
    const fn name(&self) -> &'static str {
        match self {
            Self::HotPath(_) => "hot-path",
            Self::Policy(_) => "policy",
        }
    }
}

#[derive(Debug, Args)]
struct HotPath {
    #[command(flatten)]
    shown: Shown,
    /// The kernel to measure on.
    #[arg(long, default_value = "6.1")]
    kernel: String,
}

#[derive(Debug, Args)]
struct Shown {
    /// How to print the rows.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// Write the table into docs/performance.md.
    #[arg(long)]
    write: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Runs the command. A figure over its budget is shown and is no error: the table is where it is explained.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    let (rows, Shown { output, write }) = match &bench.what {
        What::HotPath(HotPath { shown, kernel }) => (measure(kernel)?, shown),
        What::Policy(shown) => (measure_policies()?, shown),
    };
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&rows)?),
        Output::Table => println!("{}", rows::table(&rows)),
    }
    if *write {
        let path = workspace::root().join(DOCUMENT);
        let old = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        fs::write(&path, between(&old, bench.what.name(), &rows::table(&rows))?)?;
        eprintln!("wrote {DOCUMENT}");
    }
    Ok(())
}

fn measure(kernel: &str) -> Result<Vec<Row>> {
    ebpf::build()?;
    let binary = step("bench: build", |_| build(EXAMPLE, &["--package", AGENT, "--bin", AGENT]))?;
    let agent = binary.ancestors().nth(2).context("the bench has no folder")?.join(AGENT);
    let machine = vm::Machine {
        cpus: 1,
        memory: 1024,
        // One CPU runs, because only then is time the number of instructions; what is per CPU is made for two.
        append: "possible_cpus=2".to_owned(),
        variables: Vec::new(),
        icount: true,
        timeout: Duration::from_secs(1800),
    };
    let files = [(agent, "/stockade-enforcer")];
    let outcome = vm::run_in(kernel, &machine, &binary, &files)?;
    if let Some(trouble) = outcome.trouble {
        bail!("the guest: {trouble}");
    }
    ensure!(outcome.code == Some(0), "the bench ended with {:?}", outcome.code);
    let rows = rows::parse(&outcome.output)?;
    ensure!(!rows.is_empty(), "the bench printed no row");
    Ok(rows)
}

fn measure_policies() -> Result<Vec<Row>> {
    let binary = step("bench: build", |_| build(POLICY_EXAMPLE, &[]))?;
    let rows = rows::parse(&step("bench: measure", |_| Run::new(&binary).output())?)?;
    ensure!(!rows.is_empty(), "the bench printed no row");
    Ok(rows)
}

/// Builds an example, and what else is asked for; the example's path.
fn build(example: &str, also: &[&str]) -> Result<PathBuf> {
    let messages = Run::new("cargo")
        .args(["build", "--quiet", "--release", "--package", PACKAGE, "--example", example])
        .args(also)
        .arg("--message-format=json-render-diagnostics")
        .current_dir(workspace::root())
        .output()?;
    let found = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message.pointer("/target/name")? == example;
        let path = message.get("executable")?.as_str()?;
        is_it.then(|| Path::new(path).to_path_buf())
    });
    found.with_context(|| format!("cargo built no example {example} of {PACKAGE}"))
}

/// What stands before the table of a bench.
fn mark(bench: &str) -> String {
    format!("<!-- written by `cargo xtask bench {bench} --write` -->")
}

/// Puts the table between the two marks of the document.
fn between(document: &str, bench: &str, table: &str) -> Result<String> {
    let begin = mark(bench);
    let marks = document.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = marks.with_context(|| format!("{DOCUMENT} has lost its marks: {begin} and {END}"))?;
    Ok(format!("{before}{begin}\n\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let (first, second) = (mark("first"), mark("second"));
        let document = format!("before\n{first}\nold\n{END}\nbetween\n{second}\nold\n{END}\nafter\n");
        let new = between(&document, "second", "| new |\n").unwrap();
        assert_eq!(new, format!("before\n{first}\nold\n{END}\nbetween\n{second}\n\n| new |\n\n{END}\nafter\n"));
        assert_eq!(between(&new, "second", "| new |\n").unwrap(), new, "writing twice changes nothing");
        assert!(between("no marks", "first", "").is_err());
    }
}
