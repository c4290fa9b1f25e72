//! Marks of processes that run already: what a fork or exec would have given them, had the policy been there.

use std::collections::{BTreeMap, BTreeSet};

use stockade_enforcer_common::name::shared_map;
use stockade_enforcer_common::process::{BinaryRow, ProcessRecord};
use stockade_policy::ir::StringCompare;
use zerocopy::{FromBytes, IntoBytes};

use crate::compile::{MarkSet, Marks};
use crate::kernel::Kernel;
use crate::ops::OpError;

/// Passes over the table: a process that is forked while one runs has its parent's bits after the next.
const PASSES: usize = 2;

/// A process as its record has it.
struct Process {
    key: Vec<u8>,
    record: ProcessRecord,
}

/// Gives every running process its marks; those it has stay. Returns how many records were written.
///
/// A record is written whole, so an exec in the few microseconds between reading and writing it is lost from it until the
/// process's next exec; only records that lack a bit are written.
pub(crate) fn mark_running(kernel: &Kernel, marks: &Marks) -> Result<usize, OpError> {
    if marks.is_empty() {
        return Ok(0);
    }
    let table = kernel.shared(shared_map::PROCESSES)?;
    let mut written = 0;
    for _ in 0..PASSES {
        let processes = processes(kernel)?;
        let wanted = wanted(kernel, &processes, marks)?;
        for process in &processes {
            let bits = wanted.get(&process.record.id.tgid).copied().unwrap_or_default();
            let [low, high] = process.record.marks;
            let [new_low, new_high] = bits;
            if [low | new_low, high | new_high] == process.record.marks {
                continue;
            }
            let failed = || OpError::io("marking a running process");
            // Read again just before, and only where it is still the same process.
            let now = table.get(&process.key).map_err(failed())?;
            let Some(now) = now.and_then(|bytes| ProcessRecord::read_from_bytes(&bytes).ok()) else { continue };
            if now.id != process.record.id {
                continue;
            }
            let [low, high] = now.marks;
            let record = ProcessRecord { marks: [low | new_low, high | new_high], ..now };
            table.set(&process.key, record.as_bytes()).map_err(failed())?;
            written += 1;
        }
    }
    Ok(written)
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

/// Bits by thread group id: those a process has by itself and those of its ancestors.
fn wanted(kernel: &Kernel, processes: &[Process], marks: &Marks) -> Result<BTreeMap<u32, [u64; 2]>, OpError> {
    let paths = paths(kernel, processes)?;
    let mut bits: BTreeMap<u32, [u64; 2]> = BTreeMap::new();
    for Process { key: _, record } in processes {
        let mut own = record.marks;
        for (mark, slot) in marks {
            let is = match mark {
                MarkSet::Pids { own: false, pids } => pids.contains(&record.id.tgid),
                MarkSet::Pids { own: true, pids } => own_pid(record).is_some_and(|pid| pids.contains(&pid)),
                MarkSet::Binaries { compare, values } => {
                    paths.get(&record.binary).is_some_and(|path| matches(path, *compare, values))
                }
            };
            if let (true, Some(word)) = (is, own.get_mut(*slot as usize / 64)) {
                *word |= 1 << (slot % 64);
            }
        }
        bits.insert(record.id.tgid, own);
    }
    // Down the tree until nothing changes; each round reaches at least one generation further.
    for _ in 0..processes.len() {
        let mut changed = false;
        for Process { key: _, record } in processes {
            let [low, high] = bits.get(&record.parent.tgid).copied().unwrap_or_default();
            if let Some([own_low, own_high]) = bits.get_mut(&record.id.tgid) {
                changed |= low & !*own_low != 0 || high & !*own_high != 0;
                *own_low |= low;
                *own_high |= high;
            }
        }
        if !changed {
            break;
        }
    }
    Ok(bits)
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
