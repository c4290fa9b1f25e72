//! The values that are worth trying: those that filters name, their neighbours, and one that nobody names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::Part;
use crate::ir::{
    Abi, ArgTest, ArgType, BinaryFilter, Capabilities, CapabilitySet, Cidr, Class, Expression, FileType, Namespace,
    NumberRange, PortRange, Selector, StringCompare, Syscall,
};
use crate::language;
use crate::model::Argument;

/// How many values of one kind are tried, with their neighbours.
const VALUES: usize = 24;

/// The inode number of a namespace when a process is executed, and when it has left that one.
pub(super) const EARLIER: u32 = 4_026_532_001;
/// See [`EARLIER`].
pub(super) const LATER: u32 = 4_026_532_002;

/// The inode numbers of the host's own namespaces in an event that is made up: none that a kernel gives.
#[must_use]
pub fn hosts() -> BTreeMap<Namespace, u32> {
    Namespace::ALL.into_iter().zip(1..).collect()
}

/// Those that few filters name first: what all have in common tells none apart. Of equal ones, the first named.
fn rare_first<T: Ord>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut counts: BTreeMap<T, (usize, usize)> = BTreeMap::new();
    for (at, value) in values.into_iter().enumerate() {
        counts.entry(value).or_insert((0, at)).0 += 1;
    }
    let mut values: Vec<(T, (usize, usize))> = counts.into_iter().collect();
    values.sort_by_key(|(_, rank)| *rank);
    values.into_iter().map(|(value, _)| value).take(VALUES).collect()
}

/// Each once, in its order.
fn once<T: Ord + Clone>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut known = BTreeSet::new();
    values.into_iter().filter(|value| known.insert(value.clone())).collect()
}

/// The first pid from 1000 on that is not listed.
pub(super) fn unlisted(pids: impl Iterator<Item = u32>) -> u32 {
    let listed: BTreeSet<u32> = pids.collect();
    (1000..).find(|pid| !listed.contains(pid)).unwrap_or(1000)
}

/// Values of an argument; the first is the plainest.
pub(super) fn of_argument<'t>(ty: ArgType, tests: impl Iterator<Item = &'t ArgTest>) -> Vec<Argument> {
    let tests: Vec<&ArgTest> = tests.collect();
    match ty.class() {
        Class::Text | Class::UnixAddress => texts(&tests, "x").into_iter().map(Argument::Text).collect(),
        Class::Path { .. } => files(&tests),
        Class::Syscall => syscalls(&tests),
        _ => numbers(ty, &tests).into_iter().map(Argument::Number).collect(),
    }
}

fn numbers(ty: ArgType, tests: &[&ArgTest]) -> Vec<u64> {
    let (first, last) = ty.bounds().unwrap_or((i64::MIN.into(), u64::MAX.into()));
    let mut named: Vec<i128> = Vec::new();
    for test in tests {
        match test {
            ArgTest::Number(set) => named.extend(set.iter().map(|stored| ty.number(*stored))),
            ArgTest::Range(set) => {
                let ends = |range: &NumberRange| [ty.number(range.first), ty.number(range.last)];
                named.extend(set.iter().flat_map(ends));
            }
            ArgTest::Mask(mask) => {
                named.extend((0..64).map(|bit| mask & 1 << bit).filter(|bit| *bit != 0).map(i128::from));
            }
            ArgTest::Gained { .. } => named.extend([0, 1 << 21]),
            ArgTest::Expression(expression) => {
                named.extend([first, last]);
                constants(expression, &mut named);
            }
            _ => {}
        }
    }
    let named = rare_first(named);
    let plain = (0..).find(|number| !named.contains(number)).unwrap_or(0);
    let near = named.iter().flat_map(|number| [*number, number - 1, number + 1]);
    let all = once([plain].into_iter().chain(near)).into_iter().filter(|number| (first..=last).contains(number));
    // Negative numbers are stored sign-extended.
    all.filter_map(|number| u64::try_from(number).ok().or_else(|| i64::try_from(number).ok().map(i64::cast_unsigned)))
        .collect()
}

fn constants(expression: &Expression, found: &mut Vec<i128>) {
    match expression {
        Expression::Number(number) => found.push(*number),
        Expression::Truth(_) | Expression::Arg(_) => {}
        Expression::Not(of) | Expression::Cast(_, of) => constants(of, found),
        Expression::Both(left, right)
        | Expression::Either(left, right)
        | Expression::Same(left, right)
        | Expression::Compare(_, left, right)
        | Expression::Calculate(_, _, left, right) => {
            constants(left, found);
            constants(right, found);
        }
    }
}

fn syscalls(tests: &[&ArgTest]) -> Vec<Argument> {
    let mut named: Vec<(Abi, u32)> = Vec::new();
    let raw = |number: u32| if number >> 31 == 1 { (Abi::I386, number & !(1 << 31)) } else { (Abi::X64, number) };
    for test in tests {
        match test {
            ArgTest::Syscall(set) => named.extend(set.iter().filter_map(|call| match call {
                Syscall::Numbered(number) => Some(raw(*number)),
                Syscall::Named { abi, name } => {
                    let abi = abi.unwrap_or(Abi::X64);
                    Some((abi, language::syscall_number(abi, name)?))
                }
            })),
            ArgTest::Number(set) => {
                named.extend(set.iter().filter_map(|number| u32::try_from(*number).ok()).map(raw));
            }
            _ => {}
        }
    }
    let named = rare_first(named);
    let plain = (0..).find(|number| !named.contains(&(Abi::X64, *number))).unwrap_or(0);
    let other = named.iter().map(|(abi, number)| match abi {
        Abi::I386 => (Abi::X64, *number),
        Abi::X64 | Abi::Arm64 => (Abi::I386, *number),
    });
    let all = [(Abi::X64, plain)].into_iter().chain(named.iter().copied()).chain(other);
    once(all).into_iter().map(|(abi, number)| Argument::Syscall { abi, number }).collect()
}

/// `begin`: what stands before an end that is looked for.
fn texts(tests: &[&ArgTest], begin: &str) -> Vec<Vec<u8>> {
    let mut named: Vec<(StringCompare, String)> = Vec::new();
    for test in tests {
        match test {
            ArgTest::String(compare, set) => named.extend(set.iter().map(|value| (*compare, value.clone()))),
            ArgTest::Substring { ignore_case, values } => {
                let part = |value: &String| (StringCompare::Postfix, value.clone());
                named.extend(values.iter().map(part));
                named
                    .extend(values.iter().filter(|_| *ignore_case).map(|v| (StringCompare::Postfix, v.to_uppercase())));
            }
            _ => {}
        }
    }
    let plain = format!("{begin}x");
    let near = rare_first(named).into_iter().flat_map(|(compare, value)| near(compare, &value, begin));
    let all = [plain.into_bytes()].into_iter().chain(near.map(String::into_bytes));
    once(all.filter(|text| begin != "/" || text.first() == Some(&b'/')))
}

fn near(compare: StringCompare, value: &str, begin: &str) -> Vec<String> {
    let shorter: String = value.chars().take(value.chars().count().saturating_sub(1)).collect();
    let longer = format!("{value}x");
    match compare {
        StringCompare::Prefix if value.ends_with('/') => vec![longer, value.to_owned(), shorter],
        StringCompare::Prefix | StringCompare::Equal => vec![value.to_owned(), longer, shorter],
        StringCompare::Postfix => vec![format!("{begin}x{value}"), value.to_owned(), format!("{begin}x{longer}")],
    }
}

fn files(tests: &[&ArgTest]) -> Vec<Argument> {
    let paths = texts(tests, "/");
    let mut kinds: Vec<FileType> = Vec::new();
    for test in tests {
        if let ArgTest::FileType(set) = test {
            kinds.extend(set);
        }
    }
    if kinds.is_empty() {
        return paths.into_iter().map(Argument::Text).collect();
    }
    let plain = [FileType::Regular, FileType::Directory, FileType::Link, FileType::Socket, FileType::Fifo];
    let plain = plain.into_iter().find(|kind| !kinds.contains(kind)).unwrap_or(FileType::Regular);
    let kinds = once([plain].into_iter().chain(kinds));
    let of_path = |path: Vec<u8>| kinds.iter().map(move |kind| Argument::File { path: path.clone(), kind: *kind });
    paths.into_iter().flat_map(of_path).collect()
}

/// Values of the parts of a socket that are asked about. `named`: it has one address, whatever it is called.
pub(super) fn of_socket(tests: &[&ArgTest], named: bool) -> BTreeMap<Part, Vec<u128>> {
    let mut found: BTreeMap<Part, Vec<u128>> = BTreeMap::new();
    for test in tests {
        let small = |set: &BTreeSet<u16>| set.iter().map(|value| u128::from(*value)).collect::<Vec<_>>();
        let (part, values) = match test {
            ArgTest::SourceAddress(set) if !named => (Part::Source, addresses(set)),
            ArgTest::SourceAddress(set) | ArgTest::DestinationAddress(set) => (Part::Destination, addresses(set)),
            ArgTest::SourcePort(set) if !named => (Part::SourcePort, ports(set)),
            ArgTest::SourcePort(set) | ArgTest::DestinationPort(set) => (Part::DestinationPort, ports(set)),
            ArgTest::Family(set) => (Part::Family, small(set)),
            ArgTest::Protocol(set) => (Part::Protocol, small(set)),
            ArgTest::State(set) => (Part::State, small(set)),
            _ => continue,
        };
        found.entry(part).or_default().extend(values);
    }
    for (part, values) in &mut found {
        let plain: &[u128] = match part {
            // What the addresses say; Unix.
            Part::Family => &[0, 1],
            Part::Protocol => &[6, 17],
            Part::State => &[1, 2],
            Part::Source | Part::Destination => {
                &[Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().to_bits(), 0x2001_0db8 << 96 | 1]
            }
            Part::SourcePort | Part::DestinationPort => &[40_000, 0],
        };
        *values = once(plain.iter().copied().chain(rare_first(std::mem::take(values))));
    }
    found
}

fn addresses(set: &BTreeSet<Cidr>) -> Vec<u128> {
    let ends = |cidr: &Cidr| {
        let first = u128::from(cidr.address);
        let last = first | u128::MAX.checked_shr(cidr.length.into()).unwrap_or(0);
        [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
    };
    set.iter().flat_map(ends).collect()
}

fn ports(set: &BTreeSet<PortRange>) -> Vec<u128> {
    let ends =
        |range: &PortRange| [range.first, range.last, range.first.saturating_sub(1), range.last.saturating_add(1)];
    set.iter().flat_map(ends).map(u128::from).collect()
}

/// What is asked about processes.
#[derive(Debug, Default)]
pub(super) struct Values {
    pub(super) pids: Vec<u32>,
    pub(super) own_pids: Vec<u32>,
    /// Paths of the process's own executable; empty: nobody asks.
    pub(super) binaries: Vec<String>,
    /// Of its parent's.
    pub(super) parents: Vec<String>,
    pub(super) asks_parents: bool,
    pub(super) namespaces: BTreeMap<Namespace, Vec<u32>>,
    pub(super) changed: BTreeSet<Namespace>,
    pub(super) capabilities: BTreeMap<CapabilitySet, Vec<u64>>,
    pub(super) gained: BTreeMap<CapabilitySet, Vec<u64>>,
}

impl Values {
    pub(super) fn of<'s>(selectors: impl Iterator<Item = &'s Selector> + Clone) -> Self {
        let mut values = Self::default();
        let pids = selectors.clone().flat_map(|selector| &selector.pids);
        let of_kind = |own: bool| {
            let pids = pids.clone().filter(move |filter| filter.namespace_pid == own);
            rare_first(pids.flat_map(|filter| filter.pids.iter().copied()))
        };
        (values.pids, values.own_pids) = (of_kind(false), of_kind(true));
        let own = selectors.clone().flat_map(|selector| &selector.binaries);
        let parents = selectors.clone().flat_map(|selector| &selector.parent_binaries);
        values.asks_parents = pids.clone().any(|filter| filter.follow_forks)
            || own.clone().any(|filter| filter.follow_children)
            || parents.clone().next().is_some();
        (values.binaries, values.parents) = (binaries(own), binaries(parents));
        for selector in selectors {
            values.add_namespaces(selector);
            values.add_capabilities(selector);
        }
        values
    }

    fn add_namespaces(&mut self, selector: &Selector) {
        let host = hosts();
        let of_users = selector.capabilities.iter().any(|filter| filter.in_namespace)
            || selector.capability_changes.iter().any(|filter| filter.in_namespace);
        let none = BTreeSet::new();
        let asked = selector.namespaces.iter().map(|filter| (filter.namespace, &filter.inodes));
        for (namespace, inodes) in asked.chain(of_users.then_some((Namespace::User, &none))) {
            let known = self.namespaces.entry(namespace).or_default();
            if known.is_empty() {
                known.extend([EARLIER, host.get(&namespace).copied().unwrap_or(1)]);
            }
            known.extend(inodes.iter().take(VALUES));
            *known = once(std::mem::take(known));
        }
        self.changed.extend(selector.namespace_changes.iter().flat_map(|filter| &filter.namespaces));
    }

    fn add_capabilities(&mut self, selector: &Selector) {
        let own = selector.capabilities.iter().map(|filter| (filter.set, filter.capabilities, false));
        let changes = selector.capability_changes.iter().map(|filter| (filter.set, filter.capabilities, true));
        for (set, Capabilities(listed), is_change) in own.chain(changes) {
            let bits = (0..64).map(|bit| 1 << bit).filter(|bit| listed & bit != 0);
            let sets: Vec<u64> = [0].into_iter().chain(bits).collect();
            self.capabilities.entry(set).or_default().extend(&sets);
            if is_change {
                self.gained.entry(set).or_default().extend(&sets);
            }
        }
        let all = self.capabilities.values_mut().chain(self.gained.values_mut());
        all.for_each(|sets| *sets = once(std::mem::take(sets)));
    }

    /// An executable that nobody names.
    pub(super) fn plain_binary(&self) -> String {
        let named = |path: &String| self.binaries.contains(path) || self.parents.contains(path);
        ["/bin/a", "/bin/b", "/opt/c"].map(str::to_owned).into_iter().find(|path| !named(path)).unwrap_or_default()
    }
}

fn binaries<'f>(filters: impl Iterator<Item = &'f BinaryFilter>) -> Vec<String> {
    let named =
        rare_first(filters.flat_map(|filter| filter.values.iter().map(|value| (filter.compare, value.clone()))));
    if named.is_empty() {
        return Vec::new();
    }
    let near = named.iter().flat_map(|(compare, value)| near(*compare, value, "/"));
    once(["/bin/a".to_owned()].into_iter().chain(near.filter(|path| path.starts_with('/'))))
}
