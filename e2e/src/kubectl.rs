//! `kubectl`, as a person would use it.

use std::{
    io::{ErrorKind, Write as _},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::Rig;

/// What a command printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Whether it ended well.
    pub success: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error: warnings of the API server are here.
    pub stderr: String,
}

impl Output {
    /// The standard output of a command that must have ended well.
    pub fn ok(self) -> Result<String> {
        ensure!(self.success, "{}{}", self.stdout, self.stderr);
        Ok(self.stdout)
    }
}

/// Runs kubectl with the administrator's rights.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// The rig's kubectl.
    pub fn new(rig: &Rig) -> Self {
        Self { program: rig.tool("kubectl"), kubeconfig: rig.kubeconfig() }
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Result<Output> {
        self.run_with(args, "")
    }

    /// Runs it with `manifest` as its standard input, for `-f -`.
    pub fn run_with(&self, args: &[&str], manifest: &str) -> Result<Output> {
        let mut child = Command::new(&self.program)
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        match child.stdin.take().context("no standard input")?.write_all(manifest.as_bytes()) {
            // It has ended without reading all of it, and has said why.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            written => written?,
        }
        let output = child.wait_with_output()?;
        Ok(Output {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}
