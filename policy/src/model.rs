//! What a policy means, executable: one policy, one process, one event → what is done.
//!
//! This is the reference. It is written to be read, not to be fast; the tables that [`crate::ir`] is compiled to and the
//! programs that look them up are tested against it. Where it and they differ, they are wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use crate::ir::{
    Abi, Actions, ArgFilter, ArgTest, ArgType, BinaryFilter, Capabilities, CapabilityChange, CapabilityFilter,
    CapabilitySet, Cidr, Class, FileType, Hook, Mode, Namespace, NamespaceChange, NamespaceFilter, OnFault, OnReturn,
    PidFilter, PodScope, PortRange, Posting, RateScope, Scope, Selector, StringCompare, Syscall, ValidatedPolicy,
};
use crate::language;

/// A process at the moment of an event, with everything that a policy can ask about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// Its ids and executable, then those of its parent, and so on; never empty for a process that runs.
    pub lineage: Vec<Ancestor>,
    /// Inode numbers of its namespaces; one that is missing cannot be read.
    pub namespaces: BTreeMap<Namespace, u32>,
    /// The same when it was executed.
    pub namespaces_at_exec: BTreeMap<Namespace, u32>,
    /// Its sets of capabilities; one that is missing cannot be read.
    pub capabilities: BTreeMap<CapabilitySet, Capabilities>,
    /// The same when it was executed.
    pub capabilities_at_exec: BTreeMap<CapabilitySet, Capabilities>,
    /// Inode numbers of the namespaces of the host's pid 1.
    pub host_namespaces: BTreeMap<Namespace, u32>,
    /// Where it was executed.
    pub place: Place,
}

/// A process, or one that it descends from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ancestor {
    /// Id of the thread group in the host's pid namespace.
    pub pid: u32,
    /// The same in the process's own pid namespace; `None`: cannot be read.
    pub own_pid: Option<u32>,
    /// Path of the executable at its exec; `None`: cannot be read.
    pub binary: Option<String>,
}

/// Where a process was executed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Place {
    /// Outside every pod.
    #[default]
    Host,
    /// In a pod that the node knows.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its labels.
        labels: BTreeMap<String, String>,
        /// Name and repository of the container; `None`: not known yet, so that it is in every container's scope.
        container: Option<(String, String)>,
    },
    /// In a pod that the node does not know yet: in the scope of every policy about pods.
    UnknownPod,
}

/// The value of an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// A number, sign-extended to 64 bits.
    Number(u64),
    /// A string or path.
    Text(Vec<u8>),
    /// A file.
    File {
        /// Its path.
        path: Vec<u8>,
        /// What it is.
        kind: FileType,
    },
    /// A system call.
    Syscall {
        /// How it was called.
        abi: Abi,
        /// Its number there.
        number: u32,
    },
    /// A socket, or the one address of a socket address (as the remote one).
    Socket(Socket),
    /// It could not be read.
    Unreadable,
}

/// What a policy can ask about a socket. IPv4 addresses are mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// `AF_*`.
    pub family: u16,
    /// `IPPROTO_*`.
    pub protocol: u16,
    /// Local address.
    pub source: Ipv6Addr,
    /// Remote address.
    pub destination: Ipv6Addr,
    /// Local port.
    pub source_port: u16,
    /// Remote port.
    pub destination_port: u16,
    /// TCP state.
    pub state: u16,
}

/// What a policy does about an event at one of its hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// The selector that decided; `None`: none did.
    pub selector: Option<usize>,
    /// An event is posted.
    pub post: bool,
    /// The operation is refused with this errno.
    pub deny: Option<u16>,
    /// The process is sent this signal.
    pub signal: Option<u8>,
    /// The policy is in monitor mode and would have refused or signalled.
    pub would_deny: bool,
    /// It could not be judged: something that the selector needs could not be read.
    pub fault: bool,
}

/// `EPERM`, with which a policy refuses that names no other error.
const EPERM: u16 = 1;

/// Whether a filter holds: `None` when what it needs cannot be read (law 7: neither match nor non-match).
type Holds = Option<bool>;

/// Decides about a call. `arguments` are those of `hook.args`, in its order.
#[must_use]
pub fn decide(policy: &ValidatedPolicy, hook: &Hook, process: &Process, arguments: &[Argument]) -> Verdict {
    if !in_scope(&policy.scope, &process.place) {
        return Verdict::default();
    }
    if hook.selectors.is_empty() {
        return Verdict { selector: Some(0), post: true, ..Verdict::default() };
    }
    let matches = |selector| selector_matches(selector, hook, process, arguments);
    let decisive = hook.selectors.iter().enumerate().map(|(at, selector)| (at, selector, matches(selector)));
    match decisive.into_iter().find(|(_, _, holds)| *holds != Some(false)) {
        None => Verdict::default(),
        Some((at, selector, Some(_))) => act(policy.mode, at, selector.actions),
        Some((at, selector, None)) => fault(policy, at, selector.actions),
    }
}

/// Decides about the return of a call that `called` was decided about: what its selector asks of the value.
#[must_use]
pub fn decide_return(policy: &ValidatedPolicy, hook: &Hook, called: Verdict, returned: &Argument) -> Verdict {
    let on_return = called.selector.and_then(|at| Some((at, hook.selectors.get(at)?.on_return.as_ref()?)));
    let Some((at, OnReturn { args, actions, .. })) = on_return.filter(|_| !called.fault) else {
        return Verdict::default();
    };
    let ty = hook.returns.unwrap_or(ArgType::Nop);
    let value = |_| Some((ty, returned));
    match all(args.iter().map(|filter| argument_matches(filter, &value))) {
        Some(false) => Verdict::default(),
        Some(true) => act(policy.mode, at, *actions),
        None => fault(policy, at, *actions),
    }
}

/// What happens to an operation about which several policies have decided, each for itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// It is refused: with the lowest of these errors.
    pub errors: BTreeSet<u16>,
    /// The process is sent each of these.
    pub signals: BTreeSet<u8>,
    /// How many policies report it.
    pub reports: usize,
}

/// Law 4: every policy reports for itself, one that refuses is enough, and who is signalled is signalled in addition.
#[must_use]
pub fn together(verdicts: &[Verdict]) -> Outcome {
    Outcome {
        errors: verdicts.iter().filter_map(|verdict| verdict.deny).collect(),
        signals: verdicts.iter().filter_map(|verdict| verdict.signal).collect(),
        reports: verdicts.iter().filter(|verdict| verdict.post).count(),
    }
}

/// Whether an event is reported that came at `now` (seconds), after another with the same arguments was reported at `last`
/// (of its thread, its process, or at all, as [`RateScope`] says).
#[must_use]
pub fn is_due(posting: &Posting, now: u64, last: impl Fn(RateScope) -> Option<u64>) -> bool {
    posting
        .limit
        .is_none_or(|limit| last(limit.scope).is_none_or(|last| now.saturating_sub(last) >= u64::from(limit.seconds)))
}

fn act(mode: Mode, selector: usize, actions: Actions) -> Verdict {
    let Actions { post, deny, signal } = actions;
    let verdict = Verdict { selector: Some(selector), post, ..Verdict::default() };
    match mode {
        Mode::Enforce => Verdict { deny, signal, ..verdict },
        Mode::Monitor => Verdict { would_deny: actions.acts(), ..verdict },
    }
}

/// A fault is always reported; it refuses only what an enforcing policy with `onFault: Deny` would have refused.
fn fault(policy: &ValidatedPolicy, selector: usize, actions: Actions) -> Verdict {
    let denies = policy.mode == Mode::Enforce && policy.on_fault == OnFault::Deny;
    let deny = actions.deny.filter(|_| denies).map(|errno| if errno == 0 { EPERM } else { errno });
    Verdict { selector: Some(selector), post: true, deny, fault: true, ..Verdict::default() }
}

/// All filters hold; a filter that does not hold decides even when another cannot be read.
#[must_use]
pub fn selector_matches(selector: &Selector, hook: &Hook, process: &Process, arguments: &[Argument]) -> Option<bool> {
    let Selector {
        pids,
        binaries,
        parent_binaries,
        namespaces,
        namespace_changes,
        capabilities,
        capability_changes,
        workloads,
        args,
        actions: _,
        posting: _,
        effects: _,
        on_return: _,
        label: _,
    } = selector;
    let argument = |at: usize| Some((hook.args.get(at)?.ty, arguments.get(at)?));
    let parents = process.lineage.get(1..).unwrap_or_default();
    let filters = pids
        .iter()
        .map(|filter| pid_matches(filter, process))
        .chain(binaries.iter().map(|filter| binary_matches(filter, &process.lineage)))
        .chain(parent_binaries.iter().map(|filter| binary_matches(filter, parents)))
        .chain(namespaces.iter().map(|filter| namespace_matches(filter, process)))
        .chain(namespace_changes.iter().map(|filter| namespace_changed(filter, process)))
        .chain(capabilities.iter().map(|filter| capability_matches(filter, process)))
        .chain(capability_changes.iter().map(|filter| capability_changed(filter, process)))
        .chain(workloads.iter().map(|scope| Some(in_scope(scope, &process.place))))
        .chain(args.iter().map(|filter| argument_matches(filter, &argument)));
    all(filters)
}

fn all(filters: impl Iterator<Item = Holds>) -> Holds {
    let mut readable = true;
    for holds in filters {
        match holds {
            Some(false) => return Some(false),
            Some(true) => {}
            None => readable = false,
        }
    }
    readable.then_some(true)
}

/// Whether one of them holds: one that does decides even when another cannot be read.
fn any(one: impl Iterator<Item = Holds>) -> Holds {
    let mut readable = true;
    for holds in one {
        match holds {
            Some(true) => return Some(true),
            Some(false) => {}
            None => readable = false,
        }
    }
    readable.then_some(false)
}

/// Law 1: negation is negation.
fn negate(holds: bool, negated: bool) -> bool {
    holds != negated
}

fn pid_matches(filter: &PidFilter, process: &Process) -> Holds {
    let PidFilter { negated, pids, follow_forks, namespace_pid } = filter;
    let generations = if *follow_forks { process.lineage.len() } else { 1 };
    let pid = |ancestor: &Ancestor| if *namespace_pid { ancestor.own_pid } else { Some(ancestor.pid) };
    let listed = process.lineage.iter().take(generations).map(|ancestor| Some(pids.contains(&pid(ancestor)?)));
    Some(negate(any(listed)?, *negated))
}

/// `lineage`: the process (or its parent) first. Who has no parent has none whose executable is listed.
fn binary_matches(filter: &BinaryFilter, lineage: &[Ancestor]) -> Holds {
    let BinaryFilter { compare, negated, values, follow_children } = filter;
    let generations = if *follow_children { lineage.len() } else { 1 };
    let is_listed =
        |binary: &String| values.iter().any(|value| text_matches(*compare, binary.as_bytes(), value.as_bytes()));
    let listed = lineage.iter().take(generations).map(|ancestor| ancestor.binary.as_ref().map(is_listed));
    Some(negate(any(listed)?, *negated))
}

fn namespace_matches(filter: &NamespaceFilter, process: &Process) -> Holds {
    let NamespaceFilter { namespace, negated, inodes, host } = filter;
    let inode = process.namespaces.get(namespace)?;
    let is_host = *host && process.host_namespaces.get(namespace) == Some(inode);
    Some(negate(inodes.contains(inode) || is_host, *negated))
}

fn namespace_changed(filter: &NamespaceChange, process: &Process) -> Holds {
    let NamespaceChange { negated, namespaces } = filter;
    let mut changed = false;
    for namespace in namespaces {
        changed |= process.namespaces.get(namespace)? != process.namespaces_at_exec.get(namespace)?;
    }
    Some(negate(changed, *negated))
}

fn capability_matches(filter: &CapabilityFilter, process: &Process) -> Holds {
    let CapabilityFilter { set, negated, in_namespace, capabilities: Capabilities(listed) } = filter;
    let holds = process.capabilities.get(set).map(|Capabilities(has)| negate(has & listed != 0, *negated));
    both(about_users(*in_namespace, process), holds)
}

fn capability_changed(filter: &CapabilityChange, process: &Process) -> Holds {
    let CapabilityChange { set, negated, in_namespace, capabilities: Capabilities(listed) } = filter;
    let (Capabilities(now), Capabilities(before)) =
        (process.capabilities.get(set)?, process.capabilities_at_exec.get(set)?);
    both(about_users(*in_namespace, process), Some(negate((now ^ before) & listed != 0, *negated)))
}

/// `isNamespaceCapability`: such a filter, negated or not, is about processes in a user namespace of their own.
fn about_users(in_namespace: bool, process: &Process) -> Holds {
    if !in_namespace {
        return Some(true);
    }
    Some(process.namespaces.get(&Namespace::User)? != process.host_namespaces.get(&Namespace::User)?)
}

fn both(left: Holds, right: Holds) -> Holds {
    all([left, right].into_iter())
}

/// `argument`: the type and the value of an argument of the hook.
fn argument_matches<'a>(filter: &ArgFilter, argument: &impl Fn(usize) -> Option<(ArgType, &'a Argument)>) -> Holds {
    let ArgFilter { arg, test, negated } = filter;
    let number = |at: usize| match argument(at)? {
        (ty, Argument::Number(number)) => Some(ty.number(*number)),
        _ => None,
    };
    if let ArgTest::Expression(expression) = test {
        return expression.holds(&number).map(|holds| negate(holds, *negated));
    }
    let (ty, value) = argument(*arg)?;
    let stored = match value {
        Argument::Syscall { abi, number } => Some(u64::from(raw_number(*abi, *number))),
        Argument::Number(number) => Some(*number),
        _ => None,
    };
    let holds = match (test, value) {
        (ArgTest::Number(values), _) => values.contains(&stored?),
        (ArgTest::Range(ranges), _) => {
            let stored = stored?;
            ranges.iter().any(|range| (range.first..=range.last).contains(&stored))
        }
        (ArgTest::Mask(mask), Argument::Number(number)) => number & mask != 0,
        (ArgTest::Gained { new }, Argument::Number(old)) => match argument(*new)? {
            (_, Argument::Number(new)) => new & !old != 0,
            _ => return None,
        },
        (ArgTest::Syscall(calls), Argument::Syscall { abi, number }) => {
            calls.iter().any(|call| syscall_is(call, *abi, *number))
        }
        (ArgTest::String(..) | ArgTest::Substring { .. }, Argument::Text(text) | Argument::File { path: text, .. }) => {
            string_matches(test, text)
        }
        (ArgTest::FileType(types), Argument::File { kind, .. }) => types.contains(kind),
        (_, Argument::Socket(socket)) => return Some(negate(socket_matches(test, ty, socket)?, *negated)),
        // Unreadable, or of another type than the document says, which is the same.
        _ => return None,
    };
    Some(negate(holds, *negated))
}

/// What a system call's number is for a filter on numbers: the highest bit says that it was called in 32 bits.
fn raw_number(abi: Abi, number: u32) -> u32 {
    if abi == Abi::I386 { number | 1 << 31 } else { number }
}

/// A name without an ABI is that of the node's own way of being called, which is never the one of 32 bits.
fn syscall_is(call: &Syscall, abi: Abi, number: u32) -> bool {
    match call {
        Syscall::Numbered(raw) => *raw == raw_number(abi, number),
        Syscall::Named { abi: wanted, name } => {
            wanted.map_or(abi != Abi::I386, |wanted| wanted == abi)
                && language::syscall_number(abi, name) == Some(number)
        }
    }
}

fn string_matches(test: &ArgTest, text: &[u8]) -> bool {
    match test {
        ArgTest::String(compare, values) => values.iter().any(|value| text_matches(*compare, text, value.as_bytes())),
        ArgTest::Substring { ignore_case, values } => {
            let text = if *ignore_case { text.to_ascii_lowercase() } else { text.to_vec() };
            values.iter().any(|value| text.windows(value.len()).any(|part| part == value.as_bytes()))
        }
        _ => false,
    }
}

fn socket_matches(test: &ArgTest, ty: ArgType, socket: &Socket) -> Holds {
    // A `sockaddr` has one address, the one that it names.
    let named = ty.class() == Class::Address;
    Some(match test {
        ArgTest::SourceAddress(cidrs) => {
            let address = if named { socket.destination } else { socket.source };
            cidrs.iter().any(|cidr| contains(*cidr, address))
        }
        ArgTest::DestinationAddress(cidrs) => cidrs.iter().any(|cidr| contains(*cidr, socket.destination)),
        ArgTest::SourcePort(ranges) => {
            let port = if named { socket.destination_port } else { socket.source_port };
            ranges.iter().any(|range| holds_port(*range, port))
        }
        ArgTest::DestinationPort(ranges) => ranges.iter().any(|range| holds_port(*range, socket.destination_port)),
        ArgTest::Family(families) => families.contains(&socket.family),
        ArgTest::Protocol(protocols) => protocols.contains(&socket.protocol),
        ArgTest::State(states) => states.contains(&socket.state),
        _ => return None,
    })
}

fn text_matches(compare: StringCompare, text: &[u8], value: &[u8]) -> bool {
    match compare {
        StringCompare::Equal => text == value,
        StringCompare::Prefix => text.starts_with(value),
        StringCompare::Postfix => text.ends_with(value),
    }
}

fn contains(cidr: Cidr, address: Ipv6Addr) -> bool {
    let mask = u128::MAX.checked_shl(128 - u32::from(cidr.length)).unwrap_or(0);
    u128::from(cidr.address) == u128::from(address) & mask
}

fn holds_port(range: PortRange, port: u16) -> bool {
    (range.first..=range.last).contains(&port)
}

/// The truth table of `podSelector`, `containerSelector` and `hostSelector`.
#[must_use]
pub fn in_scope(scope: &Scope, place: &Place) -> bool {
    let (host, pods) = match scope {
        Scope::Everything => return true,
        Scope::Some { host, pods } => (*host, pods),
    };
    match (place, pods) {
        (Place::Host, _) => host,
        (Place::UnknownPod, pods) => pods.is_some(),
        (Place::Pod { .. }, None) => false,
        (Place::Pod { namespace, labels, container }, Some(pods)) => {
            let PodScope { namespace: only, pods, containers } = pods;
            let mut labels = labels.clone();
            labels.insert("k8s:io.kubernetes.pod.namespace".into(), namespace.clone());
            let of_container = |(name, repo): &(String, String)| {
                containers.matches(&BTreeMap::from([("name".into(), name.clone()), ("repo".into(), repo.clone())]))
            };
            only.as_ref().is_none_or(|only| only == namespace)
                && pods.matches(&labels)
                && container.as_ref().is_none_or(of_container)
        }
    }
}
