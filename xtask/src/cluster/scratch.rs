//! A rig for one run of tests or of the demo: it ends with the run, and what it leaves is its logs, if something failed.

use std::fs;

use anyhow::{Context, Result};

use crate::cache::Cache;

use super::{
    prepare,
    rig::{Extent, Rig},
    sandbox::Leash,
};

/// A rig that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    rig: Rig,
    run: String,
    leash: Leash,
}

impl Scratch {
    /// Brings it up under a name that no other run has.
    pub(crate) fn up(purpose: &str, extent: Extent) -> Result<Self> {
        prepare()?;
        let run = format!("{purpose}-{}", std::process::id());
        let (rig, leash) = Rig::up(&Cache::open()?, &run, extent)?;
        Ok(Self { rig, run, leash })
    }

    /// The rig.
    pub(crate) fn rig(&self) -> &Rig {
        &self.rig
    }

    /// Ends it and removes its files: nothing failed that they would explain.
    pub(crate) fn finish(self) -> Result<()> {
        self.rig.sandbox().stop()?;
        fs::remove_dir_all(self.rig.dir()).with_context(|| format!("cannot remove {}", self.rig.dir().display()))
    }

    /// Leaves it up. Returns the name that `cargo xtask cluster --run` knows it by.
    pub(crate) fn keep(self) -> Result<String> {
        self.leash.release()?;
        Ok(self.run)
    }
}
