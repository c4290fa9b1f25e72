//! The kernel tests: the integration tests of enforcer-kernel, all in one boot of each kernel.

use std::{fs, io::Write as _, path::Path, time::Duration};

use anyhow::{Context, Result, bail};

use super::{
    archive,
    boot::{self, Machine, Outcome},
    environment, in_parallel,
    kernel::Image,
    last_lines,
    libtest::{self, Report},
    quote,
};
use crate::{built::Tests, step::seconds, workspace};

/// The package whose integration tests they are: they need a kernel of their own.
pub(crate) const PACKAGE: &str = "stockade-enforcer-kernel";
/// A module that every kernel has and nothing loads: tests do.
const MODULE: &str = "nls_utf8";
/// What the tests of one boot have written.
const LOG: &str = "output.log";

/// What the tests said on one kernel.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The kernel's name.
    pub(crate) kernel: String,
    /// The tests' results.
    pub(crate) report: Report,
    took: Duration,
}

impl Verdict {
    /// Did tests run, and all of them pass?
    pub(crate) fn is_success(&self) -> bool {
        self.report.failed.is_empty() && self.report.passed > 0
    }

    fn new(image: &Image, outcome: Outcome) -> Self {
        let Outcome { code, output, console, took, trouble } = outcome;
        let mut report = libtest::parse(&output);
        if let Some(trouble) = trouble {
            eprintln!("{}: {trouble}", image.name);
            report.failed.push("the guest did not come to its end".to_owned());
        } else if code != Some(0) && report.failed.is_empty() {
            report.failed.push(format!("a test binary ended with {}", code.unwrap_or(-1)));
        } else if report.passed + report.ignored == 0 {
            report.failed.push("no test ran".to_owned());
        }
        if !report.failed.is_empty() {
            let log = console.with_file_name(LOG);
            eprintln!("{}: the end of {}:\n{}", image.name, log.display(), last_lines(&output, 60));
        }
        Self { kernel: image.name.clone(), report, took }
    }

    fn line(&self) -> String {
        let Report { passed, failed, ignored } = &self.report;
        let mut line = format!("kernel {:5} {passed} passed, {} failed", self.kernel, failed.len());
        if *ignored > 0 {
            line += &format!(", {ignored} ignored");
        }
        line += &format!(" ({})", seconds(self.took));
        for name in failed {
            line += &format!("\n    failed: {name}");
        }
        line
    }
}

/// Boots the kernels with those of `tests` that are kernel tests and prints a line for each.
pub(crate) fn run(images: &[Image], machine: &Machine, tests: &[Tests], filters: &[String]) -> Result<Vec<Verdict>> {
    let ours = tests.iter().filter(|tests| tests.integration && tests.package == PACKAGE);
    let binaries: Vec<&Path> = ours.map(|tests| tests.executable.as_path()).collect();
    if binaries.is_empty() {
        bail!("{PACKAGE} has no integration tests");
    }
    let verdicts = in_parallel(images, |image| {
        let verdict = on(image, machine, &binaries, filters)?;
        println!("{}", verdict.line());
        Ok(verdict)
    })?;
    Ok(verdicts)
}

fn on(image: &Image, machine: &Machine, binaries: &[&Path], filters: &[String]) -> Result<Verdict> {
    let mut archive = archive()?;
    let folder = workspace::run_folder("vm", &image.name)?;
    fs::create_dir_all(&folder)?;
    archive.host_file(&image.module(MODULE, &folder)?, &format!("/modules/{MODULE}.ko"))?;
    let mut script = environment(&machine.variables);
    script.push_str("failed=0\n");
    for binary in binaries {
        let name = binary.file_name().unwrap_or_default().to_string_lossy();
        let to = format!("/tests/{name}");
        archive.host_file(binary, &to)?;
        script.push_str(&quote(&to));
        script.push_str(" --test-threads=1");
        for filter in filters {
            script.push(' ');
            script.push_str(&quote(filter));
        }
        script.push_str(" || failed=$?\n");
    }
    script.push_str("exit $failed\n");
    // Written as it comes, so that somebody who waits can see what runs.
    let mut log = fs::File::create(folder.join(LOG))?;
    let mut trouble = None;
    let outcome = boot::boot(image, machine, archive, &script, &folder, |line| {
        trouble = trouble.take().or(writeln!(log, "{line}").err());
    })?;
    if let Some(error) = trouble {
        return Err(error).context("cannot write the output of a guest");
    }
    Ok(Verdict::new(image, outcome))
}
