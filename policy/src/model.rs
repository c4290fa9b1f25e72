//! What a policy means, executable: one policy, one process, one event → what is done.
//!
//! This is the reference. It is written to be read, not to be fast; the tables that [`crate::ir`] is compiled to and the
//! programs that look them up are tested against it. Where it and they differ, they are wrong.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use crate::ir::{
    Actions, ArgFilter, ArgTest, ArgType, BinaryFilter, Cidr, Hook, Mode, Namespace, NamespaceFilter, OnFault,
    PidFilter, PodScope, PortRange, Scope, Selector, StringCompare, ValidatedPolicy,
};

/// A process at the moment of an event, with everything that a policy can ask about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// Its ids and executable, then those of its parent, and so on; never empty for a process that runs.
    pub lineage: Vec<Ancestor>,
    /// Inode numbers of its namespaces; one that is missing cannot be read.
    pub namespaces: BTreeMap<Namespace, u32>,
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

/// Decides. `arguments` are those of `hook.args`, in its order.
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

fn act(mode: Mode, selector: usize, actions: Actions) -> Verdict {
    let Actions { post, deny, signal } = actions;
    let verdict = Verdict { selector: Some(selector), post, ..Verdict::default() };
    match mode {
        Mode::Enforce => Verdict { deny, signal, ..verdict },
        Mode::Monitor => Verdict { would_deny: deny.is_some() || signal.is_some(), ..verdict },
    }
}

/// A fault is always reported; it refuses only what an enforcing policy with `onFault: Deny` would have refused.
fn fault(policy: &ValidatedPolicy, selector: usize, actions: Actions) -> Verdict {
    let denies = policy.mode == Mode::Enforce && policy.on_fault == OnFault::Deny;
    let deny = actions.deny.filter(|_| denies).map(|errno| if errno == 0 { EPERM } else { errno });
    Verdict { selector: Some(selector), post: true, deny, fault: true, ..Verdict::default() }
}

/// All filters hold; a filter that does not hold decides even when another cannot be read.
fn selector_matches(selector: &Selector, hook: &Hook, process: &Process, arguments: &[Argument]) -> Holds {
    let Selector { pids, binaries, namespaces, args, actions: _ } = selector;
    let filters = pids
        .iter()
        .map(|filter| pid_matches(filter, process))
        .chain(binaries.iter().map(|filter| binary_matches(filter, process)))
        .chain(namespaces.iter().map(|filter| namespace_matches(filter, process)))
        .chain(args.iter().map(|filter| argument_matches(filter, hook, arguments)));
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

/// Law 1: negation is negation.
fn negate(holds: bool, negated: bool) -> bool {
    holds != negated
}

fn pid_matches(filter: &PidFilter, process: &Process) -> Holds {
    let PidFilter { negated, pids, follow_forks, namespace_pid } = filter;
    let generations = if *follow_forks { process.lineage.len() } else { 1 };
    let mut listed = false;
    for ancestor in process.lineage.iter().take(generations) {
        let pid = if *namespace_pid { ancestor.own_pid? } else { ancestor.pid };
        listed |= pids.contains(&pid);
    }
    Some(negate(listed, *negated))
}

fn binary_matches(filter: &BinaryFilter, process: &Process) -> Holds {
    let BinaryFilter { compare, negated, values, follow_children } = filter;
    let generations = if *follow_children { process.lineage.len() } else { 1 };
    let mut listed = false;
    for ancestor in process.lineage.iter().take(generations) {
        let binary = ancestor.binary.as_ref()?;
        listed |= values.iter().any(|value| text_matches(*compare, binary.as_bytes(), value.as_bytes()));
    }
    Some(negate(listed, *negated))
}

fn namespace_matches(filter: &NamespaceFilter, process: &Process) -> Holds {
    let NamespaceFilter { namespace, negated, inodes, host: _ } = filter;
    let inode = process.namespaces.get(namespace)?;
    Some(negate(inodes.contains(inode), *negated))
}

fn argument_matches(filter: &ArgFilter, hook: &Hook, arguments: &[Argument]) -> Holds {
    let ArgFilter { arg, test, negated } = filter;
    let named = hook.args.get(*arg).is_some_and(|arg| arg.ty == ArgType::Sockaddr);
    let holds = match (test, arguments.get(*arg)?) {
        (ArgTest::Number(values), Argument::Number(number)) => values.contains(number),
        (ArgTest::String(compare, values), Argument::Text(text)) => {
            values.iter().any(|value| text_matches(*compare, text, value.as_bytes()))
        }
        (ArgTest::SourceAddress(cidrs), Argument::Socket(socket)) => {
            // A `sockaddr` has one address, the one that it names.
            let address = if named { socket.destination } else { socket.source };
            cidrs.iter().any(|cidr| contains(*cidr, address))
        }
        (ArgTest::DestinationAddress(cidrs), Argument::Socket(socket)) => {
            cidrs.iter().any(|cidr| contains(*cidr, socket.destination))
        }
        (ArgTest::SourcePort(ranges), Argument::Socket(socket)) => {
            let port = if named { socket.destination_port } else { socket.source_port };
            ranges.iter().any(|range| holds_port(*range, port))
        }
        (ArgTest::DestinationPort(ranges), Argument::Socket(socket)) => {
            ranges.iter().any(|range| holds_port(*range, socket.destination_port))
        }
        (ArgTest::Family(families), Argument::Socket(socket)) => families.contains(&socket.family),
        (ArgTest::Protocol(protocols), Argument::Socket(socket)) => protocols.contains(&socket.protocol),
        // Unreadable, or of another type than the document says, which is the same.
        _ => return None,
    };
    Some(negate(holds, *negated))
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
fn in_scope(scope: &Scope, place: &Place) -> bool {
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
