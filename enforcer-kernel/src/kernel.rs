//! The kernel itself behind [`KernelOps`]: maps, programs and pins of this node.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stockade_enforcer_common::head::{HEAD_IN_FORCE, Head, head_of_slot};
use stockade_enforcer_common::name::{hook_map, shared_map};
use stockade_enforcer_common::plan::plan_flag;
use stockade_enforcer_common::process::Shared;
use zerocopy::{FromBytes, IntoBytes};

use crate::attach;
use crate::instance::{Identity, Specification};
use crate::map::{Map, c_path};
use crate::object::{MapPattern, Object, globals};
use crate::ops::{BinaryTables, KernelOps, OpError, Slot};
use crate::pins::{self, Kind, Pins};
use crate::progress::Progress;
use crate::ring::Ring;
use crate::rows::{Rows, Table};
use crate::sys::{self, Shape};

/// Lets the maps that an array of maps holds differ in their number of elements.
const BPF_F_INNER_MAP: u32 = 1 << 12;
const BPF_MAP_TYPE_ARRAY: u32 = 2;

/// A hook instance that is loaded.
#[derive(Debug)]
pub struct Instance {
    /// Its directory of pins.
    pub directory: PathBuf,
    /// Its program.
    pub program: OwnedFd,
    /// Its maps, by name.
    pub maps: BTreeMap<&'static str, Map>,
    /// What its events are numbered with, where it is attached: known for instances this process has made.
    pub specification: Option<Specification>,
}

impl Instance {
    /// A map of it.
    pub fn map(&self, name: &str) -> Result<&Map, OpError> {
        self.maps.get(name).ok_or_else(|| OpError::Unknown(format!("{}/{name}", self.directory.display())))
    }

    /// The head in force, read from the kernel; `None` when there is none.
    pub fn head(&self) -> io::Result<Option<Head>> {
        let pin = self.directory.join(HEAD_ROW);
        let inner = match Map::open(&pin) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let outer = self.maps.get(hook_map::HEAD).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let in_force = outer.get(&HEAD_IN_FORCE.to_ne_bytes())?;
        let is_in_force = |map: &Map| in_force.as_deref() == Some(map.id().to_ne_bytes().as_slice());
        let wrong = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        let map = if is_in_force(&inner) {
            inner
        } else {
            // Killed between the flip and the pin's renaming: the pin that was to replace it has the map.
            let beside = Map::open(&self.directory.join(format!("{HEAD_ROW}-new")))?;
            if !is_in_force(&beside) {
                return wrong("the head in force is not a pinned one");
            }
            beside
        };
        let head = read_head(&map)?;
        match &head {
            Some(head) if outer.get(&head_of_slot(head.slot).to_ne_bytes())? != in_force => {
                wrong("the head of the slot in force is not the head in force")
            }
            _ => Ok(head),
        }
    }

    /// The rows of a table of a slot, read from the kernel; empty where the slot has none.
    pub fn table(&self, name: &str, slot: Slot) -> io::Result<Table> {
        let Some(inner) = open_inner(self.maps.get(name), &self.directory, name, slot)? else {
            return Ok(Table::new());
        };
        read_table(&inner)
    }
}

fn read_head(map: &Map) -> io::Result<Option<Head>> {
    Ok(map.get(&0_u32.to_ne_bytes())?.and_then(|bytes| Head::read_from_bytes(&bytes).ok()))
}

fn read_table(map: &Map) -> io::Result<Table> {
    map.keys()?.into_iter().map(|key| Ok((key.clone(), map.get(&key)?.unwrap_or_default()))).collect()
}

/// The pin of the head's inner map.
const HEAD_ROW: &str = "HEAD_row";

fn inner_pin(directory: &Path, name: &str, slot: Slot) -> PathBuf {
    directory.join(format!("{name}_{}", slot.index()))
}

/// Opens what a slot of a map of maps holds, by its pin, and makes sure that it is what the slot holds.
fn open_inner(outer: Option<&Map>, directory: &Path, name: &str, slot: Slot) -> io::Result<Option<Map>> {
    let Some(outer) = outer else { return Ok(None) };
    let Some(id) = outer.get(&slot.index().to_ne_bytes())? else { return Ok(None) };
    let inner = Map::open(&inner_pin(directory, name, slot))?;
    if id != inner.id().to_ne_bytes() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("slot {slot:?} of {name} holds a map that is not ours"),
        ));
    }
    Ok(Some(inner))
}

/// The kernel of this node.
#[derive(Debug)]
pub struct Kernel {
    pub(crate) pins: Pins,
    pub(crate) object: Object,
    /// `offset::Kernel` as bytes.
    pub(crate) offsets: Vec<u8>,
    /// What every program's identity depends on: object, offsets, shared maps.
    pub(crate) base_digest: Vec<u8>,
    /// The directory of the shared maps.
    pub(crate) shared_directory: PathBuf,
    /// The shared maps, by name.
    pub(crate) shared: BTreeMap<&'static str, Map>,
    /// Loaded hook instances, by name.
    pub(crate) instances: BTreeMap<String, Instance>,
    /// Instances that have been detached and whose last counts nobody has taken yet.
    pub(crate) removed: BTreeMap<String, Instance>,
    /// Told before each change.
    pub(crate) progress: Progress,
    /// What programs report.
    pub(crate) ring: Ring,
}

impl Kernel {
    /// Before each change: many of them are one application, and whoever takes events waits for its end.
    fn begin_step(&mut self) {
        self.progress.step();
        self.ring.make_room();
    }

    fn instance(&self, identity: &Identity) -> Result<&Instance, OpError> {
        self.instances.get(&identity.name).ok_or_else(|| OpError::Unknown(identity.name.clone()))
    }

    /// A shared map.
    pub fn shared(&self, name: &str) -> Result<&Map, OpError> {
        self.shared.get(name).ok_or_else(|| OpError::Unknown(name.into()))
    }

    fn pattern(&self, name: &str) -> Result<MapPattern, OpError> {
        self.object.map(name).ok_or_else(|| OpError::Unknown(format!("map {name}")))
    }

    /// Where programs find their maps: the shared ones and those in `directory`.
    pub(crate) fn map_pins(&self, directory: &Path, own: &[&str]) -> HashMap<String, PathBuf> {
        let shared = shared_map::ALL.iter().map(|name| ((*name).to_owned(), self.shared_directory.join(name)));
        let own = own.iter().map(|name| ((*name).to_owned(), directory.join(name)));
        shared.chain(own).filter(|(name, _)| self.object.map(name).is_some()).collect()
    }

    /// The tables of binaries in a slot, read from the kernel.
    pub(crate) fn binaries(&self, slot: Slot) -> io::Result<BinaryTables> {
        let names = [shared_map::BINARY_STR64, shared_map::BINARY_STR256, shared_map::BINARY_LPM];
        let read = |name: &'static str| match open_inner(self.shared.get(name), &self.shared_directory, name, slot)? {
            Some(inner) => Ok((name, read_table(&inner)?)),
            None => Ok((name, Table::new())),
        };
        names.into_iter().map(read).collect()
    }

    /// Makes a slot's new inner map of `name`, filled, frozen, read back and pinned, and puts it into the slot.
    fn fill_table(
        &self,
        outer: &Map,
        directory: &Path,
        name: &'static str,
        slot: Slot,
        rows: &Table,
    ) -> Result<(), OpError> {
        let shape = self.pattern(name)?.inner.ok_or_else(|| OpError::Unknown(format!("inner map of {name}")))?;
        let entries = u32::try_from(rows.len()).unwrap_or(u32::MAX).max(1);
        let fixed = shape.kind == BPF_MAP_TYPE_ARRAY && shape.flags & BPF_F_INNER_MAP == 0;
        let shape = Shape { entries: if fixed { shape.entries } else { entries }, ..shape };
        let what = |verb: &str| format!("{verb} slot {slot:?} of {name}");
        let inner = Map::create(name, shape).map_err(OpError::io(what("making")))?;
        inner.set_all(rows.iter().map(|(k, v)| (k.as_slice(), v.as_slice()))).map_err(OpError::io(what("filling")))?;
        sys::map_freeze(inner.as_fd()).map_err(OpError::io(what("freezing")))?;
        self.read_back(&inner, rows, &what("the content of"))?;
        let pin = inner_pin(directory, name, slot);
        pins::replace_pin(&pin, |path| inner.pin(path)).map_err(OpError::io(what("pinning")))?;
        outer.set_fd(slot.index(), inner.as_fd()).map_err(OpError::io(what("installing")))?;
        let holds = outer.get(&slot.index().to_ne_bytes()).map_err(OpError::io(what("reading back")))?;
        if holds.as_deref() == Some(inner.id().to_ne_bytes().as_slice()) {
            Ok(())
        } else {
            Err(OpError::ReadBack(what("the map in")))
        }
    }

    fn read_back(&self, map: &Map, rows: &Table, what: &str) -> Result<(), OpError> {
        for (key, value) in rows {
            if map.get(key).map_err(OpError::io(format!("reading back {what}")))?.as_ref() != Some(value) {
                return Err(OpError::ReadBack(what.into()));
            }
        }
        Ok(())
    }

    fn clear_table(&self, outer: &Map, directory: &Path, name: &str, slot: Slot) -> Result<(), OpError> {
        let key = slot.index().to_ne_bytes();
        let what = || format!("emptying slot {slot:?} of {name}");
        if outer.get(&key).map_err(OpError::io(what()))?.is_some() {
            outer.delete(&key).map_err(OpError::io(what()))?;
        }
        unpin(&inner_pin(directory, name, slot)).map_err(OpError::io(what()))
    }

    /// Removes directories of pins that nothing refers to: what an earlier agent left and could not be adopted.
    pub(crate) fn remove_strays(&self) -> io::Result<()> {
        for name in self.pins.list(Kind::Hook)? {
            if !self.instances.contains_key(&name) {
                pins::remove_directory(&self.pins.directory(Kind::Hook, &name))?;
            }
        }
        for name in self.pins.list(Kind::Maps)? {
            let directory = self.pins.directory(Kind::Maps, &name);
            if directory != self.shared_directory {
                pins::remove_directory(&directory)?;
            }
        }
        Ok(())
    }

    /// Opens the pins of an instance that an earlier agent made.
    pub(crate) fn open_instance(&mut self, name: &str) -> Result<(), OpError> {
        let directory = self.pins.directory(Kind::Hook, name);
        let what = || format!("opening hook instance {name}");
        let program = sys::obj_get(&c_path(&directory.join(pins::PROGRAM)).map_err(OpError::io(what()))?)
            .map_err(OpError::io(what()))?;
        let mut maps = BTreeMap::new();
        for map in hook_map::ALL {
            maps.insert(*map, Map::open(&directory.join(map)).map_err(OpError::io(format!("{}: {map}", what())))?);
        }
        self.instances.insert(name.to_owned(), Instance { directory, program, maps, specification: None });
        Ok(())
    }
}

fn unpin(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Makes the maps `names` as the object asks for them and pins them in `directory`.
pub(crate) fn make_maps(
    object: &Object,
    directory: &Path,
    names: &[&'static str],
    entries: impl Fn(&str, u32) -> u32,
) -> Result<BTreeMap<&'static str, Map>, OpError> {
    let mut maps = BTreeMap::new();
    for name in names {
        let pattern = object.map(name).ok_or_else(|| OpError::Unknown(format!("map {name}")))?;
        let shape = Shape { entries: entries(name, pattern.shape.entries), ..pattern.shape };
        let map = match pattern.inner {
            None => Map::create(name, shape),
            Some(inner) => Map::create(name, inner).and_then(|inner| Map::create_outer(name, shape, &inner)),
        };
        let map = map.map_err(OpError::io(format!("making map {name}")))?;
        map.pin(&directory.join(name)).map_err(OpError::io(format!("pinning map {name}")))?;
        maps.insert(*name, map);
    }
    Ok(maps)
}

impl KernelOps for Kernel {
    fn load(&mut self, identity: &Identity, specification: &Specification) -> Result<(), OpError> {
        self.begin_step();
        let directory = self.pins.directory(Kind::Hook, &identity.name);
        pins::fresh_directory(&directory).map_err(OpError::io(format!("making {}", directory.display())))?;
        let loaded = self.load_into(&directory, identity, specification);
        match loaded {
            Ok(instance) => {
                self.instances.insert(identity.name.clone(), instance);
                Ok(())
            }
            Err(error) => {
                // Nothing is attached yet; what cannot be removed now is removed at the next start.
                if let Err(left) = pins::remove_directory(&directory) {
                    tracing::warn!(directory = %directory.display(), error = %left, "pins of a failed load are left");
                }
                Err(error)
            }
        }
    }

    fn fill(&mut self, identity: &Identity, slot: Slot, rows: &Arc<Rows>) -> Result<(), OpError> {
        self.begin_step();
        let instance = self.instance(identity)?;
        crate::counters::reset_rule_counts(instance, slot).map_err(OpError::io("resetting the counts of rules"))?;
        for (name, table) in &rows.tables {
            let outer = instance.map(name)?;
            if table.is_empty() {
                self.clear_table(outer, &instance.directory, name, slot)?;
            } else {
                self.fill_table(outer, &instance.directory, name, slot, table)?;
            }
        }
        Ok(())
    }

    fn flip(&mut self, identity: &Identity, head: &Head) -> Result<(), OpError> {
        self.begin_step();
        let instance = self.instance(identity)?;
        let what = |verb: &str| format!("{verb} the head of {}", identity.name);
        let shape = self.pattern(hook_map::HEAD)?.inner.ok_or_else(|| OpError::Unknown("inner map of HEAD".into()))?;
        let row = Map::create(hook_map::HEAD, shape).map_err(OpError::io(what("making")))?;
        row.set(&0_u32.to_ne_bytes(), head.as_bytes()).map_err(OpError::io(what("writing")))?;
        sys::map_freeze(row.as_fd()).map_err(OpError::io(what("freezing")))?;
        if read_head(&row).map_err(OpError::io(what("reading back")))?.as_ref() != Some(head) {
            return Err(OpError::ReadBack(what("the row of")));
        }
        let outer = instance.map(hook_map::HEAD)?;
        // Pinned beside the old one first: whenever this process dies, the head in force is one of the two pins.
        let pin = instance.directory.join(HEAD_ROW);
        let beside = instance.directory.join(format!("{HEAD_ROW}-new"));
        unpin(&beside).and_then(|()| row.pin(&beside)).map_err(OpError::io(what("pinning")))?;
        // A run finds the head that it began with by its slot as well, so that is there first. The kernel returns from each of
        // these once every run that may have seen what was there before is over.
        let elements = [head_of_slot(head.slot), HEAD_IN_FORCE];
        for element in elements {
            outer.set_fd(element, row.as_fd()).map_err(OpError::io(what("flipping")))?;
        }
        std::fs::rename(&beside, &pin).map_err(OpError::io(what("pinning")))?;
        for element in elements {
            let holds = outer.get(&element.to_ne_bytes()).map_err(OpError::io(what("reading back")))?;
            if holds.as_deref() != Some(row.id().to_ne_bytes().as_slice()) {
                return Err(OpError::ReadBack(what("the map in")));
            }
        }
        Ok(())
    }

    fn attach(&mut self, identity: &Identity) -> Result<(), OpError> {
        self.begin_step();
        let instance = self.instance(identity)?;
        let specification = instance.specification.as_ref().ok_or_else(|| OpError::Unknown(identity.name.clone()))?;
        attach::attach(&specification.attach, instance.program.as_fd(), &instance.directory)?;
        Ok(())
    }

    fn clear(&mut self, identity: &Identity, slot: Slot) -> Result<(), OpError> {
        self.begin_step();
        let instance = self.instance(identity)?;
        for name in SLOTTED {
            self.clear_table(instance.map(name)?, &instance.directory, name, slot)?;
        }
        Ok(())
    }

    fn remove(&mut self, identity: &Identity) -> Result<(), OpError> {
        // The kernel detaches a while after the last pin is gone. Until then the program finds no rules, and a next agent, if
        // this one dies here, finds no policy's.
        if let Some(head) = self.instances.get(&identity.name).and_then(|instance| instance.head().ok()).flatten()
            && let Err(error) = self.flip(identity, &Head { slot: head.slot, ..Head::EMPTY })
        {
            tracing::warn!(hook = identity.name, %error, "a hook instance that is removed decides until it is detached");
        }
        self.begin_step();
        let directory = self.pins.directory(Kind::Hook, &identity.name);
        pins::remove_directory(&directory).map_err(OpError::io(format!("removing {}", directory.display())))?;
        if let Some(instance) = self.instances.remove(&identity.name) {
            self.removed.insert(identity.name.clone(), instance);
        }
        Ok(())
    }

    fn fill_binaries(&mut self, slot: Slot, tables: &BinaryTables) -> Result<(), OpError> {
        self.begin_step();
        for (name, table) in tables {
            let outer = self.shared(name)?;
            if table.is_empty() {
                self.clear_table(outer, &self.shared_directory, name, slot)?;
            } else {
                self.fill_table(outer, &self.shared_directory, name, slot, table)?;
            }
        }
        Ok(())
    }

    fn use_binaries(&mut self, slot: Slot, generation: u64) -> Result<(), OpError> {
        self.begin_step();
        let map = self.shared(shared_map::SHARED)?;
        let key = 0_u32.to_ne_bytes();
        let what = || "writing the shared row".to_owned();
        let row = map.get(&key).map_err(OpError::io(what()))?.unwrap_or_default();
        let row = Shared::read_from_bytes(&row).unwrap_or_default();
        let row = Shared { binary_slot: slot.index(), binary_generation: generation, ..row };
        map.set(&key, row.as_bytes()).map_err(OpError::io(what()))
    }
}

/// The maps of a hook instance that have two slots.
pub(crate) const SLOTTED: [&str; 7] = [
    hook_map::NUM,
    hook_map::STR64,
    hook_map::STR256,
    hook_map::LPM_STR,
    hook_map::LPM_NET,
    hook_map::VEC,
    hook_map::RULES,
];

impl Kernel {
    fn load_into(
        &self,
        directory: &Path,
        identity: &Identity,
        specification: &Specification,
    ) -> Result<Instance, OpError> {
        let limits = specification.plan.flags & plan_flag::LIMITS != 0;
        // Windows are made room for in advance, so only where there are any.
        let entries = |name: &str, pattern| if name == hook_map::LIMITS && !limits { 1 } else { pattern };
        let maps = make_maps(&self.object, directory, hook_map::ALL, entries)?;
        let (template, target) = specification.attach.template();
        let plan = specification.numbered(identity);
        let globals = globals(&self.offsets, Some(plan.as_bytes()));
        let program = self.object.load(template, &target, &globals, &self.map_pins(directory, hook_map::ALL))?;
        let pin = c_path(&directory.join(pins::PROGRAM)).map_err(OpError::io("pinning a program"))?;
        sys::obj_pin(program.as_fd(), &pin).map_err(OpError::io("pinning a program"))?;
        Ok(Instance { directory: directory.to_owned(), program, maps, specification: Some(specification.clone()) })
    }
}
