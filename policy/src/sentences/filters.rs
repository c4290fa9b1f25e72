//! What a selector asks, in words.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use super::{argument, list, scope};
use crate::ir::{
    ArgFilter, ArgTest, BinaryFilter, Capabilities, Cidr, FileType, Hook, Namespace, NamespaceFilter, NumberRange,
    PidFilter, PortRange, Selector, StringCompare, Syscall,
};
use crate::language;

/// Every filter of a selector, as a clause.
pub(super) fn all(hook: &Hook, selector: &Selector) -> Vec<String> {
    let mut clauses: Vec<String> = selector.pids.iter().map(pids).collect();
    clauses.extend(selector.binaries.iter().map(|filter| binaries("its executable", filter)));
    clauses.extend(selector.parent_binaries.iter().map(|filter| binaries("its parent's executable", filter)));
    clauses.extend(selector.namespaces.iter().map(namespaces));
    for filter in &selector.namespace_changes {
        let which = list(filter.namespaces.iter().map(|namespace| format!("{namespace:?}")), "or");
        let changed = if filter.negated { "have not changed" } else { "have changed" };
        clauses.push(format!("its namespaces {which} {changed} since it was executed"));
    }
    for filter in &selector.capabilities {
        let has = if filter.negated { "has none of" } else { "has" };
        let place = if filter.in_namespace { " in a user namespace of its own" } else { "" };
        clauses.push(format!("it {has} {} ({:?}){place}", capabilities(filter.capabilities), filter.set));
    }
    for filter in &selector.capability_changes {
        let changed = if filter.negated { "has neither gained nor lost" } else { "has gained or lost" };
        clauses.push(format!(
            "it {changed} {} ({:?}) since it was executed",
            capabilities(filter.capabilities),
            filter.set
        ));
    }
    clauses.extend(selector.workloads.iter().map(|workloads| format!("it is one of {}", scope(workloads))));
    clauses.extend(selector.args.iter().map(|filter| of_value(&argument(hook, filter.arg), hook, filter)));
    clauses
}

fn pids(filter: &PidFilter) -> String {
    let PidFilter { negated, pids, follow_forks, namespace_pid } = filter;
    let numbers = if *namespace_pid { "in its own pid namespace" } else { "on the node" };
    let is = if *negated { "is not" } else { "is" };
    let descends = match (follow_forks, negated) {
        (false, _) => "",
        (true, false) => " or descends from it",
        (true, true) => " and does not descend from it",
    };
    format!("the process {is} pid {} {numbers}{descends}", list(pids.iter().map(u32::to_string), "or"))
}

fn compares(compare: StringCompare, negated: bool) -> &'static str {
    match (compare, negated) {
        (StringCompare::Equal, false) => "is",
        (StringCompare::Equal, true) => "is not",
        (StringCompare::Prefix, false) => "begins with",
        (StringCompare::Prefix, true) => "does not begin with",
        (StringCompare::Postfix, false) => "ends with",
        (StringCompare::Postfix, true) => "does not end with",
    }
}

fn binaries(whose: &str, filter: &BinaryFilter) -> String {
    let BinaryFilter { compare, negated, values, follow_children } = filter;
    let whose =
        if *follow_children { format!("{whose} or that of a process it descends from") } else { whose.to_owned() };
    format!("{whose} {} {}", compares(*compare, *negated), list(values.iter().cloned(), "or"))
}

fn namespaces(filter: &NamespaceFilter) -> String {
    let NamespaceFilter { namespace, negated, inodes, host } = filter;
    let is = if *negated { "is not" } else { "is" };
    let host = host.then(|| "the host's".to_owned());
    let name = match namespace {
        Namespace::PidForChildren => "pid namespace for children".to_owned(),
        Namespace::TimeForChildren => "time namespace for children".to_owned(),
        other => format!("{} namespace", format!("{other:?}").to_lowercase()),
    };
    format!("its {name} {is} {}", list(host.into_iter().chain(inodes.iter().map(u32::to_string)), "or"))
}

fn capabilities(Capabilities(bits): Capabilities) -> String {
    let names = language::CAPABILITIES.iter().zip(0..).filter(|(_, bit)| bits >> bit & 1 == 1);
    list(names.map(|(name, _)| (*name).to_owned()), "or")
}

/// A filter on `name`.
pub(super) fn of_value(name: &str, hook: &Hook, filter: &ArgFilter) -> String {
    let is = if filter.negated { "is not" } else { "is" };
    let number = |stored: u64| {
        let ty = hook.args.get(filter.arg).map(|arg| arg.ty);
        ty.map_or_else(|| stored.to_string(), |ty| ty.number(stored).to_string())
    };
    let small = |set: &BTreeSet<u16>, names: &[(&'static str, u16)]| {
        let name = |value: &u16| {
            names
                .iter()
                .find(|(_, number)| number == value)
                .map_or_else(|| value.to_string(), |(name, _)| (*name).into())
        };
        list(set.iter().map(name), "or")
    };
    match &filter.test {
        ArgTest::Number(set) => format!("{name} {is} {}", list(set.iter().map(|value| number(*value)), "or")),
        ArgTest::Range(set) => {
            let range = |range: &NumberRange| format!("{} to {}", number(range.first), number(range.last));
            format!("{name} {is} {}", list(set.iter().map(range), "or"))
        }
        ArgTest::Mask(mask) => format!("{name} has one of the bits {mask:#x}"),
        ArgTest::Syscall(set) => {
            let call = |call: &Syscall| match call {
                Syscall::Named { abi: None, name } => name.clone(),
                Syscall::Named { abi: Some(abi), name } => format!("{name} ({abi:?})"),
                Syscall::Numbered(number) => number.to_string(),
            };
            format!("{name} {is} {}", list(set.iter().map(call), "or"))
        }
        ArgTest::Gained { new } => format!("{} has a capability that {name} lacks", argument(hook, *new)),
        ArgTest::String(compare, values) => {
            format!("{name} {} {}", compares(*compare, filter.negated), list(values.iter().map(|v| shown(v)), "or"))
        }
        ArgTest::Substring { ignore_case, values } => {
            let case = if *ignore_case { " (in either case)" } else { "" };
            format!("{name} has {} in it{case}", list(values.iter().map(|v| shown(v)), "or"))
        }
        ArgTest::FileType(types) => {
            format!("{name} {is} a {}", list(types.iter().map(|ty: &FileType| format!("{ty:?}").to_lowercase()), "or"))
        }
        ArgTest::SourceAddress(set) => format!("the local address of {name} {is} in {}", cidrs(set)),
        ArgTest::DestinationAddress(set) => format!("the remote address of {name} {is} in {}", cidrs(set)),
        ArgTest::SourcePort(set) => format!("the local port of {name} {is} {}", ports(set)),
        ArgTest::DestinationPort(set) => format!("the remote port of {name} {is} {}", ports(set)),
        ArgTest::Family(set) => format!("the family of {name} {is} {}", small(set, &crate::validate::FAMILIES)),
        ArgTest::Protocol(set) => format!("the protocol of {name} {is} {}", small(set, &crate::validate::PROTOCOLS)),
        ArgTest::State(set) => format!("the state of {name} {is} {}", small(set, &language::TCP_STATES)),
        ArgTest::Expression(expression) => {
            let args = list(expression.args().into_iter().map(|at| argument(hook, at)), "and");
            format!("the expression over {args} is true")
        }
    }
}

/// A value that could be taken for a word of the sentence is quoted.
fn shown(value: &str) -> String {
    let plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic()) && value.contains('/');
    if plain { value.to_owned() } else { format!("{value:?}") }
}

fn cidrs(set: &BTreeSet<Cidr>) -> String {
    let cidr = |cidr: &Cidr| match cidr.address.to_ipv4_mapped().filter(|_| cidr.length >= 96) {
        Some(address) if cidr.length == 128 => address.to_string(),
        Some(address) => format!("{address}/{}", cidr.length - 96),
        None if cidr.length == 128 => cidr.address.to_string(),
        None => format!("{}/{}", Ipv6Addr::from(u128::from(cidr.address)), cidr.length),
    };
    list(set.iter().map(cidr), "or")
}

fn ports(set: &BTreeSet<PortRange>) -> String {
    let range = |range: &PortRange| {
        if range.first == range.last { range.first.to_string() } else { format!("{} to {}", range.first, range.last) }
    };
    list(set.iter().map(range), "or")
}
