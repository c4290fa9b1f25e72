//! `stockade lint`: what admission would say about policies in files, without a cluster.

mod github;
pub(crate) mod judge;
pub(crate) mod report;
mod sarif;
pub(crate) mod text;

use std::io::{self, Write as _};

use crate::Outcome;
use crate::args::{FailOn, LintArgs, LintFormat};
use crate::cluster;
use crate::source::{self, Source};
use report::Report;

/// Reads, judges, prints.
pub(crate) fn run(args: &LintArgs) -> anyhow::Result<Outcome> {
    let nodes = cluster::nodes(&args.cluster)?;
    let mut report = Report::default();
    let mut sources: Vec<Source> = Vec::new();
    for source in source::read_all(&args.files, args.recursive) {
        match source {
            Ok(source) => {
                judge::judge_source(&source, sources.len(), nodes.as_ref(), &mut report);
                sources.push(source);
            }
            Err(error) => report.add_unreadable(&error),
        }
    }
    match args.output {
        LintFormat::Json => writeln!(io::stdout().lock(), "{:#}", report.to_json())?,
        LintFormat::Sarif => writeln!(io::stdout().lock(), "{:#}", sarif::log(&report))?,
        LintFormat::Github => github::write(&report, &mut io::stdout().lock())?,
        LintFormat::Text => {
            let mut out = anstream::stdout().lock();
            text::write(&report, &sources, &mut out)?;
        }
    }
    Ok(outcome(&report, args.fail_on))
}

fn outcome(report: &Report, fail_on: FailOn) -> Outcome {
    let counts = report.counts();
    if report.entries.iter().any(|e| !e.judged) {
        Outcome::Unknown
    } else if counts.faults > 0 || (fail_on == FailOn::Warning && counts.warnings > 0) {
        Outcome::Refused
    } else {
        Outcome::Fine
    }
}
