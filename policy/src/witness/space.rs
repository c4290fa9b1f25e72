//! The events that are tried: dimensions, each with its candidates; the first is the plainest.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use super::candidates::{self, Values};
use super::{Asked, Part, Sides, Told, Witness, is_of, places};
use crate::ir::{
    Arg, ArgFilter, ArgTest, Capabilities, CapabilitySet, Class, Hook, Namespace, Scope, Selector, ValidatedPolicy,
};
use crate::model::{Ancestor, Argument, Place, Process, Socket, Verdict};
use crate::point;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// An event that is tried.
pub(super) struct Event {
    pub(super) process: Process,
    /// Those of [`Space::args`].
    arguments: Vec<Argument>,
    pub(super) returned: Option<Argument>,
}

/// One thing that can be chosen.
#[derive(Debug, Clone)]
enum Choice {
    /// Of [`Space::args`].
    Argument(usize, Argument),
    /// The same, a part of a socket.
    Socket(usize, Part, u128),
    /// Whether it cannot be read; of [`Space::args`].
    UnreadableSocket(usize, bool),
    Returned(Option<Argument>),
    Pid(u32),
    OwnPid(u32),
    Binary(Option<String>),
    /// `None`: it has none.
    Parent(Option<Ancestor>),
    Namespace(Namespace, u32),
    NamespaceAtExec(Namespace, Option<u32>),
    Capabilities(CapabilitySet, u64),
    CapabilitiesAtExec(CapabilitySet, Option<u64>),
    Place(Place),
}

/// Alternatives, each with its hook.
type Selectors<'p> = Vec<(&'p Hook, &'p Selector)>;

/// Dimensions and their candidates.
pub(super) struct Space {
    dimensions: Vec<Vec<Choice>>,
    /// Every argument that a hook reads, once.
    args: Vec<Arg>,
    returns: Option<crate::ir::ArgType>,
    asked: BTreeSet<Asked>,
    parts: BTreeMap<usize, BTreeSet<Part>>,
}

impl Space {
    pub(super) fn new(sides: &Sides<'_>, unreadable: bool) -> Self {
        // What only one of both has comes first.
        let selectors: Selectors<'_> =
            sides.selectors().into_iter().filter_map(|(_, hook, selector, _)| Some((hook, selector?))).collect();
        let sides: Vec<_> = sides.all().collect();
        let mut args: Vec<Arg> = Vec::new();
        for arg in sides.iter().flat_map(|(_, hook)| &hook.args) {
            if !args.iter().any(|known| is_of(known, arg)) {
                args.push(arg.clone());
            }
        }
        let returns = sides.iter().find_map(|(_, hook)| hook.returns);
        let mut space = Self { dimensions: Vec::new(), args, returns, asked: BTreeSet::new(), parts: BTreeMap::new() };
        space.add_arguments(&selectors, unreadable);
        space.add_returned(&selectors, unreadable);
        space.add_process(&selectors, unreadable);
        space.add_places(&sides, unreadable);
        space
    }

    pub(super) fn dimensions(&self) -> usize {
        self.dimensions.len()
    }

    pub(super) fn candidates(&self, dimension: usize) -> usize {
        self.dimensions.get(dimension).map_or(0, Vec::len)
    }

    fn add(&mut self, candidates: Vec<Choice>) {
        if candidates.len() > 1 {
            self.dimensions.push(candidates);
        }
    }

    fn add_arguments(&mut self, selectors: &[(&Hook, &Selector)], unreadable: bool) {
        for (at, arg) in self.args.clone().iter().enumerate() {
            let all = selectors.iter().flat_map(|(hook, selector)| selector.args.iter().map(move |f| (f, *hook)));
            let own =
                |(filter, hook): &(&ArgFilter, &Hook)| hook.args.get(filter.arg).is_some_and(|own| is_of(own, arg));
            let mut filters: Vec<&ArgFilter> = all.clone().filter(own).map(|(filter, _)| filter).collect();
            // What is to be fulfilled before what is to be avoided.
            filters.sort_by_key(|filter| filter.negated);
            let tests: Vec<&ArgTest> = filters.iter().map(|filter| &filter.test).collect();
            let expressions = all.map(|(filter, _)| &filter.test).filter(|test| matches!(test, ArgTest::Expression(_)));
            if matches!(arg.ty.class(), Class::Socket { .. } | Class::Address) {
                self.add_socket(at, &tests, unreadable);
                continue;
            }
            let values = candidates::of_argument(arg.ty, tests.into_iter().chain(expressions));
            let mut choices: Vec<Choice> = values.into_iter().map(|value| Choice::Argument(at, value)).collect();
            if unreadable {
                choices.push(Choice::Argument(at, Argument::Unreadable));
            }
            self.add(choices);
        }
    }

    fn add_socket(&mut self, at: usize, tests: &[&ArgTest], unreadable: bool) {
        let named = self.args.get(at).is_some_and(|arg| arg.ty.class() == Class::Address);
        for (part, values) in candidates::of_socket(tests, named) {
            self.parts.entry(at).or_default().insert(part);
            self.add(values.into_iter().map(|value| Choice::Socket(at, part, value)).collect());
        }
        if unreadable {
            self.add([false, true].map(|is| Choice::UnreadableSocket(at, is)).into());
        }
    }

    fn add_returned(&mut self, selectors: &[(&Hook, &Selector)], unreadable: bool) {
        let Some(ty) = self.returns else { return };
        let on_return = selectors.iter().filter_map(|(_, selector)| selector.on_return.as_ref());
        let on_return: Vec<_> = on_return.collect();
        if on_return.is_empty() || matches!(ty.class(), Class::Socket { .. } | Class::Address) {
            return;
        }
        let tests = on_return.iter().flat_map(|on_return| &on_return.args).map(|filter| &filter.test);
        let values = candidates::of_argument(ty, tests);
        let values = values.into_iter().chain(unreadable.then_some(Argument::Unreadable));
        self.add([None].into_iter().chain(values.map(Some)).map(Choice::Returned).collect());
    }

    fn add_process(&mut self, selectors: &[(&Hook, &Selector)], unreadable: bool) {
        let values = Values::of(selectors.iter().map(|(_, selector)| *selector));
        let Values { pids, own_pids, binaries, parents, namespaces, changed, capabilities, gained, .. } = &values;
        let plain = candidates::unlisted(pids.iter().chain(own_pids).copied());
        let mut asks = |what: Asked, is_asked: bool| {
            if is_asked {
                self.asked.insert(what);
            }
            is_asked
        };
        let mut all: Vec<Vec<Choice>> = Vec::new();
        if asks(Asked::Pid, !pids.is_empty()) {
            all.push([plain].into_iter().chain(pids.iter().copied()).map(Choice::Pid).collect());
        }
        if asks(Asked::OwnPid, !own_pids.is_empty()) {
            all.push([plain].into_iter().chain(own_pids.iter().copied()).map(Choice::OwnPid).collect());
        }
        if asks(Asked::Binary, !binaries.is_empty()) {
            let some = binaries.iter().cloned().map(Some);
            all.push(some.chain(unreadable.then_some(None)).map(Choice::Binary).collect());
        }
        if asks(Asked::Parent, values.asks_parents) {
            let ancestor = |pid: u32, own_pid: u32, binary: &str| Ancestor {
                pid,
                own_pid: Some(own_pid),
                binary: Some(binary.to_owned()),
            };
            let other = values.plain_binary();
            let mut list: Vec<Option<Ancestor>> = vec![None, Some(ancestor(plain, plain, &other))];
            list.extend(pids.iter().map(|pid| Some(ancestor(*pid, plain, &other))));
            list.extend(own_pids.iter().map(|pid| Some(ancestor(plain, *pid, &other))));
            list.extend(binaries.iter().chain(parents).map(|binary| Some(ancestor(plain, plain, binary))));
            if unreadable {
                list.push(Some(Ancestor { pid: plain, own_pid: Some(plain), binary: None }));
            }
            all.push(list.into_iter().map(Choice::Parent).collect());
        }
        asks(Asked::Namespaces, !namespaces.is_empty());
        for (namespace, inodes) in namespaces {
            all.push(inodes.iter().map(|inode| Choice::Namespace(*namespace, *inode)).collect());
        }
        asks(Asked::NamespacesAtExec, !changed.is_empty());
        for namespace in changed {
            let earlier = [None, Some(candidates::EARLIER)];
            all.push(earlier.map(|inode| Choice::NamespaceAtExec(*namespace, inode)).into());
        }
        asks(Asked::Capabilities, !capabilities.is_empty());
        for (set, sets) in capabilities {
            all.push(sets.iter().map(|bits| Choice::Capabilities(*set, *bits)).collect());
        }
        asks(Asked::CapabilitiesAtExec, !gained.is_empty());
        for (set, sets) in gained {
            let some = [None].into_iter().chain(sets.iter().copied().map(Some));
            all.push(some.map(|bits| Choice::CapabilitiesAtExec(*set, bits)).collect());
        }
        all.into_iter().for_each(|choices| self.add(choices));
    }

    fn add_places(&mut self, sides: &[(&ValidatedPolicy, &Hook)], unreadable: bool) {
        let workloads = sides.iter().flat_map(|(_, hook)| &hook.selectors).filter_map(|s| s.workloads.as_ref());
        let scopes: Vec<&Scope> = sides.iter().map(|(policy, _)| &policy.scope).chain(workloads).collect();
        let (places, asks_container) = places::all(&scopes, unreadable);
        if places.len() > 1 {
            self.asked.insert(Asked::Pod);
            if asks_container {
                self.asked.insert(Asked::Container);
            }
        }
        self.add(places.into_iter().map(Choice::Place).collect());
    }

    /// How much has to be said to describe it.
    pub(super) fn size(&self, choice: &[usize]) -> usize {
        let text = |(dimension, at): (usize, &usize)| {
            let chosen = self.dimensions.get(dimension).and_then(|candidates| candidates.get(*at));
            let length = match chosen {
                Some(Choice::Argument(_, Argument::Text(text))) => text.len(),
                Some(Choice::Argument(_, Argument::File { path, .. })) => path.len(),
                Some(Choice::Binary(Some(binary))) => binary.len(),
                // A process more.
                Some(Choice::Parent(Some(_))) => 16,
                Some(Choice::Place(Place::Pod { labels, .. })) => 4 + labels.len(),
                _ => 0,
            };
            length + if *at == 0 { 0 } else { 16 }
        };
        choice.iter().enumerate().map(|(dimension, at)| text((dimension, at))).sum()
    }

    /// The event of a choice; `None`: there are no such events.
    pub(super) fn event(&self, choice: &[usize]) -> Option<Event> {
        let socket = Socket {
            family: 0,
            protocol: 6,
            source: Ipv6Addr::UNSPECIFIED,
            destination: Ipv6Addr::UNSPECIFIED,
            source_port: 0,
            destination_port: 0,
            state: 1,
        };
        let plain = |arg: &Arg| match arg.ty.class() {
            Class::Socket { .. } | Class::Address => Argument::Socket(socket),
            Class::Text | Class::Path { .. } | Class::UnixAddress => Argument::Text(b"/x".to_vec()),
            _ => Argument::Number(0),
        };
        let own = Ancestor { pid: 1000, own_pid: Some(1000), binary: Some("/x".into()) };
        let process = Process { lineage: vec![own], host_namespaces: candidates::hosts(), ..Process::default() };
        let arguments = self.args.iter().map(plain).collect();
        let mut event = Event { process, arguments, returned: None };
        for (candidates, at) in self.dimensions.iter().zip(choice) {
            event.choose(candidates.get(*at)?);
        }
        event.finish().then_some(event)
    }

    /// Those of a hook, in its order.
    pub(super) fn arguments(&self, event: &Event, hook: &Hook) -> Vec<Argument> {
        let value = |arg: &Arg| {
            let at = self.args.iter().position(|known| is_of(known, arg))?;
            event.arguments.get(at).cloned()
        };
        hook.args.iter().map(|arg| value(arg).unwrap_or(Argument::Unreadable)).collect()
    }

    pub(super) fn told(&self, point: String, event: &Event, before: Verdict, after: Verdict) -> Witness {
        let parts = |at: usize| self.parts.get(&at).cloned().unwrap_or_default();
        let told = |(at, (arg, value)): (usize, (&Arg, &Argument))| Told {
            key: point::key(arg),
            ty: arg.ty,
            value: value.clone(),
            parts: parts(at),
        };
        let arguments = self.args.iter().zip(&event.arguments).enumerate().map(told).collect();
        let returned = event.returned.clone().zip(self.returns).map(|(value, ty)| Told {
            key: "returns".into(),
            ty,
            value,
            parts: BTreeSet::new(),
        });
        let (process, asked) = (event.process.clone(), self.asked.clone());
        Witness { point, process, arguments, returned, asked, before, after }
    }
}

impl Event {
    fn choose(&mut self, choice: &Choice) {
        let process = &mut self.process;
        let own = process.lineage.first_mut();
        match choice {
            Choice::Argument(at, value) => {
                self.arguments.get_mut(*at).into_iter().for_each(|argument| argument.clone_from(value));
            }
            Choice::UnreadableSocket(at, true) => {
                self.arguments.get_mut(*at).into_iter().for_each(|argument| *argument = Argument::Unreadable);
            }
            Choice::UnreadableSocket(_, false) => {}
            Choice::Socket(at, part, value) => {
                if let Some(Argument::Socket(socket)) = self.arguments.get_mut(*at) {
                    set(socket, *part, *value);
                }
            }
            Choice::Returned(value) => self.returned = value.clone(),
            Choice::Pid(pid) => own.into_iter().for_each(|own| own.pid = *pid),
            Choice::OwnPid(pid) => own.into_iter().for_each(|own| own.own_pid = Some(*pid)),
            Choice::Binary(binary) => own.into_iter().for_each(|own| own.binary.clone_from(binary)),
            Choice::Parent(parent) => process.lineage.extend(parent.clone()),
            Choice::Namespace(namespace, inode) => {
                process.namespaces.insert(*namespace, *inode);
                process.namespaces_at_exec.insert(*namespace, *inode);
            }
            Choice::NamespaceAtExec(namespace, inode) => {
                let now = *process.namespaces.entry(*namespace).or_insert(candidates::LATER);
                process.namespaces_at_exec.insert(*namespace, inode.unwrap_or(now));
            }
            Choice::Capabilities(set, bits) => {
                process.capabilities.insert(*set, Capabilities(*bits));
                process.capabilities_at_exec.insert(*set, Capabilities(*bits));
            }
            Choice::CapabilitiesAtExec(set, bits) => {
                process.capabilities_at_exec.extend(bits.map(|bits| (*set, Capabilities(bits))));
            }
            Choice::Place(place) => process.place = place.clone(),
        }
    }

    /// Fills in what follows; whether there can be such an event.
    fn finish(&mut self) -> bool {
        let sockets = self.arguments.iter_mut().filter_map(|argument| match argument {
            Argument::Socket(socket) => Some(socket),
            _ => None,
        });
        let mut can_be = true;
        for socket in sockets {
            let is_v4 = |address: Ipv6Addr| address.is_unspecified() || address.to_ipv4_mapped().is_some();
            let all_v4 = is_v4(socket.source) && is_v4(socket.destination);
            let has_none = socket.source.is_unspecified() && socket.destination.is_unspecified();
            if socket.family == 0 {
                socket.family = if all_v4 { AF_INET } else { AF_INET6 };
            }
            can_be &= match socket.family {
                AF_INET => all_v4,
                AF_INET6 => true,
                _ => has_none && socket.source_port == 0 && socket.destination_port == 0,
            };
        }
        can_be
    }
}

fn set(socket: &mut Socket, part: Part, value: u128) {
    let small = u16::try_from(value).unwrap_or_default();
    match part {
        Part::Family => socket.family = small,
        Part::Protocol => socket.protocol = small,
        Part::Source => socket.source = value.into(),
        Part::Destination => socket.destination = value.into(),
        Part::SourcePort => socket.source_port = small,
        Part::DestinationPort => socket.destination_port = small,
        Part::State => socket.state = small,
    }
}
