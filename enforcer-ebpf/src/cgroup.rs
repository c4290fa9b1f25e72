//! Cgroups of the unified hierarchy, by the kernel's own structures: the helpers are not there on every kernel.

use crate::map::{CGROUPS, address, find};
use crate::read::{at, pointer, value};
use crate::rodata::kernel;
use stockade_enforcer_common::offset::MISSING;
use stockade_enforcer_common::process::CgroupRow;

/// Levels that are looked at, from the task's own upwards.
const LEVELS: u32 = 12;

/// Where a task is.
#[derive(Clone, Copy, Default)]
pub(crate) struct Scope {
    /// Its cgroup.
    pub(crate) cgroup: u64,
    /// The deepest registered among that and its ancestors; 0: none.
    pub(crate) registered: u64,
    /// The class of what is registered; the host's otherwise.
    pub(crate) class: u32,
}

/// The scope of a task by the cgroup it is in now.
#[inline(always)]
pub(crate) fn scope(task: u64) -> Option<Scope> {
    let set = pointer(at(task, kernel!(task_cgroups)))?;
    let cgroup = pointer(at(set, kernel!(css_set_dfl_cgrp)))?;
    let level: u32 = value(at(cgroup, kernel!(cgroup_level)))?;
    let mut scope = Scope { cgroup: id(cgroup)?, registered: 0, class: 0 };
    for up in 0..LEVELS {
        if up > level {
            break;
        }
        let Some(ancestor) = ancestor(cgroup, level - up) else { break };
        if let Some(class) = class(ancestor) {
            scope.registered = ancestor;
            scope.class = class;
            break;
        }
    }
    Some(scope)
}

/// The class of a registered cgroup.
#[inline(always)]
pub(crate) fn class(id: u64) -> Option<u32> {
    // SAFETY: keys are ids, values rows.
    unsafe { find::<CgroupRow>(address(&CGROUPS), (&raw const id).cast()).as_ref().map(|row| row.class) }
}

#[inline(always)]
fn id(cgroup: u64) -> Option<u64> {
    value(at(pointer(at(cgroup, kernel!(cgroup_kn)))?, kernel!(kernfs_node_id)))
}

#[inline(always)]
fn ancestor(cgroup: u64, level: u32) -> Option<u64> {
    if kernel!(cgroup_ancestors) != MISSING {
        id(pointer(at(cgroup, kernel!(cgroup_ancestors)) + u64::from(level) * 8)?)
    } else {
        value(at(cgroup, kernel!(cgroup_ancestor_ids)) + u64::from(level) * 8)
    }
}
