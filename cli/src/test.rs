//! `stockade test`: whether policies do what is expected of them, as the model of the language judges it; or what they would
//! have done about events that an enforcer has recorded.

mod expect;
mod file;
mod process;
mod recorded;
mod report;
mod run;
mod shape;

use std::path::Path;

use crate::Outcome;
use crate::args::TestArgs;
use crate::document::documents;
use crate::policies::Policies;
use crate::source::{self, Source};
use report::{FileReport, Report};
use stockade_policy::Fault;

/// Tests, prints.
pub(crate) fn run(args: &TestArgs) -> anyhow::Result<Outcome> {
    if let Some(events) = &args.events {
        return recorded::run(events, &args.paths, args.output);
    }
    let here = [Path::new(".").to_owned()];
    let paths = if args.paths.is_empty() { &here } else { args.paths.as_slice() };
    let mut report = Report::default();
    for source in source::tests(paths) {
        match source {
            Ok(source) => report.files.push(of_source(source)),
            Err(error) => report.unreadable.push(format!("{} {}", error.file(), error.reason())),
        }
    }
    report.print(args.output)?;
    Ok(report.outcome())
}

/// Every document of a test file is a test file of its own.
fn of_source(source: Source) -> FileReport {
    let mut report = FileReport::new(source);
    let documents = documents(&report.source.text);
    if documents.is_empty() {
        let fault = Fault {
            path: String::new(),
            code: "Required",
            message: "there are no tests".into(),
            help: "write tests: and a list of events with what is expected".into(),
        };
        report.fault(fault, 0..0);
    }
    for document in documents {
        let tree = match document.content {
            Ok(tree) => tree,
            Err(why) => {
                let fault = Fault { path: String::new(), code: "Syntax", message: why.message, help: String::new() };
                report.fault(fault, document.start + why.place.start..document.start + why.place.end);
                continue;
            }
        };
        report.begin(document.start, tree);
        let repeated = report.repeated();
        let folder = Path::new(&report.source.name).parent().unwrap_or(Path::new("")).to_owned();
        match file::read(&report.value(), Path::new(&report.source.name)) {
            Ok(file) if repeated => drop(file),
            Ok(file) => match load(&file, &folder) {
                Ok(policies) => {
                    report.policies(&policies);
                    for test in &file.tests {
                        report.tested(run::run(test, &policies.list));
                    }
                }
                Err(faults) => faults.into_iter().for_each(|fault| report.fault_at(fault)),
            },
            Err(faults) => faults.into_iter().for_each(|fault| report.fault_at(fault)),
        }
    }
    report
}

/// The policies that a test file names.
fn load(file: &file::TestFile, folder: &Path) -> Result<Policies, Vec<Fault>> {
    let mut policies = Policies::default();
    let mut faults = Vec::new();
    for (name, path) in &file.policies {
        let known = policies.list.len();
        let mut wrong = |message: String, help: &str| {
            faults.push(Fault { path: path.clone(), code: "PolicyUnknown", message, help: help.to_owned() });
        };
        for source in source::read_all(&[folder.join(name)], false) {
            match source {
                Ok(source) => policies.add(&source),
                Err(error) => wrong(format!("{} {}", error.file(), error.reason()), "name a file with a policy"),
            }
        }
        for trouble in policies.troubles.drain(..) {
            wrong(trouble, "a policy must mean one thing before it can be tested");
        }
        if policies.list.len() == known && faults.is_empty() {
            let fault = format!("there is no policy in {}", name.display());
            faults.push(Fault {
                path: path.clone(),
                code: "PolicyUnknown",
                message: fault,
                help: "name a file with one".into(),
            });
        }
    }
    if faults.is_empty() { Ok(policies) } else { Err(faults) }
}
