//! Stage 6: makes a desired set of hooks true, make before break.
//!
//! In two parts. [`prepare`] does everything that can fail beside what is in force: loads and attaches new instances with
//! an empty head, fills free slots and reads them back. If anything fails there, all of it is undone and nothing has
//! changed. [`commit`] flips the heads, one map update a hook, and then takes away what is no longer used.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stockade_enforcer_common::head::Head;

use crate::instance::{Attach, Identity, Specification};
use crate::ops::{BinaryTables, KernelOps, OpError, Slot};
use crate::rows::Rows;

/// A hook as it shall be.
#[derive(Debug, Clone)]
pub struct DesiredHook {
    /// What it is called.
    pub identity: Identity,
    /// Its program.
    pub specification: Specification,
    /// Its rows.
    pub rows: Arc<Rows>,
}

/// What the node shall do.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// Hook instances, each with at least one rule.
    pub hooks: Vec<DesiredHook>,
    /// The binaries that any of them lists.
    pub binaries: BinaryTables,
}

/// A hook as it is.
#[derive(Debug, Clone)]
pub struct Installed {
    /// What it is called.
    pub identity: Identity,
    /// The head in force.
    pub head: Head,
    /// [`Rows::digest`] of what its slot holds.
    pub digest: [u8; 32],
}

impl Installed {
    fn slot(&self) -> Slot {
        Slot::from_index(self.head.slot)
    }
}

/// What is installed on this node.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// By name.
    pub hooks: BTreeMap<String, Installed>,
    /// The binary tables in use.
    pub binaries: BinaryTables,
    /// Where they are.
    pub binary_slot: Option<Slot>,
    /// Their generation.
    pub binary_generation: u64,
    /// The highest generation that any head has had.
    pub generation: u64,
}

/// Why nothing was changed: by hook.
#[derive(Debug)]
pub struct Failure {
    /// The hook, or `None` for the tables of binaries.
    pub hook: Option<Specification>,
    /// What went wrong.
    pub error: OpError,
}

/// What is ready to be switched to.
#[derive(Debug)]
pub struct Prepared {
    generation: u64,
    binaries: Option<(Slot, u64, BinaryTables)>,
    hooks: Vec<PreparedHook>,
}

impl Prepared {
    /// The generation that it will be.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the rows of a hook stay as they are, and so its generation.
    #[must_use]
    pub fn keeps_rows(&self, name: &str) -> bool {
        self.hooks.iter().any(|hook| hook.desired.identity.name == name && !hook.filled)
    }

    /// Where each hook instance is attached, by name.
    pub fn attaches(&self) -> impl Iterator<Item = (String, Attach)> {
        let hooks = self.hooks.iter().map(|hook| &hook.desired);
        hooks.map(|hook| (hook.identity.name.clone(), hook.specification.attach.clone()))
    }
}

#[derive(Debug)]
struct PreparedHook {
    desired: DesiredHook,
    /// The slot that the rows are in.
    slot: Slot,
    /// It was filled for this change.
    filled: bool,
    /// The instance was loaded and attached for this change.
    new: bool,
}

/// Does what can fail. On failure everything is as before.
pub fn prepare(ops: &mut impl KernelOps, state: &State, desired: Desired) -> Result<Prepared, Vec<Failure>> {
    let generation = state.generation + 1;
    let mut failures = Vec::new();
    let mut prepared = Prepared { generation, binaries: None, hooks: Vec::new() };
    if state.binary_slot.is_none() || state.binaries != desired.binaries {
        let slot = state.binary_slot.map_or(Slot::A, Slot::other);
        match ops.fill_binaries(slot, &desired.binaries) {
            Ok(()) => prepared.binaries = Some((slot, state.binary_generation + 1, desired.binaries)),
            Err(error) => failures.push(Failure { hook: None, error }),
        }
    }
    for hook in desired.hooks {
        if !failures.is_empty() && failures.iter().any(|failure| failure.hook.is_none()) {
            break;
        }
        let specification = hook.specification.clone();
        match prepare_hook(ops, state, hook, generation) {
            Ok(hook) => prepared.hooks.push(hook),
            Err(error) => failures.push(Failure { hook: Some(specification), error }),
        }
    }
    if failures.is_empty() {
        return Ok(prepared);
    }
    undo(ops, prepared);
    Err(failures)
}

fn prepare_hook(
    ops: &mut impl KernelOps,
    state: &State,
    desired: DesiredHook,
    generation: u64,
) -> Result<PreparedHook, OpError> {
    let identity = desired.identity.clone();
    if let Some(installed) = state.hooks.get(&identity.name) {
        if installed.digest == desired.rows.digest() {
            return Ok(PreparedHook { desired, slot: installed.slot(), filled: false, new: false });
        }
        let slot = installed.slot().other();
        if let Err(error) = ops.fill(&identity, slot, &desired.rows) {
            note(ops.clear(&identity, slot), "a slot that was being filled is left");
            return Err(error);
        }
        return Ok(PreparedHook { desired, slot, filled: true, new: false });
    }
    ops.load(&identity, &desired.specification)?;
    let mut steps = || {
        ops.fill(&identity, Slot::A, &desired.rows)?;
        // Attached with a head without rules: the program ends at once until the flip.
        ops.flip(&identity, &Head { generation, ..Head::EMPTY })?;
        ops.attach(&identity)
    };
    if let Err(error) = steps() {
        note(ops.remove(&identity), "a hook instance that failed is left");
        return Err(error);
    }
    Ok(PreparedHook { desired, slot: Slot::A, filled: true, new: true })
}

fn undo(ops: &mut impl KernelOps, prepared: Prepared) {
    for hook in prepared.hooks {
        if hook.new {
            note(ops.remove(&hook.desired.identity), "a hook instance of an undone change is left");
        } else if hook.filled {
            note(ops.clear(&hook.desired.identity, hook.slot), "a slot of an undone change is left");
        }
    }
    if let Some((slot, _, _)) = prepared.binaries {
        note(ops.fill_binaries(slot, &BinaryTables::new()), "binary tables of an undone change are left");
    }
}

/// Cleaning up that fails leaves memory in use, never a wrong verdict: it is tried again with the next change.
fn note(result: Result<(), OpError>, what: &str) {
    if let Err(error) = result {
        tracing::warn!(%error, "{what}");
    }
}

/// What a commit did.
#[derive(Debug, Default)]
pub struct Committed {
    /// Hooks whose flip failed: they still do what they did before.
    pub failures: Vec<Failure>,
    /// Hooks that were flipped.
    pub flipped: BTreeSet<String>,
}

/// Switches to what was prepared, and takes away what is no longer used.
pub fn commit(ops: &mut impl KernelOps, state: &mut State, prepared: Prepared) -> Committed {
    let mut committed = Committed::default();
    let Prepared { generation, binaries, hooks } = prepared;
    state.generation = generation;
    let old_binaries = binaries.as_ref().map(|(slot, _, _)| slot.other());
    if let Some((slot, generation, tables)) = binaries {
        if let Err(error) = ops.use_binaries(slot, generation) {
            committed.failures.push(Failure { hook: None, error });
        }
        state.binaries = tables;
        state.binary_slot = Some(slot);
        state.binary_generation = generation;
    }
    let wanted: BTreeSet<String> = hooks.iter().map(|hook| hook.desired.identity.name.clone()).collect();
    for hook in hooks {
        flip(ops, state, hook, generation, &mut committed);
    }
    // Only when everything that was to replace it is in force: a failed flip may be the one that replaces it.
    if committed.failures.is_empty() {
        let gone: Vec<Identity> = state
            .hooks
            .values()
            .filter(|hook| !wanted.contains(&hook.identity.name))
            .map(|hook| hook.identity.clone())
            .collect();
        for identity in gone {
            match ops.remove(&identity) {
                Ok(()) => drop(state.hooks.remove(&identity.name)),
                Err(error) => note(Err(error), "a hook instance that is no longer used is left"),
            }
        }
        if let Some(slot) = old_binaries {
            note(ops.fill_binaries(slot, &emptied(&state.binaries)), "old binary tables are left");
        }
    }
    committed
}

fn emptied(tables: &BinaryTables) -> BinaryTables {
    tables.keys().map(|name| (*name, BTreeMap::new())).collect()
}

fn flip(ops: &mut impl KernelOps, state: &mut State, hook: PreparedHook, generation: u64, committed: &mut Committed) {
    let PreparedHook { desired, slot, filled, new: _ } = hook;
    let name = desired.identity.name.clone();
    let binary_slot = state.binary_slot.map_or(0, Slot::index);
    let old = state.hooks.get(&name).cloned();
    // Unchanged rows keep their generation: what their events mean has not changed.
    let generation = match &old {
        Some(old) if !filled => old.head.generation,
        _ => generation,
    };
    let head = Head {
        generation,
        binary_generation: state.binary_generation,
        slot: slot.index(),
        binary_slot,
        ..desired.rows.head
    };
    if old.as_ref().is_some_and(|old| old.head == head) {
        return;
    }
    match ops.flip(&desired.identity, &head) {
        Ok(()) => {
            let digest = desired.rows.digest();
            if let Some(old) = old.filter(|_| filled) {
                note(ops.clear(&desired.identity, old.slot()), "the slot of an old generation is left");
            }
            state.hooks.insert(name.clone(), Installed { identity: desired.identity, head, digest });
            committed.flipped.insert(name);
        }
        Err(error) => committed.failures.push(Failure { hook: Some(desired.specification), error }),
    }
}

#[cfg(test)]
#[path = "execute_tests.rs"]
mod tests;
