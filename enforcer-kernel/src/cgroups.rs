//! The map from cgroups to classes.

use std::collections::BTreeMap;

use stockade_enforcer_common::name::shared_map;
use stockade_enforcer_common::process::{CgroupRow, Shared};
use zerocopy::{FromBytes, IntoBytes};

use crate::kernel::Kernel;
use crate::ops::OpError;
use crate::start::shared_row;

/// What the map says now.
pub fn read(kernel: &Kernel) -> Result<BTreeMap<u64, u32>, OpError> {
    let map = kernel.shared(shared_map::CGROUPS)?;
    let failed = || OpError::io("reading the classes of cgroups");
    let mut classes = BTreeMap::new();
    for key in map.keys().map_err(failed())? {
        let row = map.get(&key).map_err(failed())?;
        let row = row.and_then(|row| CgroupRow::read_from_bytes(&row).ok());
        if let (Some(row), Ok(id)) = (row, u64::read_from_bytes(&key)) {
            classes.insert(id, row.class);
        }
    }
    Ok(classes)
}

/// Makes the map say `wanted`: first what is new or another class, then away with what is gone, then every process's
/// cached class is out of date. Returns whether anything was written.
pub fn write(kernel: &Kernel, wanted: &BTreeMap<u64, u32>) -> Result<bool, OpError> {
    let map = kernel.shared(shared_map::CGROUPS)?;
    let now = read(kernel)?;
    let changed: Vec<_> = wanted.iter().filter(|(id, class)| now.get(id) != Some(class)).collect();
    let rows: Vec<_> =
        changed.iter().map(|(id, class)| (id.to_ne_bytes(), CgroupRow { class: **class, reserved: 0 })).collect();
    map.set_all(rows.iter().map(|(key, row)| (key.as_slice(), row.as_bytes())))
        .map_err(OpError::io("writing the classes of cgroups"))?;
    let gone: Vec<_> = now.keys().filter(|id| !wanted.contains_key(id)).collect();
    for id in &gone {
        map.delete(&id.to_ne_bytes()).map_err(OpError::io("removing a cgroup's class"))?;
    }
    if rows.is_empty() && gone.is_empty() {
        return Ok(false);
    }
    let row = shared_row(kernel)?;
    let epoch = row.scope_epoch.wrapping_add(1).max(1);
    write_shared(kernel, &Shared { scope_epoch: epoch, ..row })?;
    Ok(true)
}

/// Writes the shared row; only this thread writes it.
pub fn write_shared(kernel: &Kernel, row: &Shared) -> Result<(), OpError> {
    kernel
        .shared(shared_map::SHARED)?
        .set(&0_u32.to_ne_bytes(), row.as_bytes())
        .map_err(OpError::io("writing the shared row"))
}
