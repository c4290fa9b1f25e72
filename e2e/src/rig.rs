//! Where the rig is: `cargo xtask test` says it in the environment.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A rig that is up. Everything in it is reached from inside its network, where the tests run.
#[derive(Debug, Clone)]
pub struct Rig {
    dir: PathBuf,
}

impl Rig {
    /// The address by which the API server reaches programs that a test starts.
    pub const ADDRESS: &'static str = "172.30.0.1";

    /// The rig that the tests were started in.
    pub fn from_env() -> Result<Self> {
        let dir = std::env::var_os("STOCKADE_RIG")
            .context("these tests need a rig: run them with `cargo xtask test api` or `cargo xtask test node`")?;
        Ok(Self { dir: dir.into() })
    }

    /// A folder for who needs no rig.
    #[cfg(test)]
    pub(crate) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf() }
    }

    /// The run's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    /// `kubectl`, `helm` and `node` (which runs a command on a node), in the rig's versions.
    pub fn tool(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    /// A program of the product, compiled by `cargo xtask test`.
    pub fn program(name: &str) -> Result<PathBuf> {
        let dir = std::env::var_os("STOCKADE_BIN")
            .context("STOCKADE_BIN is not set: run the tests with `cargo xtask test`")?;
        Ok(PathBuf::from(dir).join(name))
    }
}
