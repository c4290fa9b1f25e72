//! A selector → its tests, by dimension.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use stockade_enforcer_common::dimension::{self, Facet, MARK_SLOTS, NamespaceKind};
use stockade_enforcer_common::plan::kind;
use stockade_policy::ir::{
    self, ArgFilter, ArgTest, BinaryFilter, CapabilitySet, Cidr, Namespace, NumberRange, PidFilter, PortRange,
    RateLimit, Selector, Strength, StringCompare, ValidatedPolicy,
};

use super::fields::Field;
use super::{Context, PlacedHook};
use crate::place::Part;
use crate::probe::PROBE_ERRNO;
use crate::scope::probe_member;

/// The inode number that every kernel gives the first user namespace (`PROC_USER_INIT_INO`), where it could not be looked up: an
/// empty set would make every process one of a namespace of its own.
const HOST_USER_NAMESPACE: u32 = 0xEFFF_FFFD;

/// What a rule asks of a value: membership in a set, or the contrary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) negated: bool,
    pub(super) set: Set,
}

/// The sets that dimensions can be asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Set {
    /// A number is one of these.
    Numbers(BTreeSet<u64>),
    /// A text (or the listed binary) is, begins with or ends with one of these, as the dimension says.
    Texts(BTreeSet<String>),
    /// An address is in one of these.
    Addresses(BTreeSet<Cidr>),
    /// A port is in one of these.
    Ports(BTreeSet<PortRange>),
    /// A number is in one of these.
    Ranges(BTreeSet<NumberRange>),
    /// A number has one of these bits. In tables it is a [`Self::Mark`]: see [`super::masks`].
    Mask {
        /// Which number: an argument, or a set of capabilities ([`dimension::capabilities`]).
        of: u32,
        /// The bits.
        mask: u64,
    },
    /// This bit of a chunk of marks, or of what masks a number meets, is set.
    Mark {
        /// Which.
        bit: u32,
        /// It stands for executions of binaries: that it is not set is not known where an executable is unknown.
        binary: bool,
    },
}

/// A rule, ready for tables.
#[derive(Debug, Clone)]
pub(super) struct CompiledRule {
    pub(super) number: u32,
    pub(super) selector: u32,
    /// Of its policy: for the scope.
    pub(super) policy: String,
    pub(super) tests: Vec<(u32, Test)>,
    pub(super) deny: Option<u16>,
    pub(super) signal: Option<u8>,
    pub(super) post: bool,
    pub(super) monitor: bool,
    pub(super) fault_deny: bool,
    /// Of its equal events, one in a while is posted.
    pub(super) limit: Option<Limit>,
    /// It is that of the agent's own probes.
    pub(super) probe: bool,
}

/// How a rule's events are limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) limit: RateLimit,
    /// What its windows are known by.
    pub(super) window: u64,
    /// Positions of the arguments that its events have: bits.
    pub(super) args: u32,
}

impl Limit {
    /// The windows of a selector stay what they are while others' rules come and go, and nobody else's are taken for them:
    /// not those of another selector, of another place of the hook, or of a namesake that was there before.
    fn of(limit: RateLimit, hook: &PlacedHook<'_>, selector: u32, positions: &[u32]) -> Self {
        let PlacedHook { policy, key, hook: document, placed } = hook;
        let whose = format!("{key}\n{}\n{:?}\n{}\n{selector}", policy.uid, document.point, document.index);
        let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = Sha256::digest(whose).into();
        let read = placed.args.iter().zip(positions).filter(|(arg, _)| arg.kind != kind::NONE);
        let args = read.fold(0, |args, (_, position)| args | 1 << position);
        Self { limit, window: u64::from_le_bytes([a, b, c, d, e, f, g, h]), args }
    }
}

/// What a mark stands for: a distinct set whose members' descendants count too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MarkSet {
    /// Processes with these ids.
    Pids {
        /// In their own pid namespace.
        own: bool,
        /// The ids.
        pids: BTreeSet<u32>,
    },
    /// Executions of these binaries.
    Binaries {
        /// How they are compared.
        compare: StringCompare,
        /// The values.
        values: BTreeSet<String>,
    },
}

impl std::fmt::Display for MarkSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pids { own, pids } => write!(f, "pids own={own} {pids:?}"),
            Self::Binaries { compare, values } => write!(f, "binaries {compare:?} {values:?}"),
        }
    }
}

/// The slots of marks.
pub type Marks = BTreeMap<MarkSet, u32>;

/// Every mark that these policies need.
#[must_use]
pub fn marks_of<'a>(policies: impl IntoIterator<Item = &'a ValidatedPolicy>) -> BTreeSet<MarkSet> {
    let selectors = policies.into_iter().flat_map(|policy| &policy.hooks).flat_map(|hook| &hook.selectors);
    selectors
        .flat_map(|selector| {
            let pids = selector.pids.iter().filter_map(pid_mark);
            pids.chain(selector.binaries.iter().filter_map(binary_mark)).collect::<Vec<_>>()
        })
        .collect()
}

fn pid_mark(filter: &PidFilter) -> Option<MarkSet> {
    filter.follow_forks.then(|| MarkSet::Pids { own: filter.namespace_pid, pids: filter.pids.clone() })
}

fn binary_mark(filter: &BinaryFilter) -> Option<MarkSet> {
    filter.follow_children.then(|| MarkSet::Binaries { compare: filter.compare, values: filter.values.clone() })
}

/// What a place asks of the value that a call returned, beside what the selector asked of the call.
fn returned(selector: &Selector, part: Part) -> &[ArgFilter] {
    match (&selector.on_return, part) {
        (Some(on_return), Part::Report) => &on_return.args,
        _ => &[],
    }
}

/// How many rules a hook is at its place: one for each selector. A selector that has decided about a call says nothing of a
/// value that it does not ask for, and neither do those after it: that is a rule of its own, which does nothing.
pub(super) fn count(hook: &PlacedHook<'_>) -> usize {
    let each =
        hook.hook.selectors.iter().map(|selector| 1 + usize::from(!returned(selector, hook.placed.part).is_empty()));
    each.sum::<usize>().max(1)
}

/// The rules of a hook.
pub(super) fn rules(
    hook: &PlacedHook<'_>,
    positions: &Positions<'_>,
    field: Field,
    context: &Context,
) -> Vec<CompiledRule> {
    // Without selectors every event matches and is posted.
    let everything =
        [Selector { actions: ir::Actions { post: true, deny: None, signal: None }, ..Selector::default() }];
    let selectors = if hook.hook.selectors.is_empty() { &everything[..] } else { &hook.hook.selectors };
    let enforcing = hook.policy.mode == ir::Mode::Enforce;
    let part = hook.placed.part;
    let rule = |at: u32, selector: &Selector, actions: ir::Actions, posting: &ir::Posting, asked: &[ArgFilter]| {
        let deny = actions.deny.filter(|_| hook.placed.strength == Strength::Deny);
        let limit = posting.limit.filter(|_| actions.post);
        let mut tests = tests(selector, positions.args, context);
        tests.extend(asked.iter().map(|filter| argument(filter, positions.returned.unwrap_or_default())));
        CompiledRule {
            number: 0,
            selector: at,
            policy: hook.key.clone(),
            tests,
            deny,
            signal: actions.signal,
            post: actions.post,
            monitor: !enforcing,
            fault_deny: enforcing && deny.is_some() && hook.policy.on_fault == ir::OnFault::Deny,
            limit: limit.map(|limit| Limit::of(limit, hook, at, positions.args)),
            probe: false,
        }
    };
    let mut rules = Vec::new();
    for (selector, at) in selectors.iter().zip(0..) {
        let asked = returned(selector, part);
        if let (false, Some(on_return)) = (asked.is_empty(), &selector.on_return) {
            rules.push(rule(at, selector, actions(on_return.actions, part), &on_return.posting, asked));
            rules.push(rule(
                at,
                selector,
                ir::Actions { post: false, ..ir::Actions::default() },
                &selector.posting,
                &[],
            ));
        } else {
            rules.push(rule(at, selector, actions(selector.actions, part), &selector.posting, &[]));
        }
    }
    // The first of a hook that decides is the lowest.
    rules.iter_mut().zip(field.first..field.first + field.rules).for_each(|(rule, number)| rule.number = number);
    rules
}

/// Where a hook's arguments are in the program's plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Positions<'a> {
    /// What the function is called with, in the document's order.
    pub(super) args: &'a [u32],
    /// What it returned.
    pub(super) returned: Option<u32>,
}

/// What of a selector's actions happens at a place: where a hook has two, it acts, and reports that it does, at the first,
/// and reports what came of the operation at the second.
fn actions(actions: ir::Actions, part: Part) -> ir::Actions {
    match part {
        Part::Whole => actions,
        Part::Act => ir::Actions { post: actions.post && actions.acts(), ..actions },
        Part::Report => ir::Actions { deny: None, signal: None, ..actions },
    }
}

/// The rule of the agent's own probes: it asks nothing of an event but the scope.
pub(super) fn probe(number: u32, class: u32, can_deny: bool) -> CompiledRule {
    CompiledRule {
        number,
        selector: 0,
        policy: probe_member(class),
        tests: Vec::new(),
        deny: can_deny.then_some(PROBE_ERRNO),
        signal: None,
        post: true,
        monitor: false,
        fault_deny: false,
        limit: None,
        probe: true,
    }
}

fn tests(selector: &Selector, positions: &[u32], context: &Context) -> Vec<(u32, Test)> {
    // What else a selector can have, the engine's table (`stockade_policy::engine`) keeps out.
    let Selector { pids, binaries, namespaces, capabilities, args, .. } = selector;
    let mut tests = Vec::new();
    for filter in pids {
        tests.push(match pid_mark(filter) {
            Some(mark) => mark_test(&mark, filter.negated, context),
            None => {
                let dimension = if filter.namespace_pid { dimension::PID_OWN } else { dimension::PID_HOST };
                let numbers = filter.pids.iter().map(|pid| u64::from(*pid)).collect();
                (dimension, Test { negated: filter.negated, set: Set::Numbers(numbers) })
            }
        });
    }
    for filter in binaries {
        tests.push(match binary_mark(filter) {
            Some(mark) => mark_test(&mark, filter.negated, context),
            None => {
                let test = Test { negated: filter.negated, set: Set::Texts(filter.values.clone()) };
                (binary_dimension(filter.compare), test)
            }
        });
    }
    for filter in namespaces {
        let mut numbers: BTreeSet<u64> = filter.inodes.iter().map(|inode| u64::from(*inode)).collect();
        if filter.host {
            numbers.extend(context.host_namespaces.get(&filter.namespace).map(|inode| u64::from(*inode)));
        }
        let test = Test { negated: filter.negated, set: Set::Numbers(numbers) };
        tests.push((dimension::namespace(namespace_kind(filter.namespace)), test));
    }
    for filter in capabilities {
        let of = capabilities_of(filter.set);
        let set = Set::Mask { of, mask: filter.capabilities.0 };
        tests.push((dimension::masks(of, 0), Test { negated: filter.negated, set }));
        if filter.in_namespace {
            let host = context.host_namespaces.get(&Namespace::User).copied().unwrap_or(HOST_USER_NAMESPACE);
            let test = Test { negated: true, set: Set::Numbers([u64::from(host)].into()) };
            tests.push((dimension::namespace(NamespaceKind::User), test));
        }
    }
    tests.extend(args.iter().map(|filter| argument(filter, positions.get(filter.arg).copied().unwrap_or_default())));
    tests
}

fn argument(filter: &ArgFilter, position: u32) -> (u32, Test) {
    let (facet, set) = argument_test(&filter.test, position);
    (dimension::argument(position, facet), Test { negated: filter.negated, set })
}

fn mark_test(mark: &MarkSet, negated: bool, context: &Context) -> (u32, Test) {
    // The caller has given every mark a slot; one that has none is never set.
    let slot = context.marks.get(mark).copied().unwrap_or(MARK_SLOTS as u32 - 1);
    let binary = matches!(mark, MarkSet::Binaries { .. });
    (dimension::marks(slot / 8), Test { negated, set: Set::Mark { bit: slot % 8, binary } })
}

/// The dimension in which a listed binary is looked up.
pub(super) fn binary_dimension(compare: StringCompare) -> u32 {
    match compare {
        StringCompare::Equal => dimension::BINARY_EXACT,
        StringCompare::Prefix => dimension::BINARY_PREFIX,
        StringCompare::Postfix => dimension::BINARY_POSTFIX,
    }
}

/// A set of capabilities among what has masks.
fn capabilities_of(set: CapabilitySet) -> u32 {
    dimension::capabilities(match set {
        CapabilitySet::Effective => 0,
        CapabilitySet::Inheritable => 1,
        CapabilitySet::Permitted => 2,
    })
}

fn namespace_kind(namespace: Namespace) -> NamespaceKind {
    match namespace {
        Namespace::Uts => NamespaceKind::Uts,
        Namespace::Ipc => NamespaceKind::Ipc,
        Namespace::Mnt => NamespaceKind::Mnt,
        Namespace::Pid => NamespaceKind::Pid,
        Namespace::PidForChildren => NamespaceKind::PidForChildren,
        Namespace::Net => NamespaceKind::Net,
        Namespace::Time => NamespaceKind::Time,
        Namespace::TimeForChildren => NamespaceKind::TimeForChildren,
        Namespace::Cgroup => NamespaceKind::Cgroup,
        Namespace::User => NamespaceKind::User,
    }
}

fn argument_test(test: &ArgTest, position: u32) -> (Facet, Set) {
    let numbers = |values: &BTreeSet<u16>| Set::Numbers(values.iter().map(|value| u64::from(*value)).collect());
    match test {
        ArgTest::Number(values) => (Facet::Number, Set::Numbers(values.clone())),
        ArgTest::Range(ranges) => (Facet::Range, Set::Ranges(ranges.clone())),
        ArgTest::Mask(mask) => (Facet::Masks, Set::Mask { of: position, mask: *mask }),
        ArgTest::String(StringCompare::Equal, values) => (Facet::Whole, Set::Texts(values.clone())),
        ArgTest::String(StringCompare::Prefix, values) => (Facet::Prefix, Set::Texts(values.clone())),
        ArgTest::String(StringCompare::Postfix, values) => (Facet::Postfix, Set::Texts(values.clone())),
        ArgTest::SourceAddress(values) => (Facet::SourceAddress, Set::Addresses(values.clone())),
        ArgTest::DestinationAddress(values) => (Facet::DestinationAddress, Set::Addresses(values.clone())),
        ArgTest::SourcePort(values) => (Facet::SourcePort, Set::Ports(values.clone())),
        ArgTest::DestinationPort(values) => (Facet::DestinationPort, Set::Ports(values.clone())),
        ArgTest::Family(values) => (Facet::Family, numbers(values)),
        ArgTest::Protocol(values) => (Facet::Protocol, numbers(values)),
        // The engine's table (`stockade_policy::engine`) keeps them out.
        ArgTest::Syscall(_)
        | ArgTest::Gained { .. }
        | ArgTest::Substring { .. }
        | ArgTest::FileType(_)
        | ArgTest::State(_)
        | ArgTest::Expression(_) => (Facet::Number, Set::Numbers(BTreeSet::new())),
    }
}
