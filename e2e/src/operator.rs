//! The operator's binary, running beside the API server as it would in a pod.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};

use crate::{ApiServer, Rig};

/// How an operator is started.
#[derive(Debug, Clone, Default)]
pub struct OperatorOptions {
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, beside `KUBECONFIG`.
    pub env: Vec<(String, String)>,
    /// Who it is to the API server; without one: the administrator.
    pub kubeconfig: Option<PathBuf>,
}

/// An operator that runs until this is dropped.
#[derive(Debug)]
pub struct Operator {
    child: Child,
    log: PathBuf,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Operator {
    /// Starts `stockade-operator`. What it logs is in the rig's folder.
    pub fn start(server: &ApiServer, options: &OperatorOptions) -> Result<Self> {
        let log = server.rig().dir().join(format!("operator-{}.log", NEXT.fetch_add(1, Ordering::Relaxed)));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(Rig::program("stockade-operator")?)
            .args(&options.args)
            .envs(options.env.iter().map(|(name, value)| (name, value)))
            .env("KUBECONFIG", options.kubeconfig.clone().unwrap_or_else(|| server.rig().kubeconfig()))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot start stockade-operator")?;
        Ok(Self { child, log })
    }

    /// What it has logged so far.
    pub fn log(&self) -> Result<String> {
        std::fs::read_to_string(&self.log).with_context(|| format!("cannot read {}", self.log.display()))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Asks it to end, as the kubelet does, and waits until it has.
    pub fn terminate(mut self) -> Result<()> {
        let ended = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        anyhow::ensure!(ended.success(), "the operator had ended already: {}", self.log()?);
        self.child.wait().map(drop).context("cannot wait for the operator")
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // One that has ended by itself cannot be killed, and needs not.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
