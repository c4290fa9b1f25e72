//! Processes: who they are, what they may, and where.

use std::collections::{BTreeMap, BTreeSet};

use stockade_policy::ir::{
    BinaryFilter, Capabilities, CapabilitySet, Hook, LabelSelector, Namespace, PidFilter, Scope, Selector,
};
use stockade_policy::model::{Ancestor, Place, Process, selector_matches};

use super::super::Dice;
use super::arguments::paths;
use super::{Want, once};

/// The inode of a namespace that no filter names.
const UNNAMED: u32 = 4_000_000_000;
const UNLISTED: u32 = 5_000;
const SETS: [CapabilitySet; 3] = [CapabilitySet::Effective, CapabilitySet::Inheritable, CapabilitySet::Permitted];
const EVERY: u64 = (1 << 41) - 1;

fn hosts() -> BTreeMap<Namespace, u32> {
    Namespace::ALL.into_iter().zip(100..).collect()
}

fn ancestor(pid: u32, binary: &str) -> Ancestor {
    Ancestor { pid, own_pid: Some(pid), binary: Some(binary.to_owned()) }
}

/// A process about which there is nothing to say.
pub(super) fn plain() -> Process {
    let namespaces: BTreeMap<Namespace, u32> = Namespace::ALL.into_iter().map(|kind| (kind, UNNAMED)).collect();
    let capabilities: BTreeMap<CapabilitySet, Capabilities> = SETS.map(|set| (set, Capabilities(0))).into();
    Process {
        lineage: vec![ancestor(UNLISTED, "/q")],
        namespaces_at_exec: namespaces.clone(),
        namespaces,
        capabilities_at_exec: capabilities.clone(),
        capabilities,
        host_namespaces: hosts(),
        place: Place::Host,
    }
}

fn holds(filter: &Selector, process: &Process) -> Option<bool> {
    let hook = Hook::at(stockade_policy::ir::HookPoint::Lsm { hook: String::new() });
    selector_matches(filter, &hook, process, &[])
}

/// Places that the scopes tell apart.
pub(super) fn places(scopes: &[&Scope]) -> Vec<Place> {
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut containers: BTreeSet<(String, String)> = [("x".to_owned(), "x".to_owned())].into();
    let mut namespaces: BTreeSet<String> = ["elsewhere".to_owned()].into();
    let listed = |selector: &LabelSelector, key: &str| -> BTreeSet<String> {
        let own = selector.requirements.iter().filter(|requirement| requirement.key == key);
        own.flat_map(|requirement| requirement.values.iter().cloned()).chain(["x".to_owned()]).collect()
    };
    for scope in scopes {
        let Scope::Some { pods: Some(pods), .. } = scope else { continue };
        namespaces.extend(pods.namespace.clone());
        for requirement in &pods.pods.requirements {
            labels.entry(requirement.key.clone()).or_default().extend(listed(&pods.pods, &requirement.key));
        }
        for name in listed(&pods.containers, "name") {
            containers.extend(listed(&pods.containers, "repo").into_iter().map(|repo| (name.clone(), repo)));
        }
    }
    // What several scopes ask of containers together.
    let names: BTreeSet<String> = containers.iter().map(|(name, _)| name.clone()).collect();
    let repos: BTreeSet<String> = containers.iter().map(|(_, repo)| repo.clone()).collect();
    let mut pods: Vec<BTreeMap<String, String>> = vec![BTreeMap::new()];
    for (key, values) in &labels {
        let with = |pod: &BTreeMap<String, String>| {
            let pod = pod.clone();
            let with = move |value: &String| {
                pod.iter().map(|(k, v)| (k.clone(), v.clone())).chain([(key.clone(), value.clone())]).collect()
            };
            values.iter().map(with).collect::<Vec<_>>()
        };
        let more: Vec<BTreeMap<String, String>> = pods.iter().flat_map(with).collect();
        pods.extend(more);
    }
    let mut places = vec![Place::Host];
    for namespace in namespaces.iter().rev() {
        for labels in &pods {
            for name in &names {
                for repo in &repos {
                    let container = Some((name.clone(), repo.clone()));
                    places.push(Place::Pod { namespace: namespace.clone(), labels: labels.clone(), container });
                }
            }
        }
    }
    places
}

/// Gives the process namespaces and capabilities about which all wishes come true.
pub(super) fn credentials(process: &mut Process, wanted: &[Want]) -> Option<()> {
    let about = |is: fn(&Selector) -> bool| wanted.iter().filter(move |(filter, _)| is(filter)).collect::<Vec<_>>();
    let namespaces = about(|filter| !filter.namespaces.is_empty());
    let changes = about(|filter| !filter.namespace_changes.is_empty());
    let capabilities = about(|filter| !filter.capabilities.is_empty() || !filter.capability_changes.is_empty());
    let come_true = |wanted: &[&Want], process: &Process| {
        wanted.iter().all(|(filter, truth)| holds(filter, process) == Some(*truth))
    };
    for kind in Namespace::ALL.into_iter().filter(|kind| *kind != Namespace::User) {
        let own: Vec<&Want> =
            namespaces.iter().filter(|(filter, _)| filter.namespaces[0].namespace == kind).copied().collect();
        let found = inodes(kind, &own).into_iter().find(|inode| {
            process.namespaces.insert(kind, *inode);
            come_true(&own, process)
        })?;
        process.namespaces.insert(kind, found);
    }
    let own: Vec<&Want> =
        namespaces.iter().filter(|(filter, _)| filter.namespaces[0].namespace == Namespace::User).copied().collect();
    inodes(Namespace::User, &own).into_iter().find(|inode| {
        process.namespaces.insert(Namespace::User, *inode);
        come_true(&own, process) && with_capabilities(process, &capabilities) && come_true(&capabilities, process)
    })?;
    process.namespaces_at_exec = process.namespaces.clone();
    if !changes.is_empty() {
        // The more have changed, the better, but for what must not.
        let excluded: BTreeSet<Namespace> = changes
            .iter()
            .flat_map(|(filter, _)| &filter.namespace_changes)
            .filter(|filter| filter.negated)
            .flat_map(|filter| filter.namespaces.iter().copied())
            .collect();
        for (kind, inode) in &mut process.namespaces_at_exec {
            *inode += u32::from(!excluded.contains(kind));
        }
    }
    come_true(&changes, process).then_some(())
}

fn inodes(kind: Namespace, wanted: &[&Want]) -> Vec<u32> {
    let host = hosts()[&kind];
    let listed =
        wanted.iter().flat_map(|(filter, _)| &filter.namespaces).flat_map(|filter| filter.inodes.iter().copied());
    once([UNNAMED, host].into_iter().chain(listed))
}

/// The more a process has, and the more of it has changed, the better, but for what it must not; or it has nothing.
fn with_capabilities(process: &mut Process, wanted: &[&Want]) -> bool {
    for set in SETS {
        let (mut not_had, mut not_changed, mut asked, mut asked_changes) = (0, 0, false, false);
        for (filter, truth) in wanted {
            for filter in filter.capabilities.iter().filter(|filter| filter.set == set) {
                asked = true;
                not_had |= if filter.negated == *truth { filter.capabilities.0 } else { 0 };
            }
            for filter in filter.capability_changes.iter().filter(|filter| filter.set == set) {
                asked_changes = true;
                not_changed |= if filter.negated == *truth { filter.capabilities.0 } else { 0 };
            }
        }
        let now = if asked { EVERY & !not_had } else { 0 };
        let changed = if asked_changes { EVERY & !not_changed } else { 0 };
        process.capabilities.insert(set, Capabilities(now));
        process.capabilities_at_exec.insert(set, Capabilities(now ^ changed));
    }
    true
}

/// A filter on executables: itself, and whether it is about the parent.
type Executable<'w> = (&'w BinaryFilter, bool);

/// A process and its ancestors about whom all wishes come true. None of them is about several of both at once, so that the
/// executables and the pids are looked for by themselves.
pub(super) fn lineage(wanted: &[Want]) -> Option<Vec<Ancestor>> {
    let binaries: Vec<Executable<'_>> = wanted
        .iter()
        .flat_map(|(filter, _)| {
            let own = filter.binaries.iter().map(|one| (one, false));
            own.chain(filter.parent_binaries.iter().map(|one| (one, true)))
        })
        .collect();
    let mut lineage = executables(&binaries)?;
    for namespace_pid in [false, true] {
        let filters: Vec<&PidFilter> = wanted
            .iter()
            .flat_map(|(filter, _)| &filter.pids)
            .filter(|one| one.namespace_pid == namespace_pid)
            .collect();
        let pids = pids(&filters)?;
        while lineage.len() < pids.len() {
            let neutral = neutral(&binaries)?;
            lineage.push(ancestor(UNLISTED, &neutral));
        }
        for (ancestor, pid) in lineage.iter_mut().zip(pids) {
            if namespace_pid {
                ancestor.own_pid = Some(pid);
            } else {
                ancestor.pid = pid;
            }
        }
    }
    Some(lineage)
}

fn pids(filters: &[&PidFilter]) -> Option<Vec<u32>> {
    let listed = filters.iter().flat_map(|filter| filter.pids.iter().copied());
    let pool = once([UNLISTED].into_iter().chain(listed));
    let is = |filter: &PidFilter, pid: u32| filter.pids.contains(&pid) != filter.negated;
    let alone = |pid: &u32| filters.iter().filter(|one| one.negated || !one.follow_forks).all(|one| is(one, *pid));
    let above = |pid: &u32| filters.iter().filter(|one| one.negated && one.follow_forks).all(|one| is(one, *pid));
    let mut own: Vec<u32> = pool.iter().copied().filter(alone).collect();
    let mut ancestors = Vec::new();
    for demanded in filters.iter().filter(|one| !one.negated && one.follow_forks) {
        match pool.iter().find(|pid| is(demanded, **pid) && above(pid)) {
            Some(pid) => ancestors.push(*pid),
            None => own.retain(|pid| is(demanded, *pid)),
        }
    }
    Some([*own.first()?].into_iter().chain(ancestors).collect())
}

fn is(filter: &BinaryFilter, path: &str) -> bool {
    let part = Selector { binaries: vec![filter.clone()], ..Selector::default() };
    holds(&part, &Process { lineage: vec![ancestor(1, path)], ..Process::default() }) == Some(true)
}

/// What excludes whoever has it above: of the process's own, of the parent's.
fn excludes(filters: &[Executable<'_>], path: &str) -> bool {
    filters.iter().filter(|(one, _)| one.negated && one.follow_children).any(|(one, _)| !is(one, path))
}

fn candidates(filters: &[Executable<'_>]) -> Vec<String> {
    paths(&filters.iter().map(|(one, _)| (one.compare, &one.values)).collect::<Vec<_>>())
}

/// An executable about which nobody asks.
fn neutral(filters: &[Executable<'_>]) -> Option<String> {
    candidates(filters).into_iter().find(|path| !excludes(filters, path))
}

fn executables(filters: &[Executable<'_>]) -> Option<Vec<Ancestor>> {
    let pool = candidates(filters);
    let alone = |parent: bool, path: &str| {
        filters
            .iter()
            .filter(|(one, of_parent)| *of_parent == parent && (one.negated || !one.follow_children))
            .all(|(one, _)| is(one, path))
    };
    let mut own: Vec<&String> = pool.iter().filter(|path| alone(false, path)).collect();
    let mut parents: Vec<&String> = pool.iter().filter(|path| alone(true, path) && !excludes(filters, path)).collect();
    let mut above: Vec<&String> = Vec::new();
    let mut needs_parent = filters.iter().any(|(one, of_parent)| *of_parent && !one.negated);
    for (demanded, of_parent) in filters.iter().filter(|(one, _)| !one.negated && one.follow_children) {
        let found = pool.iter().find(|path| is(demanded, path) && !excludes(filters, path));
        match found {
            // Where it can be the process itself, it need not have a parent.
            None if *of_parent => parents.retain(|path| is(demanded, path)),
            None => own.retain(|path| is(demanded, path)),
            Some(path) => {
                above.push(path);
                needs_parent = true;
            }
        }
    }
    let own = ancestor(UNLISTED, own.first()?);
    if !needs_parent {
        return Some(vec![own]);
    }
    let rest = std::iter::once(parents.first()?).chain(&above).map(|path| ancestor(UNLISTED, path));
    Some(std::iter::once(own).chain(rest).collect())
}

/// What filters name of processes.
pub(super) struct Known {
    pids: Vec<u32>,
    binaries: Vec<String>,
    inodes: Vec<u32>,
    bits: Vec<u64>,
}

impl Known {
    pub(super) fn of(filters: &[Selector]) -> Self {
        let pids = filters.iter().flat_map(|filter| &filter.pids).flat_map(|one| one.pids.iter().copied());
        let binaries: Vec<Executable<'_>> = filters
            .iter()
            .flat_map(|filter| filter.binaries.iter().chain(&filter.parent_binaries))
            .map(|one| (one, false))
            .collect();
        let inodes = filters.iter().flat_map(|filter| &filter.namespaces).flat_map(|one| one.inodes.iter().copied());
        let sets = filters.iter().flat_map(|filter| {
            let own = filter.capabilities.iter().map(|one| one.capabilities.0);
            own.chain(filter.capability_changes.iter().map(|one| one.capabilities.0))
        });
        let bits = sets.flat_map(|set| (0..41).map(|bit| 1 << bit).filter(move |bit| set & bit != 0));
        Self {
            pids: once([UNLISTED].into_iter().chain(pids)),
            binaries: candidates(&binaries),
            inodes: once([UNNAMED, 0].into_iter().chain(inodes)),
            bits: once([0, 1 << 3].into_iter().chain(bits)),
        }
    }

    pub(super) fn process(&self, dice: &mut Dice, readable: bool) -> Process {
        let unread = |dice: &mut Dice| !readable && dice.one_in(8);
        let mut process = plain();
        process.lineage.clear();
        for _ in 0..1 + dice.roll(4) {
            let binary = Some(dice.pick(&self.binaries).clone()).filter(|_| !unread(dice));
            let own_pid = Some(*dice.pick(&self.pids)).filter(|_| !unread(dice));
            process.lineage.push(Ancestor { pid: *dice.pick(&self.pids), own_pid, binary });
        }
        for kind in Namespace::ALL {
            // 0 stands for the host's own.
            let mut inode = || Some(*dice.pick(&self.inodes)).filter(|inode| *inode != 0).unwrap_or(hosts()[&kind]);
            let (now, before) = (inode(), inode());
            process.namespaces.insert(kind, now);
            process.namespaces_at_exec.insert(kind, if dice.one_in(2) { before } else { now });
            if unread(dice) {
                process.namespaces.remove(&kind);
            }
        }
        for set in SETS {
            let mut some = || Capabilities((0..dice.roll(4)).fold(0, |all, _| all | dice.pick(&self.bits)));
            let (now, before) = (some(), some());
            process.capabilities.insert(set, now);
            process.capabilities_at_exec.insert(set, if dice.one_in(2) { before } else { now });
            if unread(dice) {
                process.capabilities.remove(&set);
            }
        }
        process
    }
}
