//! A rig's own network and process namespaces, held by one process.
//!
//! That process is process 1 of its namespace: when it ends, for whatever reason, the kernel kills every program of the rig,
//! and with the last of them the network namespace goes, with its bridge, taps and routes. So nothing has to be hunted down
//! one by one, rigs may use the same addresses and names, and there is nothing that could be left behind.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// Ends when its standard input does, unless it was told `keep` before: a rig lives no longer than the program that brought
/// it up, whatever ends that program, until it is released on purpose.
///
/// `/proc` is the machine's, so that the first word is its number there; `$$` would be 1.
const HOLDER: &str = r#"read -r pid rest < /proc/self/stat; echo "$pid"; read -r word; [ "$word" = keep ] || exit 0; exec sleep infinity"#;

/// The namespaces of one rig.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sandbox {
    /// The process that holds them, as the machine numbers it.
    holder: u32,
    /// Its network namespace, which tells it from a later process with the same number.
    network: PathBuf,
}

/// Ends the sandbox when dropped, and when this program ends in any other way.
#[derive(Debug)]
pub(crate) struct Leash {
    keep: ChildStdin,
}

impl Leash {
    /// Lets the sandbox live on without us.
    pub(crate) fn release(mut self) -> Result<()> {
        self.keep.write_all(b"keep\n").context("the rig ended while it was brought up")
    }
}

impl Sandbox {
    /// Makes the namespaces.
    pub(crate) fn start() -> Result<(Self, Leash)> {
        let mut child = Command::new("unshare")
            .args(["--net", "--pid", "--fork", "--kill-child", "sh", "-c", HOLDER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Inherited, it would keep a pipeline waiting that we are part of.
            .stderr(Stdio::null())
            // Ctrl-C in the terminal is for us, who then end the sandbox; not for both at once.
            .process_group(0)
            .spawn()
            .context("cannot start `unshare`")?;
        let keep = child.stdin.take().context("no standard input")?;
        let mut pid = String::new();
        BufReader::new(child.stdout.take().context("no standard output")?).read_line(&mut pid)?;
        let holder = pid.trim().parse().context("no namespaces of our own (are you root?)")?;
        let network = fs::read_link(network_of(holder)).context("the rig's first process ended")?;
        thread::spawn(move || child.wait());
        Ok((Self { holder, network }, Leash { keep }))
    }

    /// Whether the namespaces are still held.
    pub(crate) fn is_alive(&self) -> bool {
        fs::read_link(network_of(self.holder)).is_ok_and(|network| network == self.network)
    }

    /// Ends every program in it and waits until they are gone.
    pub(crate) fn stop(&self) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        let killed = Command::new("kill").args(["-KILL", &self.holder.to_string()]).status()?;
        ensure!(killed.success() || !self.is_alive(), "cannot end process {}", self.holder);
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.is_alive() {
            if Instant::now() > deadline {
                bail!("process {} does not end", self.holder);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// A command that runs inside, as a child of ours in the foreground.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(Self::ENTER);
        command.args(["--net", "--pid", "--target", &self.holder.to_string(), "--"]).arg(program);
        command
    }

    /// What enters the namespaces.
    pub(crate) const ENTER: &str = "nsenter";

    /// The arguments of [`Self::ENTER`] for a program that runs in its network, but is a process of the machine like any other.
    pub(crate) fn enter_network(&self) -> [String; 4] {
        ["--net", "--target", &self.holder.to_string(), "--"].map(str::to_owned)
    }

    /// Starts a program that lives as long as the sandbox, or until [`end_daemon`]. It writes to `DIR/NAME.log`.
    pub(crate) fn daemon(&self, program: &mut Command, dir: &Path, name: &str) -> Result<()> {
        let log = dir.join(format!("{name}.log"));
        let file = fs::OpenOptions::new().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = program
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {program:?}"))?;
        fs::write(pid_file(dir, name), child.id().to_string())?;
        thread::spawn(move || child.wait());
        Ok(())
    }

    /// Kills one program that [`Sandbox::daemon`] started.
    pub(crate) fn end_daemon(&self, dir: &Path, name: &str) -> Result<()> {
        let file = pid_file(dir, name);
        let pid = fs::read_to_string(&file).with_context(|| format!("{name} does not run"))?;
        // The group: the program inside, and the one outside that entered the namespaces and waits for it.
        let killed = Command::new("kill").args(["-KILL", "--", &format!("-{pid}")]).status()?;
        ensure!(killed.success(), "{name} had ended already");
        fs::remove_file(file)?;
        Ok(())
    }
}

fn pid_file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.pid"))
}

fn network_of(process: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/ns/net"))
}
