//! What the programs have counted, and what they have missed.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;

use stockade_enforcer_common::bits::MAX_RULES;
use stockade_enforcer_common::counter::Place;
use stockade_enforcer_common::head::RuleCounts;
use stockade_enforcer_common::name::hook_map;
use zerocopy::FromBytes;

use crate::kernel::{Instance, Kernel};
use crate::legend::Rule;
use crate::map::Map;
use crate::ops::Slot;
use crate::pins::{self, Kind};
use crate::sys;

/// What was counted since the programs were loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Failures by place, of all programs together.
    pub places: BTreeMap<&'static str, u64>,
    /// Calls that a program did not see because it was running already, by program.
    pub missed: BTreeMap<String, u64>,
    /// What the rules in force have done, by hook and rule.
    pub rules: Vec<CountedRule>,
}

/// What a rule has done since its generation is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedRule {
    /// Which.
    pub rule: Rule,
    /// Of which generation of its hook.
    pub generation: u64,
    /// What.
    pub counts: RuleCounts,
}

/// Adds up COUNTERS of one instance.
pub(crate) fn add_places(places: &mut BTreeMap<&'static str, u64>, map: &Map) -> io::Result<()> {
    for place in Place::ALL {
        let sums = map.sum(&(*place as u32).to_ne_bytes())?;
        let count = sums.first().copied().unwrap_or_default();
        let total = places.entry(place.name()).or_default();
        *total = total.wrapping_add(count);
    }
    Ok(())
}

/// RULE_COUNTS of the rules of a slot.
pub(crate) fn rule_counts(instance: &Instance, slot: Slot, rule: u32) -> io::Result<RuleCounts> {
    let Some(map) = instance.maps.get(hook_map::RULE_COUNTS) else { return Ok(RuleCounts::default()) };
    let row = slot.index() * u32::try_from(MAX_RULES).unwrap_or(u32::MAX) + rule;
    Ok(map.get(&row.to_ne_bytes())?.and_then(|bytes| RuleCounts::read_from_bytes(&bytes).ok()).unwrap_or_default())
}

/// Sets the counts of a slot's rules back to zero, before the slot is used again.
pub(crate) fn reset_rule_counts(instance: &Instance, slot: Slot) -> io::Result<()> {
    use zerocopy::IntoBytes;
    let Some(map) = instance.maps.get(hook_map::RULE_COUNTS) else { return Ok(()) };
    let rules = u32::try_from(MAX_RULES).unwrap_or(u32::MAX);
    let zero = RuleCounts::default();
    let keys: Vec<_> = (0..rules).map(|rule| (slot.index() * rules + rule).to_ne_bytes()).collect();
    map.set_all(keys.iter().map(|key| (key.as_slice(), zero.as_bytes())))
}

impl Kernel {
    /// What all programs have counted and missed; rules are added by who knows what their numbers mean.
    pub(crate) fn counted(&self) -> io::Result<Counters> {
        let mut counters = Counters::default();
        for (name, instance) in &self.instances {
            if let Some(map) = instance.maps.get(hook_map::COUNTERS) {
                add_places(&mut counters.places, map)?;
            }
            let info = sys::prog_info(instance.program.as_fd())?;
            counters.missed.insert(name.clone(), info.recursion_misses);
        }
        for base in self.pins.list(Kind::Base)? {
            let directory = self.pins.directory(Kind::Base, &base);
            add_places(&mut counters.places, &Map::open(&directory.join(hook_map::COUNTERS))?)?;
            for entry in std::fs::read_dir(&directory)? {
                let path = entry?.path();
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                if let Some(program) = name.strip_prefix(&format!("{}-", pins::PROGRAM)) {
                    let fd = sys::obj_get(&crate::map::c_path(&path)?)?;
                    counters.missed.insert(format!("base/{program}"), sys::prog_info(fd.as_fd())?.recursion_misses);
                }
            }
        }
        Ok(counters)
    }
}
