//! What the executor asks of the kernel: the seam at which order and undo are tested without one.

use std::sync::Arc;

use stockade_enforcer_common::head::Head;

use crate::attach::AttachError;
use crate::instance::{Identity, Specification};
use crate::object::LoadError;
use crate::rows::{Rows, Table};

/// One of the two places for a generation's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Its element in the maps of maps.
    #[must_use]
    pub fn index(self) -> u32 {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }

    /// The slot of an element.
    #[must_use]
    pub fn from_index(index: u32) -> Self {
        if index == 0 { Self::A } else { Self::B }
    }
}

/// Why a step failed. The generation that was in force before it still is.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// A program could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A program could not be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A map could not be made or written.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// What was read back is not what was written.
    #[error("{0} does not read back as it was written")]
    ReadBack(String),
    /// The instance is not there.
    #[error("hook instance {0} is not loaded")]
    Unknown(String),
}

impl OpError {
    /// Says what was being done when `source` came.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// The tables of listed binaries, by map name; one for all hooks.
pub type BinaryTables = std::collections::BTreeMap<&'static str, Table>;

/// The steps that change what the kernel does. Each is complete, or undone, or an error that leaves what was in force.
pub trait KernelOps {
    /// Loads the program of a new instance with empty tables; nothing is attached.
    fn load(&mut self, identity: &Identity, specification: &Specification) -> Result<(), OpError>;
    /// Fills a slot that no head names, and reads it back.
    fn fill(&mut self, identity: &Identity, slot: Slot, rows: &Arc<Rows>) -> Result<(), OpError>;
    /// Puts the head into force. When it returns no program still uses the old one.
    fn flip(&mut self, identity: &Identity, head: &Head) -> Result<(), OpError>;
    /// Attaches a loaded instance; survives this process from then on.
    fn attach(&mut self, identity: &Identity) -> Result<(), OpError>;
    /// Empties a slot that no head names.
    fn clear(&mut self, identity: &Identity, slot: Slot) -> Result<(), OpError>;
    /// Detaches an instance and frees what only it had.
    fn remove(&mut self, identity: &Identity) -> Result<(), OpError>;
    /// Fills a slot of the binary tables that no head names, and reads it back.
    fn fill_binaries(&mut self, slot: Slot, tables: &BinaryTables) -> Result<(), OpError>;
    /// Has executions from now on looked up in that slot.
    fn use_binaries(&mut self, slot: Slot, generation: u64) -> Result<(), OpError>;
}
