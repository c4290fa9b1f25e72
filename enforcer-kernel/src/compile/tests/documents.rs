//! The same over documents: whatever of the language this engine runs, as it is judged, is decided by the compiled rows as by
//! the model, about events that hit what the documents say.

#[path = "../../../../policy/tests/generated/mod.rs"]
mod generated;

use generated::{Dice, Event as Happens, Pools, Reach, document, each};
use stockade_enforcer_common::dimension;
use stockade_enforcer_common::process::{Inherited, MarkRow};
use stockade_policy::ir::{Capabilities, CapabilitySet, Class, Hook, Namespace};
use stockade_policy::judge;
use stockade_policy::model::{self, Ancestor, Argument, Place};

use super::*;
use crate::compile::marks_of;
use crate::scope::{Classes, Container, Pod, ScopeSnapshot, assign};

/// The namespaces in the order of the kernel's side.
const NAMESPACES: [Namespace; 10] = Namespace::ALL;

/// The event as the kernel's program sees it.
struct Sees<'a> {
    happens: &'a Happens,
    /// The hook's argument at each position of the plan.
    positions: Vec<Option<usize>>,
    kinds: [u32; 5],
    sockets: Vec<SocketData>,
    class: u32,
    inherited: Inherited,
    ids: Option<BinaryIds>,
}

impl<'a> Sees<'a> {
    fn argument(&self, arg: u32) -> (usize, &'a Argument) {
        let at = self.positions[arg as usize].unwrap();
        (at, &self.happens.arguments[at])
    }

    fn own(&self) -> &'a Ancestor {
        &self.happens.process.lineage[0]
    }
}

impl<'a> Event for Sees<'a> {
    type Text = &'a str;

    fn kind(&self, arg: u32) -> u32 {
        self.kinds[arg as usize]
    }
    fn class(&self) -> u32 {
        self.class
    }
    fn inherited(&mut self) -> Result<Inherited, Unreadable> {
        Ok(self.inherited)
    }
    fn binary(&mut self, _: u64, _: u32) -> Result<BinaryIds, Unreadable> {
        self.ids.ok_or(Unreadable)
    }
    fn pid(&mut self) -> u32 {
        self.own().pid
    }
    fn own_pid(&mut self) -> Result<u32, Unreadable> {
        self.own().own_pid.ok_or(Unreadable)
    }
    fn namespace(&mut self, kind: u32) -> Result<u32, Unreadable> {
        self.happens.process.namespaces.get(&NAMESPACES[kind as usize]).copied().ok_or(Unreadable)
    }
    fn capabilities(&mut self, set: u32) -> Result<u64, Unreadable> {
        let set = [CapabilitySet::Effective, CapabilitySet::Inheritable, CapabilitySet::Permitted][set as usize];
        self.happens.process.capabilities.get(&set).map(|Capabilities(bits)| *bits).ok_or(Unreadable)
    }
    fn number(&mut self, arg: u32) -> Result<u64, Unreadable> {
        match self.argument(arg).1 {
            Argument::Number(number) => Ok(*number),
            _ => Err(Unreadable),
        }
    }
    fn socket(&mut self, arg: u32) -> Result<&SocketData, Unreadable> {
        match self.argument(arg) {
            (at, Argument::Socket(_)) => Ok(&self.sockets[at]),
            _ => Err(Unreadable),
        }
    }
    fn text(&mut self, arg: u32) -> Result<&'a str, Unreadable> {
        match self.argument(arg).1 {
            Argument::Text(text) | Argument::File { path: text, .. } => Ok(std::str::from_utf8(text).unwrap()),
            _ => Err(Unreadable),
        }
    }
}

/// Where a hook is read, without a kernel to ask.
fn placed(hook: &Hook) -> Placed {
    let plan = |arg: &Arg| ArgPlan {
        index: arg.index,
        kind: match arg.ty.class() {
            Class::Path { .. } => kind::FILE,
            Class::Text => kind::STRING,
            Class::Socket { .. } => kind::SOCK,
            Class::Address => kind::SOCKADDR,
            _ if arg.ty == ArgType::Nop => kind::NONE,
            _ => kind::INT64,
        },
        ..ArgPlan::default()
    };
    Placed {
        attach: Attach::Lsm("x".into()),
        args: hook.args.iter().map(plan).collect(),
        strength: Strength::Deny,
        why_weaker: None,
        parameters: 6,
        part: Part::Whole,
        returned: None,
    }
}

/// A pod for each place, and the cgroup of its container.
fn snapshot(places: &[Place]) -> (ScopeSnapshot, Vec<u64>) {
    let (mut pods, mut cgroups) = (Vec::new(), Vec::new());
    for (place, at) in places.iter().zip(1..) {
        let Place::Pod { namespace, labels, container } = place else {
            cgroups.push(0);
            continue;
        };
        let (name, repo) = container.clone().unwrap();
        pods.push(Pod {
            namespace: namespace.clone(),
            labels: labels.clone(),
            cgroups: vec![at * 10],
            containers: vec![Container { name, repo, cgroups: vec![at * 10 + 1], ..Container::default() }],
            ..Pod::default()
        });
        cgroups.push(at * 10 + 1);
    }
    (ScopeSnapshot { pods, pod_roots: vec![1] }, cgroups)
}

/// The marks that the lineage has collected, as the kernel's programs set them.
fn inherited(lineage: &[Ancestor], context: &Context) -> Inherited {
    let rows = context.binaries.mark_rows(&context.marks);
    let mut inherited = Inherited::default();
    for ancestor in lineage {
        inherited.unknown |= ancestor.binary.is_none();
        let binary = ancestor.binary.as_ref();
        let ids = binary.map(|binary| binary_ids(&context.binaries, binary)).unwrap_or_default();
        for (dimension, id) in [
            (dimension::BINARY_EXACT, ids.exact),
            (dimension::BINARY_PREFIX, ids.prefix),
            (dimension::BINARY_POSTFIX, ids.postfix),
            (dimension::PID_HOST, u64::from(ancestor.pid)),
            (dimension::PID_OWN, ancestor.own_pid.map_or(0, u64::from)),
        ] {
            if let Some(row) = rows.get(NumKey::new(dimension, id).as_bytes()) {
                let row = MarkRow::read_from_bytes(row).unwrap();
                inherited.marks = [inherited.marks[0] | row.marks[0], inherited.marks[1] | row.marks[1]];
            }
        }
    }
    inherited
}

fn socket_data(argument: &Argument) -> SocketData {
    let Argument::Socket(socket) = argument else { return SocketData::default() };
    SocketData {
        family: socket.family,
        protocol: socket.protocol,
        source: socket.source.octets(),
        destination: socket.destination.octets(),
        source_port: socket.source_port,
        destination_port: socket.destination_port,
        ..SocketData::default()
    }
}

/// What is decided: rules that fired, rules that could not be judged, whether it is refused, signalled, would be, is posted.
type Decided = (BTreeSet<(String, u32, u32)>, BTreeSet<(String, u32, u32)>, bool, bool, bool, bool);

fn of_model(hooks: &[PlacedHook<'_>], happens: &Happens) -> Decided {
    let mut decided = Decided::default();
    for PlacedHook { policy, hook, .. } in hooks {
        let verdict = model::decide(policy, hook, &happens.process, &happens.arguments);
        let Some(selector) = verdict.selector else { continue };
        let rules = if verdict.fault { &mut decided.1 } else { &mut decided.0 };
        rules.insert((policy.id.name.clone(), hook.index, selector as u32));
        decided.2 |= verdict.deny.is_some();
        decided.3 |= verdict.signal.is_some();
        decided.4 |= verdict.would_deny;
        decided.5 |= verdict.post;
    }
    decided
}

/// What is at one place is compiled and decides as the model does; each rule that is read back does what its selector says.
fn agree(hooks: &[PlacedHook<'_>], policies: &[ValidatedPolicy], dice: &mut Dice) -> Result<(), String> {
    let chosen = dice.pick(hooks);
    let pools = Pools::of(&chosen.policy.scope, chosen.hook);
    let mut events: Vec<Happens> = (0..4).map(|_| pools.event(dice, false)).collect();
    // Who descends from a listed pid is marked when it is forked, where pids can be read.
    let filters = hooks.iter().flat_map(|hook| &hook.hook.selectors).flat_map(|selector| &selector.pids);
    let follows = filters.into_iter().any(|filter| filter.follow_forks && filter.namespace_pid);
    for event in &mut events {
        let process = &mut event.process;
        // A task's namespaces and its pid in its own are read together: all of them, or none.
        if !follows && (process.namespaces.len() < NAMESPACES.len() || process.lineage[0].own_pid.is_none()) {
            process.namespaces.clear();
            process.lineage[0].own_pid = None;
        }
        for kind in NAMESPACES.iter().filter(|_| process.lineage[0].own_pid.is_some() || follows) {
            process.namespaces.entry(*kind).or_insert(9_999);
        }
        for ancestor in process.lineage.iter_mut().skip(usize::from(!follows)) {
            ancestor.own_pid.get_or_insert(9_999);
        }
    }
    let places: Vec<Place> = events.iter().map(|event| event.process.place.clone()).collect();
    let (snapshot, cgroups) = snapshot(&places);
    let keyed: Vec<(String, &Scope)> = policies.iter().map(|policy| (policy_key(&policy.id), &policy.scope)).collect();
    let assignment = assign(&snapshot, &keyed, &mut Classes::default());
    let context = Context {
        classes: assignment.classes,
        assigned: assignment.assigned,
        marks: marks_of(policies).into_iter().zip(0..).collect(),
        host_namespaces: events[0].process.host_namespaces.clone(),
        binaries: Binaries::of(policies),
        standing: BTreeMap::new(),
    };
    let (compiled, failures) = compile(&Attach::Lsm("x".into()), hooks, &context);
    if !failures.is_empty() {
        return Err(format!("{failures:?}"));
    }
    let Rows { head, tables } = &*compiled.rows;
    for (number, rule) in &compiled.legend {
        let row = RuleRow::read_from_bytes(&tables[hook_map::RULES][number.as_bytes()][..]).unwrap();
        let of = |hook: &&PlacedHook<'_>| (&hook.policy.id.name, hook.hook.index) == (&rule.policy, rule.hook_index);
        let hook = hooks.iter().find(of).unwrap();
        let plain = Actions { post: true, ..Actions::default() };
        let actions = hook.hook.selectors.get(rule.selector as usize).map_or(plain, |selector| selector.actions);
        let posting = hook.hook.selectors.get(rule.selector as usize).map(|selector| selector.posting);
        let limit = posting.and_then(|posting| posting.limit).filter(|_| actions.post);
        let limit = limit.map_or((0, 0), |limit| (limit.seconds, limit.scope as u8));
        let said = (actions.deny.unwrap_or(0), actions.signal.unwrap_or(0), limit);
        if (row.errno, row.signal, (row.seconds, row.scope)) != said {
            return Err(format!("{row:?} is not {actions:?}, {limit:?}"));
        }
    }
    let host = HostTables::new(tables);
    let plan = compiled.specification.plan;
    let args = &chosen.placed.args;
    for (happens, cgroup) in events.iter().zip(cgroups) {
        let mut seen = Sees {
            happens,
            positions: plan.args.iter().map(|arg| args.iter().position(|own| own == arg)).collect(),
            kinds: plan.args.map(|arg| arg.kind),
            sockets: happens.arguments.iter().map(socket_data).collect(),
            class: assignment.cgroups.get(&cgroup).copied().unwrap_or_default(),
            inherited: inherited(&happens.process.lineage, &context),
            ids: happens.process.lineage[0].binary.as_ref().map(|binary| binary_ids(&context.binaries, binary)),
        };
        let mut work = Work::default();
        let outcome = decide(head, &&host, &mut seen, &mut work);
        let named = |words| {
            let rules = Vector::new(words);
            let rules = rules.rules().map(|rule| &compiled.legend[&(rule as u32)]);
            rules.map(|rule| (rule.policy.clone(), rule.hook_index, rule.selector)).collect()
        };
        let kernel: Decided = outcome.map_or_else(Decided::default, |outcome| {
            (named(work.possible), named(work.faulted), outcome.deny, outcome.signal, outcome.would_deny, outcome.post)
        });
        let model = of_model(hooks, happens);
        if kernel != model {
            return Err(format!("{kernel:?} is not {model:?} about {happens:?}"));
        }
    }
    Ok(())
}

#[test]
fn compiled_rows_decide_about_documents_what_the_model_decides() {
    let compared = std::cell::Cell::new(0_usize);
    each(5, |seed, dice| {
        let documents = [0, 1].map(|at| document(2 * seed + at, dice.number(), Reach::Runs));
        let mut policies: Vec<ValidatedPolicy> =
            documents.iter().filter_map(|document| judge(document).policy).collect();
        for (at, policy) in policies.iter_mut().enumerate() {
            policy.id.name = format!("p{at}");
        }
        // What reads the same is put at one place.
        let mut places: Vec<Vec<PlacedHook<'_>>> = Vec::new();
        for policy in &policies {
            for hook in &policy.hooks {
                let placed = PlacedHook { policy, key: policy_key(&policy.id), hook, placed: placed(hook) };
                let alike = |place: &&mut Vec<PlacedHook<'_>>| {
                    let taken =
                        |other: &PlacedHook<'_>| (&other.policy.id, other.hook.index) == (&policy.id, hook.index);
                    place[0].hook.args == hook.args && !place.iter().any(taken)
                };
                match places.iter_mut().find(alike) {
                    Some(place) => place.push(placed),
                    None => places.push(vec![placed]),
                }
            }
        }
        for place in &places {
            agree(place, &policies, dice).map_err(|why| format!("{why}\n{}\n{}", documents[0], documents[1]))?;
            compared.set(compared.get() + 1);
        }
        Ok(())
    });
    assert!(compared.get() > 1_000, "{}", compared.get());
}
