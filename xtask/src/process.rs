//! Other programs: each in a process group of its own that ends with us, its output in a log whose tail explains a failure.

use std::{
    ffi::OsStr,
    fmt,
    fs::{self, File, OpenOptions},
    io::Read,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};

use crate::cleanup::{self, Cleanup};

/// How many lines of a log are shown when its program fails.
const TAIL: usize = 30;

/// A program to run. Nothing is started before [`Run::run`], [`Run::output`] or [`Run::spawn`].
#[derive(Debug)]
pub(crate) struct Run {
    command: Command,
    log: Option<PathBuf>,
    own_stdout: bool,
    timeout: Option<Duration>,
}

impl Run {
    /// Runs `program`, found in `PATH`, with nothing on its standard input.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Self { command, log: None, own_stdout: false, timeout: None }
    }

    /// As [`Run::new`], and the kernel kills it if we are killed without a chance to do it ourselves.
    /// The kernel looks at the thread that started it, so that thread has to live as long.
    pub(crate) fn tied(program: impl AsRef<OsStr>) -> Self {
        Self::new("setpriv").args(["--pdeathsig", "KILL", "--"]).arg(program)
    }

    /// Runs `program` as root: directly, or through sudo, which may ask for a password and so keeps the terminal.
    pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Self {
        if is_root() {
            return Self::new(program);
        }
        Self::new("sudo").stdin(Stdio::inherit()).arg("--").arg(program)
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets one environment variable.
    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Takes one environment variable away.
    pub(crate) fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Puts `dir` before what `PATH` has.
    pub(crate) fn path_first(self, dir: &Path) -> Self {
        let mut path = dir.as_os_str().to_owned();
        if let Some(rest) = std::env::var_os("PATH") {
            path.push(":");
            path.push(rest);
        }
        self.env("PATH", path)
    }

    /// Runs in `dir`.
    pub(crate) fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Appends what the program writes to a file, which is made with its folders, instead of our own output.
    pub(crate) fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Kills the program when it takes longer than this.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The program reads this instead of nothing.
    pub(crate) fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.command.stdin(stdin);
        self
    }

    /// The program writes its standard output to this, whether there is a log or not.
    pub(crate) fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.command.stdout(stdout);
        self.own_stdout = true;
        self
    }

    /// Runs to the end; an unsuccessful one is an error that shows the log's tail.
    pub(crate) fn run(self) -> Result<()> {
        let end = self.status()?;
        if end.status.success() { Ok(()) } else { Err(end.error()) }
    }

    /// Runs to the end and says how it ended. An error means that it could not be run, or took too long.
    pub(crate) fn status(self) -> Result<End> {
        let timeout = self.timeout;
        self.spawn()?.wait(timeout)
    }

    /// Runs to the end and returns what it wrote to its standard output.
    pub(crate) fn output(self) -> Result<String> {
        let mut run = self.stdout(Stdio::piped());
        let keep_errors = run.log.is_none();
        if keep_errors {
            run.command.stderr(Stdio::piped());
        }
        let timeout = run.timeout;
        let mut running = run.spawn()?;
        let stdout = running.child.stdout.take().map(read_all);
        let stderr = running.child.stderr.take().map(read_all);
        let end = running.wait(timeout)?;
        let text = collect(stdout)?;
        let errors = collect(stderr)?;
        if end.status.success() {
            return Ok(text);
        }
        Err(if keep_errors { anyhow!("{end}\n{}", tail(&errors, TAIL)) } else { end.error() })
    }

    /// Starts the program in the background. Dropping what is returned kills it with all it started in its group.
    pub(crate) fn spawn(mut self) -> Result<Running> {
        let line = show(&self.command);
        if let Some(log) = &self.log {
            let file = open_log(log)?;
            self.command.stderr(file.try_clone()?);
            if !self.own_stdout {
                self.command.stdout(file);
            }
        }
        let mut command = self.command;
        command.process_group(0);
        let started = Instant::now();
        let name = line.clone();
        let ((child, pidfd, pid), cleanup) = cleanup::start(move || {
            let child = command.spawn().with_context(|| format!("cannot start `{name}`"))?;
            let pid = Pid::from_child(&child);
            let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
            let end: cleanup::Action = Box::new(move || signal_group(pid, Signal::KILL));
            Ok(((child, pidfd, pid), end))
        })?;
        Ok(Running { child, pidfd, pid, line, log: self.log, started, cleanup: Some(cleanup) })
    }
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct End {
    line: String,
    log: Option<PathBuf>,
    after: Duration,
    /// What it returned to its parent.
    pub(crate) status: ExitStatus,
}

impl End {
    /// The same as an error, with the end of the log.
    pub(crate) fn error(&self) -> anyhow::Error {
        match self.log.as_deref().map(|log| (log, fs::read(log))) {
            Some((log, Ok(bytes))) => {
                let text = String::from_utf8_lossy(&bytes);
                anyhow!("{self}; the end of {}:\n{}", log.display(), tail(&text, TAIL))
            }
            _ => anyhow!("{self}"),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ended with {} after {:.1} s", self.line, self.status, self.after.as_secs_f32())
    }
}

/// A program that runs in the background until it is waited for, stopped or dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pidfd: OwnedFd,
    pid: Pid,
    line: String,
    log: Option<PathBuf>,
    started: Instant,
    cleanup: Option<Cleanup>,
}

impl Running {
    /// Its standard output, once, if it was started with `Stdio::piped()`.
    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Waits for its end. What it left running in its group is killed; so is all of it after `timeout`.
    pub(crate) fn wait(mut self, timeout: Option<Duration>) -> Result<End> {
        let in_time = ready_within(&self.pidfd, timeout)?;
        let status = self.reap()?;
        let (line, log) = (self.line.clone(), self.log.clone());
        let end = End { line, log, after: self.started.elapsed(), status };
        if in_time { Ok(end) } else { Err(end.error().context("took too long and was killed")) }
    }

    /// Asks it to end, and kills it when it has not within `grace`.
    pub(crate) fn stop(mut self, grace: Duration) -> Result<()> {
        signal_group(self.pid, Signal::TERM);
        ready_within(&self.pidfd, Some(grace))?;
        self.reap().map(drop)
    }

    /// Kills the group while its leader is at most a zombie, when the number cannot belong to anybody else, then reaps.
    fn reap(&mut self) -> Result<ExitStatus> {
        drop(self.cleanup.take());
        self.child.wait().with_context(|| format!("cannot wait for `{}`", self.line))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.cleanup.is_some() {
            drop(self.reap());
        }
    }
}

/// Sends `signal` to the process group `pid`; one that is gone already is as good.
fn signal_group(pid: Pid, signal: Signal) {
    kill_process_group(pid, signal).ok();
}

fn ready_within(pidfd: &OwnedFd, within: Option<Duration>) -> Result<bool> {
    let until = within.map(|within| Instant::now() + within);
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.map(Timespec::try_from).transpose().context("a timeout that is out of range")?;
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], left.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => bail!("cannot wait for a process: {error}"),
        }
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<std::io::Result<String>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    })
}

fn collect(reader: Option<JoinHandle<std::io::Result<String>>>) -> Result<String> {
    let Some(reader) = reader else { return Ok(String::new()) };
    let text = reader.join().map_err(|_panic| anyhow!("the thread that reads a program's output ended early"))?;
    Ok(text?)
}

fn open_log(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("cannot write {}", path.display()))
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

/// Is this the root user?
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where `program` is in `PATH`.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    let line = words.join(" ");
    if line.chars().count() > 200 { line.chars().take(200).chain(['…']).collect() } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Run {
        Run::new("sh").arg("-c").arg(script)
    }

    fn alive(pid: &str) -> bool {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
    }

    /// A process that was killed is gone a moment later.
    fn ends(pid: &str) -> bool {
        let until = Instant::now() + Duration::from_secs(10);
        while alive(pid) && Instant::now() < until {
            thread::yield_now();
        }
        !alive(pid)
    }

    #[test]
    fn a_failure_shows_the_end_of_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("deep/log");
        let error = shell("seq 100; echo why >&2; exit 3").log(&log).run().unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("100\nwhy"), "{error}");
        assert!(!error.contains("\n50\n"), "{error}");
    }

    #[test]
    fn output_is_what_it_wrote_and_errors_are_told_apart() {
        assert_eq!(shell("echo out; echo err >&2").output().unwrap(), "out\n");
        let error = shell("echo out; echo err >&2; false").output().unwrap_err().to_string();
        assert!(error.ends_with("\nerr"), "{error}");
    }

    #[test]
    fn what_takes_too_long_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let error = shell("sleep 1000 & echo $!; wait").log(&log).timeout(Duration::from_millis(300)).run();
        assert!(format!("{:#}", error.unwrap_err()).contains("took too long"));
        assert!(ends(fs::read_to_string(&log).unwrap().trim()));
    }

    #[test]
    fn a_background_program_ends_with_its_handle_and_leaves_no_child() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let running = shell("sleep 1000 & echo $!; wait").log(&log).spawn().unwrap();
        let child = loop {
            let text = fs::read_to_string(&log).unwrap();
            if text.ends_with('\n') {
                break text;
            }
        };
        assert!(alive(child.trim()));
        drop(running);
        assert!(ends(child.trim()));
    }

    #[test]
    fn a_tail_is_short() {
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
    }
}
