//! Where the steps are played: commands as a person would type them, shown with their output.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{Output, Rig};

/// A cluster and a terminal.
#[derive(Debug)]
pub struct Stage {
    rig: Rig,
    root: PathBuf,
}

impl Stage {
    /// The rig that this was started in.
    pub fn new() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a crate without a parent folder")?;
        Ok(Self { rig: Rig::from_env()?, root: root.to_path_buf() })
    }

    /// A terminal without a cluster.
    #[cfg(test)]
    pub(crate) fn without_cluster(dir: &Path) -> Self {
        Self { rig: Rig::at(dir), root: dir.to_path_buf() }
    }

    /// Says something about what follows.
    pub fn say(&self, text: &str) {
        println!("\n# {text}");
    }

    /// Types a command and shows what it prints.
    pub fn run(&self, line: &str) -> Result<Output> {
        println!("$ {line}");
        let output = self.quietly(line)?;
        print!("{}{}", output.stdout, output.stderr);
        Ok(output)
    }

    /// A command that must succeed. Returns its standard output.
    pub fn expect(&self, line: &str) -> Result<String> {
        let output = self.run(line)?;
        ensure!(output.success, "`{line}` failed:\n{}{}", output.stdout, output.stderr);
        Ok(output.stdout)
    }

    /// A command that must fail and say each of `words`. Returns what it said.
    pub fn refuse(&self, line: &str, words: &[&str]) -> Result<String> {
        let output = self.run(line)?;
        ensure!(!output.success, "`{line}` succeeded, which it must not");
        let said = output.stdout + &output.stderr;
        for word in words {
            ensure!(said.contains(word), "`{line}` does not say {word:?}, but:\n{said}");
        }
        Ok(said)
    }

    /// Types a command again and again until what it prints is as it must be, and shows that last time.
    pub fn until(&self, line: &str, limit: Duration, is_so: impl Fn(&Output) -> bool) -> Result<Output> {
        println!("$ {line}");
        let started = Instant::now();
        loop {
            let output = self.quietly(line)?;
            if is_so(&output) {
                print!("{}{}", output.stdout, output.stderr);
                return Ok(output);
            }
            if started.elapsed() > limit {
                bail!("after {} s `{line}` still prints:\n{}{}", limit.as_secs(), output.stdout, output.stderr);
            }
            thread::sleep(Duration::from_millis(500));
        }
    }

    /// Runs a command that is no part of the show.
    pub fn quietly(&self, line: &str) -> Result<Output> {
        let output = Command::new("sh")
            .args(["-c", line])
            .current_dir(&self.root)
            .env("RIG", self.rig.dir())
            .stdin(Stdio::null())
            .output()
            .context("cannot start a shell")?;
        Ok(Output {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Keeps a text for a later step, or a later run that goes on with one.
    pub fn remember(&self, what: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.note(what), text)?)
    }

    /// What an earlier step kept.
    pub fn recall(&self, what: &str) -> Result<String> {
        fs::read_to_string(self.note(what)).with_context(|| format!("no earlier step has noted {what}"))
    }

    /// The run's folder, `$RIG` in commands.
    pub fn dir(&self) -> &Path {
        self.rig.dir()
    }

    fn note(&self, what: &str) -> PathBuf {
        self.rig.dir().join(format!("{what}.note"))
    }
}

/// What is at a JSON pointer; null if nothing is.
pub(super) fn at<'a>(value: &'a serde_json::Value, pointer: &str) -> &'a serde_json::Value {
    value.pointer(pointer).unwrap_or(&serde_json::Value::Null)
}
