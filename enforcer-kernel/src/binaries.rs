//! Room in the table of executables' paths: what nobody runs any more goes, the longest unused first.

use std::collections::BTreeSet;
use std::io;

use stockade_enforcer_common::name::shared_map;
use stockade_enforcer_common::process::{BinaryRow, ProcessRecord};
use zerocopy::{FromBytes, IntoBytes};

use crate::kernel::Kernel;
use crate::map::Map;
use crate::ops::OpError;

/// Takes rows away once the table is three quarters full, until it is half full. Returns how many.
pub(crate) fn make_room(kernel: &Kernel) -> Result<usize, OpError> {
    let table = kernel.shared(shared_map::BINARIES)?;
    let processes = kernel.shared(shared_map::PROCESSES)?;
    prune(table, processes).map_err(OpError::io("making room for the paths of executables"))
}

fn prune(table: &Map, processes: &Map) -> io::Result<usize> {
    let (keys, room) = (table.keys()?, table.shape().entries as usize);
    if keys.len() * 4 < room * 3 {
        return Ok(0);
    }
    let running = running(processes)?;
    let mut unused = Vec::new();
    for key in keys.iter().filter(|key| !running.contains(*key)) {
        if let Some(row) = table.get(key)?.and_then(|bytes| BinaryRow::read_from_bytes(&bytes).ok()) {
            unused.push((row.used, key, row));
        }
    }
    unused.sort_by_key(|(used, ..)| *used);
    unused.truncate(keys.len().saturating_sub(room / 2));
    for (_, key, _) in &unused {
        table.delete(key)?;
    }
    // What was executed while its row was taken away has it again. (A row that the kernel has made anew says the same.)
    let running = self::running(processes)?;
    let mut back = 0;
    for (_, key, row) in unused.iter().filter(|(_, key, _)| running.contains(*key)) {
        table.set(key, row.as_bytes())?;
        back += 1;
    }
    Ok(unused.len() - back)
}

/// The executables of all processes.
fn running(processes: &Map) -> io::Result<BTreeSet<Vec<u8>>> {
    let mut running = BTreeSet::new();
    for key in processes.keys()? {
        if let Some(record) = processes.get(&key)?.and_then(|bytes| ProcessRecord::read_from_bytes(&bytes).ok()) {
            running.insert(record.binary.to_ne_bytes().to_vec());
        }
    }
    Ok(running)
}
