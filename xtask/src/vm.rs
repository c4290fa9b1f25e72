//! `cargo xtask vm`: boots Debian's kernels and runs a program, or the kernel tests, in each.

mod boot;
pub(crate) mod initramfs;
pub(crate) mod kernel;
mod kernel_tests;
mod libtest;

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Args, Subcommand};

pub(crate) use self::{
    boot::{Machine, Outcome},
    kernel_tests::{PACKAGE as KERNEL_TESTS, Verdict},
    libtest::{Report, parse as parse_tests},
};
use self::{initramfs::Archive, kernel::Image};
use crate::{
    built::{self, Tests},
    cache::Cache,
    process, setup,
    step::seconds,
    versions::Versions,
    workspace,
};

/// Where a guest finds the eBPF programs.
const OBJECT: &str = "/stockade.bpf.o";

/// Boot kernels and run a program, or the kernel tests, in each.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Vm {
    #[command(subcommand)]
    command: Option<Sub>,
    #[command(flatten)]
    boot: Boot,
    /// Put a file or folder of this machine into the guest, with the libraries that it needs.
    #[arg(long = "file", value_name = "HOST=GUEST")]
    files: Vec<String>,
    /// The program and its arguments: a file of this machine, or a command of the guest's busybox.
    #[arg(last = true, required = true)]
    program: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// Run the tests of enforcer-kernel in each kernel.
    Test(Test),
}

/// Run the tests of enforcer-kernel in each kernel.
#[derive(Debug, Args)]
struct Test {
    #[command(flatten)]
    boot: Boot,
    /// Only tests whose name contains one of these.
    filters: Vec<String>,
}

/// Which kernels, and the machine that they get.
#[derive(Debug, Clone, Args)]
struct Boot {
    /// Kernels of xtask/versions.toml, separated by commas [default: all].
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    kernel: Vec<String>,
    /// CPUs of the guest; more than one are emulated by one thread.
    #[arg(long, default_value_t = 2)]
    smp: u32,
    /// Megabytes of memory of the guest.
    #[arg(long, default_value_t = 2048)]
    memory: u32,
    /// More kernel arguments, such as preempt=full.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Guest time is the number of executed instructions; one CPU.
    #[arg(long)]
    icount: bool,
    /// Set a variable for the program.
    #[arg(long = "env", value_name = "NAME=VALUE")]
    variables: Vec<String>,
    /// Seconds after which a guest is killed.
    #[arg(long, default_value_t = 1800)]
    timeout: u64,
}

impl Boot {
    fn machine(&self) -> Machine {
        Machine {
            cpus: if self.icount { 1 } else { self.smp },
            memory: self.memory,
            append: self.append.clone(),
            variables: self.variables.clone(),
            icount: self.icount,
            timeout: Duration::from_secs(self.timeout),
        }
    }
}

/// Runs the command.
pub(crate) fn run(vm: Vm) -> Result<()> {
    let Vm { command, boot, files, program } = vm;
    match command {
        Some(Sub::Test(Test { boot, filters })) => {
            let tests = built::tests_of(kernel_tests::PACKAGE)?;
            let verdicts = kernel_tests::run(&images(&boot.kernel)?, &boot.machine(), &tests, &filters)?;
            let failed = verdicts.iter().filter(|verdict| !verdict.is_success()).count();
            ensure!(failed == 0, "{failed} of {} kernels failed", verdicts.len());
            Ok(())
        }
        None => run_program(&boot, &files, &program),
    }
}

/// The kernel tests, which are compiled, on all kernels, for `cargo xtask test`.
pub(crate) fn test_on_all(tests: &[Tests]) -> Result<Vec<Verdict>> {
    let machine = Machine {
        cpus: 2,
        memory: 2048,
        // The strictest setting: a program can be preempted anywhere. The cluster's nodes run their kernels' default.
        append: "preempt=full".to_owned(),
        variables: Vec::new(),
        icount: false,
        timeout: Duration::from_secs(1800),
    };
    kernel_tests::run(&images(&[])?, &machine, tests, &[])
}

/// Boots one kernel with a program of this machine and files beside it (here, there), for `cargo xtask bench`.
pub(crate) fn run_in(kernel: &str, machine: &Machine, binary: &Path, files: &[(PathBuf, &str)]) -> Result<Outcome> {
    let images = images(&[kernel.to_owned()])?;
    let image = images.first().context("there is no such kernel")?;
    let mut archive = archive()?;
    archive.host_file(binary, "/program")?;
    for (here, there) in files {
        archive.host_file(here, there)?;
    }
    let show = |line: &str| eprintln!("{line}");
    boot::boot(
        image,
        machine,
        archive,
        &script(&machine.variables, "/program", &[]),
        &workspace::run_folder("vm", &image.name)?,
        show,
    )
}

/// The kernels of these names, fetched if they are not in the cache; all of them if no name is given.
fn images(names: &[String]) -> Result<Vec<Image>> {
    setup::packages(&["build", "vm"])?;
    let versions = Versions::pinned()?;
    let cache = Cache::open()?;
    let chosen: Vec<_> = if names.is_empty() {
        versions.kernels.iter().collect()
    } else {
        names.iter().map(|name| versions.kernel(name)).collect::<Result<_>>()?
    };
    chosen.into_iter().map(|kernel| kernel::image(&cache, kernel)).collect()
}

fn run_program(boot: &Boot, files: &[String], program: &[String]) -> Result<()> {
    let Some((binary, args)) = program.split_first() else { bail!("no program") };
    let images = images(&boot.kernel)?;
    let many = images.len() > 1;
    let ends = in_parallel(&images, |image| {
        let mut archive = archive()?;
        for file in files {
            let (from, to) = file.split_once('=').with_context(|| format!("--file {file} is not HOST=GUEST"))?;
            archive.host_tree(Path::new(from), to)?;
        }
        let mut command = binary.clone();
        if Path::new(binary).is_file() {
            "/program".clone_into(&mut command);
            archive.host_file(Path::new(binary), &command)?;
        }
        let prefix = if many { format!("{}: ", image.name) } else { String::new() };
        let folder = workspace::run_folder("vm", &image.name)?;
        let show = |line: &str| println!("{prefix}{line}");
        boot::boot(image, &boot.machine(), archive, &script(&boot.variables, &command, args), &folder, show)
    })?;
    let mut failed = Vec::new();
    for (image, end) in images.iter().zip(&ends) {
        let how = match end.code {
            Some(code) => format!("ended with {code}"),
            None => end.trouble.clone().unwrap_or_default(),
        };
        eprintln!("{} ({}): {how} ({}, {})", image.name, image.release, seconds(end.took), end.console.display());
        if end.code != Some(0) {
            failed.push(image.name.as_str());
        }
    }
    ensure!(failed.is_empty(), "the program did not succeed on {}", failed.join(", "));
    Ok(())
}

/// Busybox and, if they are built, the eBPF programs.
fn archive() -> Result<Archive> {
    let mut archive = boot::base()?;
    let object = workspace::ebpf_object();
    if object.is_file() {
        archive.host_file(&object, OBJECT)?;
    }
    Ok(archive)
}

fn script(variables: &[String], command: &str, args: &[String]) -> String {
    let mut script = environment(variables);
    script.push_str(&quote(command));
    for arg in args {
        script.push(' ');
        script.push_str(&quote(arg));
    }
    script.push('\n');
    script
}

/// What programs in a guest can rely on, and what the caller asks for.
fn environment(variables: &[String]) -> String {
    let mut text = String::new();
    let own = [format!("STOCKADE_EBPF_OBJECT={OBJECT}"), "STOCKADE_GUEST=1".to_owned(), "RUST_BACKTRACE=0".to_owned()];
    for variable in own.iter().chain(variables) {
        text.push_str("export ");
        text.push_str(&quote(variable));
        text.push('\n');
    }
    text
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Does the work for each kernel, as many at once as there are CPUs; the results are in the kernels' order.
fn in_parallel<T: Send>(images: &[Image], work: impl Fn(&Image) -> Result<T> + Sync) -> Result<Vec<T>> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(images.len());
    let waiting = Mutex::new(images.iter().enumerate());
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().ok().and_then(|mut waiting| waiting.next());
                    let Some((at, image)) = next else { break };
                    let result = work(image).with_context(|| format!("kernel {}", image.name));
                    if let Ok(mut results) = results.lock() {
                        results.push((at, result));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().map_err(|_poisoned| anyhow!("a guest's thread ended early"))?;
    ensure!(results.len() == images.len(), "not all kernels were booted");
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The last lines of a text, for people.
pub(crate) fn last_lines(text: &str, lines: usize) -> String {
    process::tail(text, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_reach_the_guest_as_they_are() {
        let script = script(&["A=b c".to_owned()], "/program", &["it's".to_owned(), "$HOME *".to_owned()]);
        assert!(script.contains("export 'A=b c'\n"), "{script}");
        assert!(script.ends_with("'/program' 'it'\\''s' '$HOME *'\n"), "{script}");
    }
}
