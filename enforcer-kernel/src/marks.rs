//! Marks of processes that run already: what a fork or exec would have given them, had the policy been there.

use std::collections::{BTreeMap, BTreeSet};

use stockade_enforcer_common::dimension::{PID_HOST, PID_OWN};
use stockade_enforcer_common::key::NumKey;
use stockade_enforcer_common::name::shared_map;
use stockade_enforcer_common::process::{
    BinaryRow, MARKS_HOST_PIDS, MARKS_OWN_PIDS, MarkChange, MarkRow, PROCESS_LINEAGE_UNKNOWN, ProcessRecord, Shared,
};
use stockade_policy::ir::StringCompare;
use zerocopy::{FromBytes, IntoBytes};

use crate::cgroups;
use crate::compile::{MarkSet, Marks};
use crate::kernel::Kernel;
use crate::ops::OpError;
use crate::rows::Table;
use crate::start::{self, shared_row};

/// Passes over the table: a process that is forked while one runs has its parent's bits after the next.
const PASSES: usize = 2;

/// A process as its record has it.
struct Process {
    key: Vec<u8>,
    record: ProcessRecord,
}

/// Marks, by word.
type Bits = [u64; 2];

/// Adds what new policies say of executions and pids; what only old ones said stays until [`settle_rows`], because they are
/// still in force.
pub(crate) fn add_rows(kernel: &Kernel, rows: &Table) -> Result<(), OpError> {
    let map = kernel.shared(shared_map::MARKS)?;
    let failed = || OpError::io("writing the rows of marks");
    let mut both = Vec::with_capacity(rows.len());
    for (key, row) in rows {
        let before = map.get(key).map_err(failed())?;
        let parse = |bytes: &[u8]| MarkRow::read_from_bytes(bytes).unwrap_or_default().marks;
        let ([low, high], [old_low, old_high]) = (parse(row), before.as_deref().map(parse).unwrap_or_default());
        both.push((key, MarkRow { marks: [low | old_low, high | old_high] }));
    }
    map.set_all(both.iter().map(|(key, row)| (key.as_slice(), row.as_bytes()))).map_err(failed())?;
    set_kinds(kernel, |before| before | kinds(rows))
}

/// Leaves only these rows.
pub(crate) fn settle_rows(kernel: &Kernel, rows: &Table) -> Result<(), OpError> {
    let map = kernel.shared(shared_map::MARKS)?;
    let failed = || OpError::io("removing rows of marks");
    map.set_all(rows.iter().map(|(key, row)| (key.as_slice(), row.as_slice()))).map_err(failed())?;
    for key in map.keys().map_err(failed())? {
        if !rows.contains_key(&key) {
            map.delete(&key).map_err(failed())?;
        }
    }
    set_kinds(kernel, |_| kinds(rows))
}

/// Which kinds of pids have rows.
fn kinds(rows: &Table) -> u32 {
    let kind = |key: &Vec<u8>| match NumKey::read_from_bytes(key).map(|key| key.dimension) {
        Ok(PID_HOST) => MARKS_HOST_PIDS,
        Ok(PID_OWN) => MARKS_OWN_PIDS,
        _ => 0,
    };
    rows.keys().fold(0, |kinds, key| kinds | kind(key))
}

fn set_kinds(kernel: &Kernel, change: impl FnOnce(u32) -> u32) -> Result<(), OpError> {
    let row = shared_row(kernel)?;
    let marks = change(row.marks);
    if marks == row.marks { Ok(()) } else { cgroups::write_shared(kernel, &Shared { marks, ..row }) }
}

/// Gives every running process its marks; those it has stay.
pub(crate) fn mark_running(kernel: &Kernel, marks: &Marks) -> Result<(), OpError> {
    if marks.is_empty() {
        return Ok(());
    }
    for _ in 0..PASSES {
        let processes = processes(kernel)?;
        let wanted = wanted(kernel, &processes, marks)?;
        let mut changes = Vec::new();
        for Process { key, record } in &processes {
            let Some(Wanted { marks: set, unknown }) = wanted.get(&record.id.tgid).copied() else { continue };
            let flags = if unknown { PROCESS_LINEAGE_UNKNOWN } else { 0 };
            if union(record.marks, set) != record.marks || flags & !record.flags != 0 {
                changes.push((key, MarkChange { set, flags, ..MarkChange::default() }));
            }
        }
        change(kernel, &changes)?;
    }
    Ok(())
}

/// Takes these marks from every process. `false`: some still have one, because they were forked meanwhile.
pub(crate) fn clear(kernel: &Kernel, clear: Bits) -> Result<bool, OpError> {
    for _ in 0..PASSES + 1 {
        let processes = processes(kernel)?;
        let has = |record: &ProcessRecord| record.marks.iter().zip(clear).any(|(marks, clear)| marks & clear != 0);
        let changes: Vec<_> = processes
            .iter()
            .filter(|process| has(&process.record))
            .map(|process| (&process.key, MarkChange { clear, ..MarkChange::default() }))
            .collect();
        if changes.is_empty() {
            return Ok(true);
        }
        change(kernel, &changes)?;
    }
    Ok(false)
}

/// The marks that any process has.
pub(crate) fn in_use(kernel: &Kernel) -> Result<Bits, OpError> {
    Ok(processes(kernel)?.iter().fold([0; 2], |bits, process| union(bits, process.record.marks)))
}

fn union([low, high]: Bits, [other_low, other_high]: Bits) -> Bits {
    [low | other_low, high | other_high]
}

/// Has the kernel change these processes: written from here, a record would lose what its process does meanwhile.
fn change(kernel: &Kernel, changes: &[(&Vec<u8>, MarkChange)]) -> Result<(), OpError> {
    if changes.is_empty() {
        return Ok(());
    }
    let map = kernel.shared(shared_map::MARK_CHANGES)?;
    let failed = || OpError::io("changing the marks of running processes");
    let rows = changes.iter().map(|(key, change)| (key.as_slice(), change.as_bytes()));
    let changed = map.set_all(rows).and_then(|()| start::run_change_marks(kernel));
    // Also what an agent has left that died here.
    for key in map.keys().map_err(failed())? {
        map.delete(&key).map_err(failed())?;
    }
    changed.map_err(failed())
}

fn processes(kernel: &Kernel) -> Result<Vec<Process>, OpError> {
    let table = kernel.shared(shared_map::PROCESSES)?;
    let failed = || OpError::io("listing running processes");
    let mut processes = Vec::new();
    for key in table.keys().map_err(failed())? {
        let value = table.get(&key).map_err(failed())?;
        if let Some(record) = value.and_then(|bytes| ProcessRecord::read_from_bytes(&bytes).ok()) {
            processes.push(Process { key, record });
        }
    }
    Ok(processes)
}

/// What a process shall have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Wanted {
    marks: Bits,
    /// An executable of its lineage is unknown.
    unknown: bool,
}

impl Wanted {
    fn and(self, other: Self) -> Self {
        Self { marks: union(self.marks, other.marks), unknown: self.unknown || other.unknown }
    }
}

/// By thread group id: what a process has by itself and what its ancestors have.
fn wanted(kernel: &Kernel, processes: &[Process], marks: &Marks) -> Result<BTreeMap<u32, Wanted>, OpError> {
    let paths = paths(kernel, processes)?;
    let mut all: BTreeMap<u32, Wanted> = BTreeMap::new();
    for Process { key: _, record } in processes {
        let unknown = record.flags & PROCESS_LINEAGE_UNKNOWN != 0;
        let mut own = Wanted { marks: record.marks, unknown };
        for (mark, slot) in marks {
            let is = match mark {
                MarkSet::Pids { own: false, pids } => pids.contains(&record.id.tgid),
                MarkSet::Pids { own: true, pids } => own_pid(record).is_some_and(|pid| pids.contains(&pid)),
                MarkSet::Binaries { compare, values } => {
                    paths.get(&record.binary).is_some_and(|path| matches(path, *compare, values))
                }
            };
            if let (true, Some(word)) = (is, own.marks.get_mut(*slot as usize / 64)) {
                *word |= 1 << (slot % 64);
            }
        }
        all.insert(record.id.tgid, own);
    }
    // Down the tree until nothing changes; each round reaches at least one generation further.
    for _ in 0..processes.len() {
        let mut changed = false;
        for Process { key: _, record } in processes {
            let parent = all.get(&record.parent.tgid).copied().unwrap_or_default();
            if let Some(own) = all.get_mut(&record.id.tgid) {
                let both = own.and(parent);
                changed |= both != *own;
                *own = both;
            }
        }
        if !changed {
            break;
        }
    }
    Ok(all)
}

/// The process's id in its own pid namespace: the last of `NSpid`.
fn own_pid(record: &ProcessRecord) -> Option<u32> {
    if record.own_tgid != 0 {
        return Some(record.own_tgid);
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", record.id.tgid)).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().next_back()?.parse().ok()
}

/// The first and last bytes of the executables' paths, by key of BINARIES.
fn paths(kernel: &Kernel, processes: &[Process]) -> Result<BTreeMap<u64, BinaryRow>, OpError> {
    let table = kernel.shared(shared_map::BINARIES)?;
    let keys: BTreeSet<u64> = processes.iter().map(|process| process.record.binary).collect();
    let mut paths = BTreeMap::new();
    for key in keys {
        let row = table.get(&key.to_ne_bytes()).map_err(OpError::io("reading the paths of executables"))?;
        if let Some(row) = row.and_then(|bytes| BinaryRow::read_from_bytes(&bytes).ok()) {
            paths.insert(key, row);
        }
    }
    Ok(paths)
}

fn matches(path: &BinaryRow, compare: StringCompare, values: &BTreeSet<String>) -> bool {
    let length = path.length as usize;
    let starts = |value: &str| path.prefix.text.get(..value.len()) == Some(value.as_bytes()) && value.len() <= length;
    let ends =
        |value: &str| value.len() <= length && path.postfix.text.iter().zip(value.bytes().rev()).all(|(a, b)| *a == b);
    values.iter().any(|value| match compare {
        StringCompare::Equal => length == value.len() && starts(value),
        StringCompare::Prefix => starts(value),
        StringCompare::Postfix => ends(value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    #[test]
    fn a_stored_path_is_compared_by_its_beginning_and_its_end() {
        let mut row = BinaryRow::new_zeroed();
        row.length = 8;
        row.prefix.text[..8].copy_from_slice(b"/bin/cat");
        row.postfix.text[..8].copy_from_slice(b"tac/nib/");
        let is = |compare, value: &str| matches(&row, compare, &BTreeSet::from([value.to_owned()]));
        assert!(is(StringCompare::Equal, "/bin/cat") && !is(StringCompare::Equal, "/bin/ca"));
        assert!(is(StringCompare::Prefix, "/bin/") && !is(StringCompare::Prefix, "bin"));
        assert!(is(StringCompare::Postfix, "/cat") && !is(StringCompare::Postfix, "/bin/"));
        assert!(!is(StringCompare::Postfix, "x/bin/cat") && !is(StringCompare::Prefix, "/bin/cats"));
    }
}
