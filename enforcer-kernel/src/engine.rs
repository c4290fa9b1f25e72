//! The engine: what the agent asks, in one place.

mod liveness;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;

use stockade_enforcer_common::head::RuleCounts;
use stockade_policy::NodeFacts;
use stockade_policy::ir::{Namespace, PolicyId, Scope, ValidatedPolicy};

use crate::cgroups;
use crate::compile::{Marks, Standing};
use crate::counters::{self, CountedRule, Counters};
use crate::event::{DecodeError, Event};
use crate::execute::{self, Failure, Installed, State};
use crate::instance::{Attach, Identity};
use crate::kernel::{Instance, Kernel, SLOTTED};
use crate::legend::{Memory, Rule};
use crate::older;
use crate::ops::{OpError, Slot};
use crate::place::Node;
use crate::planning::{self, Planned, Site};
use crate::probe::Prober;
use crate::report::{ApplyReport, HookReport, PolicyReport, Reason, Trouble};
use crate::rows::Rows;
use crate::scope::{Classes, ScopeSnapshot, member};
use crate::start::{self, Found, Options, StartError, Started, shared_row};

/// The engine of a node. Only one exists at a time.
#[derive(Debug)]
pub struct Engine {
    started: Started,
    options: Options,
    facts: NodeFacts,
    host_namespaces: BTreeMap<Namespace, u32>,
    memory: Memory,
    state: State,
    /// The policies that are in force, as they were applied.
    in_force: BTreeMap<PolicyId, ValidatedPolicy>,
    /// By place: who has a hook there.
    users: BTreeMap<Attach, BTreeSet<PolicyId>>,
    /// Where each instance is, for those that this process has applied.
    attaches: BTreeMap<String, Attach>,
    /// Hook instances that the last probe found not to work, and how.
    broken: BTreeMap<String, String>,
    /// What rules of ended generations have counted in the end.
    ended: Vec<CountedRule>,
    prober: Prober,
    /// Events that were taken from the ring while a probe's was looked for.
    pending: VecDeque<Result<Event, DecodeError>>,
    /// The policies whose rules an earlier agent left in force, with their generations, until this one has put something in
    /// their place: their documents are not known here, so nothing could be fallen back to.
    adopted: BTreeMap<PolicyId, i64>,
}

/// What this node's kernel has and can do; the node's name and labels are for the caller to fill in. Asks without an engine,
/// so that a node on which none can start still says why.
#[must_use]
pub fn facts() -> NodeFacts {
    crate::facts::facts(crate::btf::KernelBtf::read().ok().as_ref())
}

impl Engine {
    /// Starts, or says by name why it cannot. What an earlier agent left attached keeps enforcing throughout.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let started = start::start(&options)?;
        let mut memory = Memory::read(&options.state_dir);
        let state = adopted_state(&started.kernel)?;
        if memory.generation < state.generation {
            // Written before each generation is in force: this is another's, or none, and its numbers mean nothing here.
            tracing::warn!("the engine's memory is lost or older than what is in force: events of that have no names");
            memory.classes = Classes::default();
        }
        memory.generation = memory.generation.max(state.generation);
        memory.classes.know(&cgroups::read(&started.kernel)?);
        memory.know_marks(crate::marks::in_use(&started.kernel)?);
        let facts = crate::facts::facts(Some(&started.btf));
        let adopted = older::adopted(&state, &memory);
        Ok(Self {
            started,
            options,
            facts,
            host_namespaces: host_namespaces(),
            memory,
            state,
            in_force: BTreeMap::new(),
            users: BTreeMap::new(),
            attaches: BTreeMap::new(),
            broken: BTreeMap::new(),
            ended: Vec::new(),
            prober: Prober::default(),
            pending: VecDeque::new(),
            adopted,
        })
    }

    /// What was found at the start.
    #[must_use]
    pub fn found(&self) -> Found {
        self.started.found
    }

    /// What this node's kernel has and can do.
    #[must_use]
    pub fn facts(&self) -> &NodeFacts {
        &self.facts
    }

    /// Makes exactly `policies` true for who is on the node. A policy that fails keeps the version that is in force, and
    /// the report says so; the others are not held up by it.
    pub fn apply(&mut self, policies: &[ValidatedPolicy], snapshot: &ScopeSnapshot) -> ApplyReport {
        // While this thread is preempted in the middle of a map write, probes on that CPU miss their events: ours and those
        // of the host's other tools.
        let hurried = crate::sys::set_thread_nice(-20);
        let report = self.apply_now(policies, snapshot);
        if hurried {
            crate::sys::set_thread_nice(0);
        }
        report
    }

    fn apply_now(&mut self, policies: &[ValidatedPolicy], snapshot: &ScopeSnapshot) -> ApplyReport {
        let mut wanted: BTreeMap<PolicyId, &ValidatedPolicy> =
            policies.iter().map(|policy| (policy.id.clone(), policy)).collect();
        let old = std::mem::take(&mut self.in_force);
        let mut failed: BTreeMap<PolicyId, Trouble> = BTreeMap::new();
        let mut hooks: BTreeMap<PolicyId, Vec<HookReport>> = BTreeMap::new();
        let mut report = ApplyReport::default();
        let also = self.tell_scopes_apart(&wanted, &old, snapshot, &mut report);
        loop {
            let list: Vec<&ValidatedPolicy> = wanted.values().copied().collect();
            let planned = self.plan(&list, snapshot, &also, &old);
            // What this node cannot do must not take out of force what it does.
            let impossible = older::refused(&planned.reports, &wanted, &old);
            let back = older::take_older(&mut wanted, &old, &impossible, &mut failed);
            if !back.is_empty() {
                hooks.extend(
                    back.into_iter().filter_map(|id| Some((id.clone(), planned.reports.get(&id)?.hooks.clone()))),
                );
                continue;
            }
            match execute::prepare(&mut self.started.kernel, &self.state, planned.desired.clone()) {
                Ok(prepared) => {
                    report.policies.clone_from(&planned.reports);
                    self.in_force = planned_policies(&planned, &list);
                    self.adopted.clear();
                    self.commit(planned, prepared, &mut report);
                    break;
                }
                Err(failures) => {
                    let troubles = blame(&failures, &planned);
                    let irreplaceable = troubles.keys().any(|id| self.adopted.contains_key(id));
                    if irreplaceable || !older::fall_back(&mut wanted, &old, &troubles, &mut failed) {
                        report.policies = unchanged(policies, &planned, &old, &failures);
                        older::say_adopted(&mut report.policies, &self.adopted);
                        report.trouble.extend(failures.iter().map(|failure| failure.error.to_string()));
                        self.in_force = old;
                        break;
                    }
                }
            }
        }
        for (id, trouble) in failed {
            let Some(policy) = policies.iter().find(|policy| policy.id == id) else { continue };
            let in_force = self.in_force.get(&id).map(|policy| policy.generation);
            let new_hooks = hooks.remove(&id);
            let entry = report.policies.entry(id).or_insert_with(|| nothing(policy));
            entry.generation_in_force = in_force;
            entry.digest = stockade_policy::digest(policy);
            entry.trouble = Some(trouble);
            if let Some(hooks) = new_hooks {
                entry.hooks = hooks;
            }
        }
        report
    }

    /// Takes in who is on the node. Pods whose set of policies is one that others have already cost map writes only.
    pub fn set_scope(&mut self, snapshot: &ScopeSnapshot) -> ApplyReport {
        let policies: Vec<ValidatedPolicy> = self.in_force.values().cloned().collect();
        self.apply(&policies, snapshot)
    }

    /// Where a policy's scope changes, cgroups first get classes that know both scopes, under the rules in force: so the flip
    /// alone changes who is meant, together with what is said of them. Returns the members to tell apart.
    fn tell_scopes_apart(
        &mut self,
        wanted: &BTreeMap<PolicyId, &ValidatedPolicy>,
        old: &BTreeMap<PolicyId, ValidatedPolicy>,
        snapshot: &ScopeSnapshot,
        report: &mut ApplyReport,
    ) -> Vec<(String, Scope)> {
        let changed = old.iter().filter_map(|(id, old)| {
            let scope = &wanted.get(id)?.scope;
            (*scope != old.scope).then(|| [&old.scope, scope].map(|scope| (member(id, scope), scope.clone())))
        });
        let both: Vec<(String, Scope)> = changed.flatten().collect();
        if both.is_empty() {
            return both;
        }
        let list: Vec<&ValidatedPolicy> = old.values().collect();
        let planned = self.plan(&list, snapshot, &both, old);
        match execute::prepare(&mut self.started.kernel, &self.state, planned.desired.clone()) {
            Ok(prepared) => {
                let mut step = ApplyReport::default();
                self.commit(planned, prepared, &mut step);
                report.trouble.extend(step.trouble);
            }
            Err(failures) => report.trouble.extend(failures.iter().map(|failure| failure.error.to_string())),
        }
        both
    }

    fn plan(
        &mut self,
        policies: &[&ValidatedPolicy],
        snapshot: &ScopeSnapshot,
        also: &[(String, Scope)],
        old: &BTreeMap<PolicyId, ValidatedPolicy>,
    ) -> Planned {
        let standing = |policy: &ValidatedPolicy| match (old.get(&policy.id), self.adopted.get(&policy.id)) {
            (Some(older), _) if older == policy => Standing::InForce,
            (None, Some(generation)) if *generation == policy.generation => Standing::InForce,
            (None, None) => Standing::New,
            _ => Standing::Changed,
        };
        let site = Site {
            standing: policies.iter().map(|policy| (policy.id.clone(), standing(policy))).collect(),
            node: Node { facts: &self.facts, btf: &self.started.btf },
            base_digest: &self.started.kernel.base_digest,
            host_namespaces: &self.host_namespaces,
            also,
        };
        planning::plan(policies, snapshot, &site, &mut self.memory)
    }

    fn commit(&mut self, planned: Planned, prepared: execute::Prepared, report: &mut ApplyReport) {
        let Planned { desired: _, legends, assignment, mark_rows, marks, reports: _, users } = planned;
        // The legend of the new generation is on disk before its first event can be.
        for (name, mut legend) in legends {
            let unchanged = prepared.keeps_rows(&name).then(|| self.state.hooks.get(&name)).flatten();
            legend.generation = unchanged.map_or(prepared.generation(), |installed| installed.head.generation);
            self.memory.add(&name, legend);
        }
        self.memory.generation = self.memory.generation.max(prepared.generation());
        let note = |report: &mut ApplyReport, result: Result<(), String>| report.trouble.extend(result.err());
        note(
            report,
            self.memory.write(&self.options.state_dir).map_err(|error| format!("writing the memory: {error}")),
        );
        // Before anything asks for them, and before the first event that is judged by them.
        let marked = crate::marks::add_rows(&self.started.kernel, &mark_rows)
            .and_then(|()| crate::marks::mark_running(&self.started.kernel, &marks));
        note(report, marked.map_err(|error| error.to_string()));
        self.attaches.extend(prepared.attaches());
        let before = self.state.hooks.clone();
        let committed = execute::commit(&mut self.started.kernel, &mut self.state, prepared);
        note(report, self.take_last_counts(&before).map_err(|error| format!("reading the last counts: {error}")));
        for Failure { hook, error } in &committed.failures {
            let attach = hook.as_ref().map(|specification| &specification.attach);
            let of: BTreeSet<PolicyId> = match attach {
                Some(attach) => users.get(attach).cloned().unwrap_or_default(),
                None => users.values().flatten().cloned().collect(),
            };
            for id in of {
                if let Some(entry) = report.policies.get_mut(&id) {
                    entry.trouble = Some(trouble(error));
                    entry.generation_in_force = None;
                }
            }
        }
        self.users = users;
        self.attaches.retain(|name, _| self.state.hooks.contains_key(name));
        if committed.failures.is_empty() {
            let removed = self.started.kernel.remove_strays();
            note(report, removed.map_err(|error| format!("removing what nothing refers to: {error}")));
            let settled = crate::marks::settle_rows(&self.started.kernel, &mark_rows);
            note(report, settled.and_then(|()| self.free_marks(&marks)).map_err(|error| error.to_string()));
        }
        // Classes have their rows now, so cgroups may refer to them.
        match cgroups::write(&self.started.kernel, &assignment.cgroups) {
            Ok(_) => self.memory.classes.retain(&assignment.cgroups.values().copied().collect()),
            // Some may still refer to others, whose numbers stay theirs.
            Err(error) => report.trouble.push(error.to_string()),
        }
    }

    /// Once nothing in force knows a mark any more, processes lose it, and its slot is free for another.
    fn free_marks(&mut self, marks: &Marks) -> Result<(), OpError> {
        let used: BTreeSet<u32> = marks.values().copied().collect();
        let mut gone = [0; 2];
        for slot in self.memory.marks.values().filter(|slot| !used.contains(slot)) {
            if let Some(word) = gone.get_mut(*slot as usize / 64) {
                *word |= 1 << (slot % 64);
            }
        }
        if gone == [0; 2] || !crate::marks::clear(&self.started.kernel, gone)? {
            return Ok(());
        }
        self.memory.marks.retain(|_, slot| used.contains(slot));
        self.memory.write(&self.options.state_dir).map_err(OpError::io("writing the memory"))
    }

    /// Becomes readable when there are events.
    #[must_use]
    pub fn events_fd(&self) -> RawFd {
        self.started.kernel.ring.fd()
    }

    /// Takes at most `limit` events that are there now. A record that cannot be decoded is an error in its place.
    pub fn poll_events(&mut self, limit: usize) -> Vec<Result<Event, DecodeError>> {
        let Self { started, memory, prober, pending, .. } = self;
        let ring = &mut started.kernel.ring;
        let mut events: Vec<_> = pending.drain(..limit.min(pending.len())).collect();
        let rest = std::iter::from_fn(|| ring.next(memory)).take(limit - events.len());
        events.extend(rest.filter_map(|event| prober.take(event)));
        events
    }

    /// What the programs have counted. Generations that have ended since the last time come first, with what they had
    /// counted in the end; each is told once.
    pub fn counters(&mut self) -> std::io::Result<Counters> {
        let mut counted = self.started.kernel.counted()?;
        let mut rules = Vec::new();
        for (name, installed) in &self.state.hooks {
            let Some(instance) = self.started.kernel.instances.get(name) else { continue };
            rules.extend(self.rules_counted(installed, instance)?);
        }
        counted.rules = std::mem::take(&mut self.ended);
        counted.rules.extend(rules);
        Ok(counted)
    }

    /// The rules of the slot that `installed` names.
    fn rules_counted(&self, installed: &Installed, instance: &Instance) -> std::io::Result<Vec<CountedRule>> {
        let Installed { identity, head, digest: _ } = installed;
        let Some(legend) = self.memory.legend(identity.number, head.generation) else { return Ok(Vec::new()) };
        let counted = |(number, rule): (&u32, &Rule)| {
            let counts = counters::rule_counts(instance, Slot::from_index(head.slot), *number)?;
            Ok(CountedRule { rule: rule.clone(), generation: legend.generation, counts })
        };
        legend.rules.iter().map(counted).collect()
    }

    /// Keeps what generations that have just ended have counted: nothing counts for them any more.
    fn take_last_counts(&mut self, before: &BTreeMap<String, Installed>) -> std::io::Result<()> {
        let removed = std::mem::take(&mut self.started.kernel.removed);
        for (name, old) in before {
            let now = self.state.hooks.get(name);
            if now.is_some_and(|now| now.head.slot == old.head.slot) {
                continue;
            }
            if let Some(instance) = self.started.kernel.instances.get(name).or_else(|| removed.get(name)) {
                let counted = self.rules_counted(old, instance)?;
                self.ended.extend(counted.into_iter().filter(|counted| counted.counts != RuleCounts::default()));
            }
        }
        Ok(())
    }

    /// Reads back everything that is claimed: links and their programs, heads, rows.
    pub fn verify(&self) -> Verification {
        let mut verification = Verification::default();
        for (name, installed) in &self.state.hooks {
            self.options.progress.step();
            if let Some(wrong) = self.read_back(name, installed) {
                let users = self.attaches.get(name).and_then(|attach| self.users.get(attach));
                let policies = users.cloned().unwrap_or_default();
                verification.tampered.push(Tampered { hook: name.clone(), what: wrong, policies });
            }
        }
        verification.base = start::check_base(&self.started.kernel).err();
        verification
    }

    /// Forgets what [`Self::verify`] finds to be changed or the last [`Self::probe`] found not to work, so that the next
    /// [`Self::apply`] makes it anew.
    pub fn repair(&mut self) {
        let tampered = self.verify().tampered.into_iter().map(|Tampered { hook, what, policies: _ }| (hook, what));
        for (hook, what) in std::mem::take(&mut self.broken).into_iter().chain(tampered) {
            if self.state.hooks.remove(&hook).is_some() {
                tracing::warn!(hook, what, "a hook instance is made anew");
            }
        }
    }

    /// Detaches and unpins everything, and forgets.
    pub fn detach_all(self) -> std::io::Result<()> {
        let Self { started, options, prober, .. } = self;
        drop(prober);
        let Started { kernel, btf: _, found: _, lock } = started;
        let result = kernel.pins.remove_all();
        drop(lock);
        match std::fs::remove_file(options.state_dir.join("engine.json")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => result.and(Err(error)),
            _ => result,
        }
    }
}

/// What reading back found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verification {
    /// Hook instances that are not what they are claimed to be.
    pub tampered: Vec<Tampered>,
    /// What is wrong with process tracking or shared maps.
    pub base: Option<String>,
}

/// A hook instance that somebody has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tampered {
    /// Which.
    pub hook: String,
    /// What is not as it was put.
    pub what: String,
    /// Whose rules are there.
    pub policies: BTreeSet<PolicyId>,
}

/// What is installed, read from the pins of an earlier agent.
fn adopted_state(kernel: &Kernel) -> Result<State, OpError> {
    let row = shared_row(kernel)?;
    let mut state = State::default();
    for (name, instance) in &kernel.instances {
        let head = instance.head().map_err(OpError::io(format!("reading the head of {name}")))?;
        let Some(head) = head else { continue };
        let identity = Identity { name: name.clone(), number: crate::instance::number_of(name) };
        let rows = instance.rows(head).map_err(OpError::io(format!("reading the rows of {name}")))?;
        state.generation = state.generation.max(head.generation);
        state.hooks.insert(name.clone(), Installed { identity, head, digest: rows.digest() });
    }
    if row.binary_generation != 0 {
        let slot = Slot::from_index(row.binary_slot);
        state.binary_slot = Some(slot);
        state.binary_generation = row.binary_generation;
        state.binaries = kernel.binaries(slot).map_err(OpError::io("reading the tables of binaries"))?;
    }
    Ok(state)
}

impl Instance {
    /// The rows of the slot that `head` names, read from the kernel.
    pub fn rows(&self, head: stockade_enforcer_common::head::Head) -> std::io::Result<Rows> {
        let slot = Slot::from_index(head.slot);
        let tables = SLOTTED.iter().map(|name| Ok((*name, self.table(name, slot)?))).collect::<std::io::Result<_>>()?;
        Ok(Rows { head, tables })
    }

    /// What is not as `installed` claims.
    fn check(&self, installed: &Installed) -> Option<String> {
        use std::os::fd::AsFd;
        let check = || -> std::io::Result<Option<String>> {
            let program = crate::sys::prog_info(self.program.as_fd())?;
            match crate::attach::attached(&self.directory)? {
                None => return Ok(Some("its link is gone".into())),
                Some(crate::attach::Attached::Link(link)) if link.program != program.id => {
                    return Ok(Some("its link runs another program".into()));
                }
                Some(_) => {}
            }
            let head = self.head()?;
            if head.as_ref() != Some(&installed.head) {
                return Ok(Some("its head is not the one that was put into force".into()));
            }
            let rows = self.rows(installed.head)?;
            Ok((rows.digest() != installed.digest).then(|| "its rows are not those that were written".into()))
        };
        check().unwrap_or_else(|error| Some(format!("it cannot be read back: {error}")))
    }
}

/// Which policies are to blame for failures.
fn blame(failures: &[Failure], planned: &Planned) -> BTreeMap<PolicyId, Trouble> {
    let mut troubles = BTreeMap::new();
    for Failure { hook, error } in failures {
        let users = hook.as_ref().and_then(|specification| planned.users.get(&specification.attach));
        for id in users.into_iter().flatten() {
            troubles.entry(id.clone()).or_insert_with(|| trouble(error));
        }
    }
    troubles
}

/// The policies that are in force once a plan is.
fn planned_policies(planned: &Planned, policies: &[&ValidatedPolicy]) -> BTreeMap<PolicyId, ValidatedPolicy> {
    let in_force = |id: &PolicyId| planned.reports.get(id).is_some_and(|report| report.generation_in_force.is_some());
    policies.iter().filter(|policy| in_force(&policy.id)).map(|policy| (policy.id.clone(), (*policy).clone())).collect()
}

/// Reports when nothing could be changed.
fn unchanged(
    policies: &[ValidatedPolicy],
    planned: &Planned,
    old: &BTreeMap<PolicyId, ValidatedPolicy>,
    failures: &[Failure],
) -> BTreeMap<PolicyId, PolicyReport> {
    let why = failures.first().map(|failure| trouble(&failure.error));
    let report = |policy: &ValidatedPolicy| {
        let planned = planned.reports.get(&policy.id).cloned().unwrap_or_else(|| nothing(policy));
        let generation_in_force = old.get(&policy.id).map(|policy| policy.generation);
        let is_old = old.get(&policy.id) == Some(policy);
        let trouble = if is_old {
            planned.trouble.clone().filter(|trouble| trouble.reason == Reason::TooWeak)
        } else {
            planned.trouble.clone().or_else(|| why.clone())
        };
        (policy.id.clone(), PolicyReport { generation_in_force, trouble, ..planned })
    };
    policies.iter().map(report).collect()
}

fn nothing(policy: &ValidatedPolicy) -> PolicyReport {
    PolicyReport {
        generation_in_force: None,
        digest: stockade_policy::digest(policy),
        strength: None,
        trouble: None,
        hooks: Vec::new(),
    }
}

fn trouble(error: &OpError) -> Trouble {
    let reason = match error {
        OpError::Load(_) => Reason::LoadFailed,
        OpError::Attach(crate::attach::AttachError::TrampolineFull(_)) => Reason::TrampolineFull,
        OpError::Attach(crate::attach::AttachError::NoTarget(_)) => Reason::HookUnavailable,
        OpError::Attach(_) => Reason::AttachFailed,
        OpError::Io { .. } | OpError::Unknown(_) => Reason::MapFailed,
        OpError::ReadBack(_) => Reason::ReadBackFailed,
    };
    Trouble { reason, message: error.to_string() }
}

/// The inode numbers of pid 1's namespaces, as far as this process may look at them.
fn host_namespaces() -> BTreeMap<Namespace, u32> {
    let kinds = [
        (Namespace::Uts, "uts"),
        (Namespace::Ipc, "ipc"),
        (Namespace::Mnt, "mnt"),
        (Namespace::Pid, "pid"),
        (Namespace::PidForChildren, "pid_for_children"),
        (Namespace::Net, "net"),
        (Namespace::Time, "time"),
        (Namespace::TimeForChildren, "time_for_children"),
        (Namespace::Cgroup, "cgroup"),
        (Namespace::User, "user"),
    ];
    let inode = |name: &str| std::fs::metadata(format!("/proc/1/ns/{name}")).ok();
    kinds.into_iter().filter_map(|(kind, name)| Some((kind, u32::try_from(inode(name)?.ino()).ok()?))).collect()
}
