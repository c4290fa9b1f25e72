//! `cargo xtask test`: all tests, cheapest first, and one line at the end that says how many passed and failed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::{
    built::{self, LIMIT, NOT_HERE, Tests},
    cluster::{Extent, Scratch},
    demo, ebpf,
    process::{Run, tail},
    setup,
    step::{Progress, seconds},
    tidy,
    vm::{self, Report},
    workspace,
};

/// Its integration tests need a rig; the rungs `api` and `node` run them.
const E2E: &str = "stockade-e2e";
/// The rungs without being asked.
const DEFAULT: &[Rung] = &[Rung::Unit, Rung::Kernel, Rung::Api, Rung::Node];

/// Run all tests, cheapest first; the last line says how many passed and failed.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Only these rungs [default: all].
    rungs: Vec<Rung>,
    /// Only what runs in a minute: formatting, lints, tidiness, unit and property tests.
    #[arg(long, conflicts_with = "rungs")]
    fast: bool,
}

/// A rung of the ladder of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Rung {
    /// Formatting, lints, tidiness, unit and property tests on this machine.
    Unit,
    /// The kernel engine in guests, on every kernel that is supported.
    Kernel,
    /// Webhook, operator and CRDs against a real API server.
    Api,
    /// The whole product on two real nodes.
    Node,
}

impl Test {
    /// Whether any of it needs namespaces or nodes.
    pub(crate) fn needs_root(&self) -> bool {
        self.chosen().iter().any(|rung| matches!(rung, Rung::Api | Rung::Node))
    }

    fn chosen(&self) -> Vec<Rung> {
        let mut rungs = match (self.fast, self.rungs.as_slice()) {
            (true, _) => vec![Rung::Unit],
            (false, []) => DEFAULT.to_vec(),
            (false, chosen) => chosen.to_vec(),
        };
        rungs.sort();
        rungs.dedup();
        rungs
    }
}

/// Runs the rungs and prints the line.
pub(crate) fn run(test: &Test) -> ExitCode {
    let rungs = test.chosen();
    let mut all = Report::default();
    for rung in rungs {
        let started = Instant::now();
        let report = match rung {
            Rung::Unit => unit(),
            Rung::Kernel => kernel(),
            Rung::Api => e2e("api"),
            Rung::Node => e2e("node"),
        };
        let report = or_failure(&format!("{rung:?}"), report);
        let Report { passed, failed, .. } = &report;
        println!("{rung:?}: {passed} passed, {} failed ({})", failed.len(), seconds(started.elapsed()));
        all.add(report);
    }
    for name in &all.failed {
        println!("failed: {name}");
    }
    println!("{} passed, {} failed", all.passed, all.failed.len());
    if all.failed.is_empty() && all.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What could not be run, and what ran no test, has failed.
fn or_failure(name: &str, report: Result<Report>) -> Report {
    match report {
        Ok(report) if report.passed + report.failed.len() > 0 => report,
        Ok(report) => Report { failed: vec![format!("{name}: nothing ran")], ..report },
        Err(error) => {
            eprintln!("{name}: {error:#}");
            Report { failed: vec![format!("{name}: could not be run")], ..Report::default() }
        }
    }
}

fn unit() -> Result<Report> {
    let mut all = Report::default();
    // First: the agent embeds the object, so without it nothing that follows can be judged.
    all.add(check("eBPF programs", || ebpf::build().map(drop))?);
    all.add(check("formatting", || cargo("fmt", &["--all", "--check", "--", "--color", "never"]))?);
    all.add(check("lints", || {
        let mut args = vec!["--quiet", "--workspace", "--all-targets", "--keep-going", "--exclude", NOT_HERE];
        args.extend(["--", "-D", "warnings"]);
        cargo("clippy", &args)
    })?);
    let tests = built::tests()?;
    all.add(check("tidy", || {
        let wrong = tidy::run(Some(&built::programs()))?;
        if wrong.is_empty() { Ok(()) } else { bail!("{} things are not tidy", wrong.len()) }
    })?);
    // Only cargo can run these.
    let documentation = ["--quiet", "--workspace", "--exclude", NOT_HERE, "--doc"];
    all.add(check("tests: documentation", || cargo("test", &documentation))?);
    let here =
        tests.iter().filter(|tests| !tests.integration || ![E2E, vm::KERNEL_TESTS].contains(&tests.package.as_str()));
    all.add(or_failure("unit tests", run_tests("unit", here.map(|tests| (Run::new(&tests.executable), tests)), &[])));
    Ok(all)
}

fn kernel() -> Result<Report> {
    let mut all = Report::default();
    for verdict in vm::test_on_all(&built::tests()?)? {
        let Report { passed, failed, ignored } = verdict.report;
        let failed = failed.into_iter().map(|name| format!("{name} (kernel {})", verdict.kernel)).collect();
        all.add(or_failure(&format!("kernel {}", verdict.kernel), Ok(Report { passed, failed, ignored })));
    }
    Ok(all)
}

/// The black-box tests, in a rig that is brought up for them. They run the product's programs, so those are compiled first.
fn e2e(target: &str) -> Result<Report> {
    setup::packages(&["build"])?;
    let tests = built::tests()?;
    let tests = tests.iter().find(|tests| tests.package == E2E && tests.target == target);
    let tests = tests.with_context(|| format!("{E2E} has no tests called {target}"))?;
    let extent = if target == "node" { Extent::Cluster } else { Extent::Api };
    let scratch = Scratch::up(target, extent)?;
    if extent == Extent::Cluster {
        demo::push_releases(scratch.rig(), &built::programs())?;
    }
    let run = scratch.rig().run(&tests.executable).env("STOCKADE_BIN", built::programs());
    // The node tests are one story; whoever waits for it, or reads it later, wants to see how far it is.
    let shown = if extent == Extent::Cluster { &["--nocapture"][..] } else { &[] };
    let report = run_tests(target, [(run, tests)], shown)?;
    if report.failed.is_empty() {
        scratch.finish()?;
    } else {
        eprintln!("the rig's logs are in {}", scratch.rig().dir().display());
    }
    Ok(report)
}

/// A check counts as one test.
fn check(name: &str, work: impl FnOnce() -> Result<()>) -> Result<Report> {
    let progress = Progress::start(name);
    match work() {
        Ok(()) => {
            progress.done("");
            Ok(Report { passed: 1, ..Report::default() })
        }
        Err(error) => {
            drop(progress);
            eprintln!("{error:#}");
            Ok(Report { failed: vec![name.to_owned()], ..Report::default() })
        }
    }
}

fn cargo(command: &str, args: &[&str]) -> Result<()> {
    let log = log(command)?;
    Run::new("cargo").arg(command).args(args).current_dir(workspace::root()).log(log).timeout(LIMIT).run()
}

/// Runs test binaries, each with what starts it, one after the other, and reads what they said.
fn run_tests<'a>(name: &str, binaries: impl IntoIterator<Item = (Run, &'a Tests)>, args: &[&str]) -> Result<Report> {
    let progress = Progress::start(&format!("tests: {name}"));
    let log = log(name)?;
    let mut all = Report::default();
    let mut wrong = Vec::new();
    for (run, tests) in binaries {
        let before = fs::metadata(&log).map_or(0, |log| log.len());
        let run = run.args(args).current_dir(&tests.folder).env("RUST_BACKTRACE", "0").log(&log).timeout(LIMIT);
        let end = telling(&progress, &log, || run.status());
        let said = fs::read(&log).unwrap_or_default();
        let said = String::from_utf8_lossy(said.get(usize::try_from(before)?..).unwrap_or_default()).into_owned();
        let mut report = vm::parse_tests(&said);
        let why = match end {
            Ok(end) if end.status.success() => None,
            Ok(end) => Some(end.to_string()),
            Err(error) => Some(format!("{error:#}")),
        };
        if let Some(why) = why {
            wrong.push(format!("{}\n{why}; all of it is in {}", failures(&said), log.display()));
            if report.failed.is_empty() {
                report.failed.push(format!("{name}: {} of {}", tests.target, tests.package));
            }
        }
        all.add(report);
    }
    if wrong.is_empty() {
        progress.done(&format!("{} passed", all.passed));
    } else {
        drop(progress);
        wrong.iter().for_each(|wrong| eprintln!("{wrong}"));
    }
    Ok(all)
}

/// Does the work and says meanwhile which step its log is at: the node tests are one story of many minutes.
fn telling<T>(progress: &Progress, log: &Path, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let said = fs::read(log).unwrap_or_default();
                let said = String::from_utf8_lossy(&said);
                if let Some(step) = said.lines().rev().find_map(|line| line.strip_prefix("== ")?.strip_suffix(" ==")) {
                    progress.say(step);
                }
                thread::sleep(Duration::from_millis(500));
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// The part of the output that says what failed; its end if nothing says so.
fn failures(said: &str) -> String {
    let mut parts: Vec<&str> = said.split("\nfailures:\n").skip(1).collect();
    parts.retain(|part| part.trim_start().starts_with("----"));
    if parts.is_empty() { tail(said, 40) } else { tail(&parts.join("\n"), 200) }
}

/// A log of this run's own, empty.
fn log(name: &str) -> Result<PathBuf> {
    let log = workspace::run_folder("test", "run")?.join(format!("{name}.log"));
    if log.exists() {
        fs::remove_file(&log)?;
    }
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rung_that_ran_nothing_or_could_not_run_has_failed() {
        assert_eq!(or_failure("x", Ok(Report::default())).failed.len(), 1);
        assert_eq!(or_failure("x", Err(anyhow::anyhow!("no"))).failed.len(), 1);
        let one = Report { passed: 1, ..Report::default() };
        assert!(or_failure("x", Ok(one)).failed.is_empty());
    }

    #[test]
    fn what_failed_is_shown_without_what_passed() {
        let said = "test a ... ok\n\nfailures:\n\n---- b stdout ----\nwhy\n\nfailures:\n    b\n\ntest result: FAILED.";
        let shown = failures(said);
        assert!(shown.contains("why") && !shown.contains("test a"), "{shown}");
        assert_eq!(failures("error: no"), "error: no");
    }
}
