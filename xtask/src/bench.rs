//! `cargo xtask bench`: what an operation costs, in executed instructions, and the table in `docs/performance.md` that says so.

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
const BEGIN: &str = "<!-- written by `cargo xtask bench hot-path --write` -->";
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
}

#[derive(Debug, Args)]
struct HotPath {
    /// How to print the rows.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// The kernel to measure on.
    #[arg(long, default_value = "6.1")]
    kernel: String,
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
    let What::HotPath(HotPath { output, kernel, write }) = &bench.what;
    let rows = measure(kernel)?;
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&rows)?),
        Output::Table => println!("{}", rows::table(&rows)),
    }
    if *write {
        let path = workspace::root().join(DOCUMENT);
        let old = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        fs::write(&path, between(&old, &rows::table(&rows))?)?;
        eprintln!("wrote {DOCUMENT}");
    }
    Ok(())
}

fn measure(kernel: &str) -> Result<Vec<Row>> {
    ebpf::build()?;
    let binary = step("bench: build", |_| build())?;
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

fn build() -> Result<PathBuf> {
    let messages = Run::new("cargo")
        .args(["build", "--quiet", "--release", "--package", PACKAGE, "--example", EXAMPLE])
        .args(["--package", AGENT, "--bin", AGENT])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(workspace::root())
        .output()?;
    let found = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message.pointer("/target/name")? == EXAMPLE;
        let path = message.get("executable")?.as_str()?;
        is_it.then(|| Path::new(path).to_path_buf())
    });
    found.with_context(|| format!("cargo built no example {EXAMPLE} of {PACKAGE}"))
}

/// Puts the table between the two marks of the document.
fn between(document: &str, table: &str) -> Result<String> {
    let marks = document.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = marks.with_context(|| format!("{DOCUMENT} has lost its marks: {BEGIN} and {END}"))?;
    Ok(format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let document = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = between(&document, "| new |\n").unwrap();
        assert_eq!(new, format!("before\n{BEGIN}\n\n| new |\n\n{END}\nafter\n"));
        assert_eq!(between(&new, "| new |\n").unwrap(), new, "writing twice changes nothing");
        assert!(between("no marks", "").is_err());
    }
}
