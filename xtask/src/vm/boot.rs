//! One boot: QEMU without any disk, the kernel's messages in a log, the program's output line by line to whoever asked.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{initramfs::Archive, kernel::Image};
use crate::process::{Run, tail};

const INIT: &str = include_str!("guest-init.sh");
/// What the guest's first process writes after the program; nothing else ends with a number like this.
const END: &str = "@guest ended with ";

/// How to boot.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// How many CPUs.
    pub(crate) cpus: u32,
    /// Megabytes of memory.
    pub(crate) memory: u32,
    /// More kernel arguments.
    pub(crate) append: String,
    /// Variables for the program, as NAME=VALUE.
    pub(crate) variables: Vec<String>,
    /// Guest time is the number of executed instructions.
    pub(crate) icount: bool,
    /// When to give up.
    pub(crate) timeout: Duration,
}

/// What a boot left.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What the program returned; `None` if the guest ended before it did.
    pub(crate) code: Option<i32>,
    /// All that the program wrote.
    pub(crate) output: String,
    /// The kernel's messages.
    pub(crate) console: PathBuf,
    /// How long it took, boot included.
    pub(crate) took: Duration,
    /// Why there is no code.
    pub(crate) trouble: Option<String>,
}

/// The archive that every guest starts from: busybox and its first process.
pub(crate) fn base() -> Result<Archive> {
    let mut archive = Archive::default();
    let busybox = crate::process::which("busybox").context("there is no busybox")?;
    archive.host_file(&busybox, "/bin/busybox")?;
    archive.file("/init", 0o755, INIT.as_bytes());
    for file in ["passwd", "group"] {
        archive.file(&format!("/etc/{file}"), 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    }
    for folder in ["proc", "sys", "dev", "tmp", "run", "root"] {
        archive.folder(folder);
    }
    Ok(archive)
}

/// Boots `kernel` with `archive` and runs `script` in it. Each line of its output goes to `line` as it comes.
pub(crate) fn boot(
    kernel: &Image,
    machine: &Machine,
    mut archive: Archive,
    script: &str,
    folder: &Path,
    mut line: impl FnMut(&str),
) -> Result<Outcome> {
    archive.file("/run.sh", 0o755, script.as_bytes());
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let initrd = folder.join("initramfs");
    fs::write(&initrd, archive.finish()).with_context(|| format!("cannot write {}", initrd.display()))?;
    let console = folder.join("console.log");
    let started = Instant::now();
    let log = folder.join("qemu.log");
    let mut qemu =
        qemu(kernel, machine, &initrd, &console).log(&log).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let stdout = qemu.take_stdout().context("QEMU has no output")?;
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        for text in BufReader::new(stdout).split(b'\n').map_while(std::io::Result::ok) {
            let text = String::from_utf8_lossy(&text);
            if sender.send(text.trim_end_matches('\r').to_owned()).is_err() {
                break;
            }
        }
    });
    let (mut output, mut code, mut late) = (String::new(), None, false);
    loop {
        match lines.recv_timeout(machine.timeout.saturating_sub(started.elapsed())) {
            Ok(text) => match text.strip_prefix(END) {
                Some(number) => code = number.parse().ok(),
                None => {
                    line(&text);
                    output.push_str(&text);
                    output.push('\n');
                }
            },
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                late = true;
                break;
            }
        }
    }
    let grace = if late { Duration::ZERO } else { Duration::from_secs(5) };
    qemu.stop(grace)?;
    if reader.join().is_err() {
        bail!("the thread that reads the guest's output ended early");
    }
    fs::remove_file(&initrd)?;
    let took = started.elapsed();
    let trouble = code.is_none().then(|| why(late, machine.timeout, &console, &log));
    Ok(Outcome { code, output, console, took, trouble })
}

fn why(late: bool, timeout: Duration, console: &Path, log: &Path) -> String {
    let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let what =
        if late { format!("took longer than {} s", timeout.as_secs()) } else { "the guest ended early".to_owned() };
    format!("{what}; the end of {}:\n{}\n{}", console.display(), tail(&read(console), 30), tail(&read(log), 5))
}

fn qemu(kernel: &Image, machine: &Machine, initrd: &Path, console: &Path) -> Run {
    // One emulating thread also for several CPUs: with more, attaching to a busy hook panics the guest.
    let append = format!(
        "console=ttyS0 loglevel=5 panic=-1 oops=panic lsm=lockdown,capability,bpf random.trust_cpu=on {}",
        machine.append
    );
    let run = Run::tied("qemu-system-x86_64")
        .args(["-accel", "tcg,thread=single", "-cpu", "max", "-display", "none", "-no-reboot", "-nodefaults"])
        .args(["-smp", &machine.cpus.to_string(), "-m", &machine.memory.to_string()])
        .arg("-kernel")
        .arg(&kernel.vmlinuz)
        .arg("-initrd")
        .arg(initrd)
        .args(["-append", append.trim_end()])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-chardev", "stdio,id=program,signal=off", "-serial", "chardev:program"]);
    if machine.icount { run.args(["-icount", "shift=0,sleep=off"]) } else { run }
}
