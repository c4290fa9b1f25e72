//! `matchArgs`: filters on what the hook reads.

use super::addresses;
use super::hook::Args;
use super::node::Node;
use super::numbers;
use super::ports;
use super::ranges::Ranges;
use super::report::Report;
use super::selector::MAX_ENTRIES;
use super::strings::{self, Kind};
use super::well_known::{self, Unset};
use crate::fault::codes;
use crate::ir::{ArgFilter, ArgTest, ArgType, HookPoint, PortRange, StringCompare};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

pub(super) fn read(selector: &Node<'_>, point: &HookPoint, args: &Args, report: &mut Report) -> Vec<ArgFilter> {
    let mut filters: Vec<ArgFilter> = selector
        .list("matchArgs")
        .iter()
        .take(MAX_ENTRIES)
        .filter_map(|node| read_one(node, point, args, report))
        .collect();
    filters.sort_unstable();
    filters.dedup();
    for (position, arg) in args.read.iter().enumerate() {
        let of_arg: Vec<&ArgFilter> = filters.iter().filter(|filter| filter.arg == position).collect();
        check_together(&of_arg, arg.index, &selector.path_of("matchArgs"), report);
    }
    if !well_known::is_about_ip(point) {
        let implied: Vec<ArgFilter> =
            (0..args.read.len()).filter(|arg| needs_ip(&filters, *arg)).map(ip_sockets).collect();
        filters.extend(implied);
        filters.sort_unstable();
    }
    filters
}

/// Whether a filter on an argument is about an address or a port, and none says already that the socket has them.
fn needs_ip(filters: &[ArgFilter], arg: usize) -> bool {
    let mut of_arg = filters.iter().filter(|filter| filter.arg == arg);
    let is_ip = |filter: &ArgFilter| matches!(&filter.test, ArgTest::Family(set) if set.iter().all(|f| [AF_INET, AF_INET6].contains(f)));
    of_arg.clone().any(|filter| is_ip_test(&filter.test)) && !of_arg.any(is_ip)
}

const fn is_ip_test(test: &ArgTest) -> bool {
    match test {
        ArgTest::SourceAddress(_)
        | ArgTest::DestinationAddress(_)
        | ArgTest::SourcePort(_)
        | ArgTest::DestinationPort(_) => true,
        ArgTest::Number(_) | ArgTest::String(..) | ArgTest::Family(_) | ArgTest::Protocol(_) => false,
    }
}

/// A filter on addresses or ports is about sockets that have them, negated or not: `NotDAddr 10.0.0.0/8` is no reason to
/// refuse a connection to a Unix socket.
fn ip_sockets(arg: usize) -> ArgFilter {
    ArgFilter { arg, test: ArgTest::Family([AF_INET, AF_INET6].into()), negated: false }
}

fn read_one(node: &Node<'_>, point: &HookPoint, args: &Args, report: &mut Report) -> Option<ArgFilter> {
    let index = match node.field("index") {
        None => 0,
        Some(index) => u32::try_from(index.integer()?).ok()?,
    };
    let Some((position, arg)) = args.read.iter().enumerate().find(|(_, arg)| arg.index == index) else {
        if node.is_object() && !args.unclear && !args.listed.contains(&index) {
            let what = format!("argument {index} is not read");
            report.fault(
                node.path_of("index"),
                codes::ARG_NOT_READ,
                what,
                format!("list index {index} in args of the hook"),
            );
        }
        return None;
    };
    let (test, negated) = test(node, arg.ty, report)?;
    if arg.ty == ArgType::Sock {
        warn_not_yet(node, point, &test, report);
    }
    Some(ArgFilter { arg: position, test, negated })
}

/// A socket that is being connected does not have its remote address yet, one that is being bound not its local one.
fn warn_not_yet(node: &Node<'_>, point: &HookPoint, test: &ArgTest, report: &mut Report) {
    let about = match test {
        ArgTest::SourceAddress(_) | ArgTest::SourcePort(_) => Unset::Local,
        ArgTest::DestinationAddress(_) | ArgTest::DestinationPort(_) => Unset::Remote,
        ArgTest::Number(_) | ArgTest::String(..) | ArgTest::Family(_) | ArgTest::Protocol(_) => return,
    };
    if well_known::unset(point) == Some(about) {
        let operator = node.text_of("operator");
        let what = format!("{} runs before the socket has what {operator} compares", well_known::name(point));
        let help = "read the sockaddr beside it (argument 1) and compare that";
        report.warn(node.path_of("operator"), codes::ADDR_NOT_YET, what, help);
    }
}

/// What an operator compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Value,
    Compare(StringCompare),
    Address(Side),
    Port(Side),
    Privileged(Side),
    Family,
    Protocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

fn operator(name: &str) -> Option<(Subject, bool)> {
    use Side::{Destination, Source};
    Some(match name {
        "Equal" => (Subject::Value, false),
        "NotEqual" => (Subject::Value, true),
        "Prefix" => (Subject::Compare(StringCompare::Prefix), false),
        "NotPrefix" => (Subject::Compare(StringCompare::Prefix), true),
        "Postfix" => (Subject::Compare(StringCompare::Postfix), false),
        "NotPostfix" => (Subject::Compare(StringCompare::Postfix), true),
        "SAddr" => (Subject::Address(Source), false),
        "NotSAddr" => (Subject::Address(Source), true),
        "DAddr" => (Subject::Address(Destination), false),
        "NotDAddr" => (Subject::Address(Destination), true),
        "SPort" => (Subject::Port(Source), false),
        "NotSPort" => (Subject::Port(Source), true),
        "DPort" => (Subject::Port(Destination), false),
        "NotDPort" => (Subject::Port(Destination), true),
        "SPortPriv" => (Subject::Privileged(Source), false),
        "NotSportPriv" => (Subject::Privileged(Source), true),
        "DPortPriv" => (Subject::Privileged(Destination), false),
        "NotDPortPriv" => (Subject::Privileged(Destination), true),
        "Family" => (Subject::Family, false),
        "Protocol" => (Subject::Protocol, false),
        _ => return None,
    })
}

fn test(node: &Node<'_>, ty: ArgType, report: &mut Report) -> Option<(ArgTest, bool)> {
    let (subject, negated) = operator(node.text_of("operator"))?;
    let kind = match ty {
        ArgType::String => Kind::Text,
        _ => Kind::Path,
    };
    // A sockaddr holds one address: whether it is the source or the destination depends on the hook, not on the filter.
    let side = |side: Side| if ty == ArgType::Sockaddr { Side::Destination } else { side };
    let test = match (subject, ty) {
        (Subject::Value, ArgType::Int | ArgType::Uint32 | ArgType::SizeT) => {
            ArgTest::Number(numbers::values(node, ty, report))
        }
        (Subject::Value, _) if is_text(ty) => {
            let values = strings::values(node, StringCompare::Equal, negated, kind, report);
            ArgTest::String(StringCompare::Equal, values)
        }
        (Subject::Compare(compare), _) if is_text(ty) => {
            ArgTest::String(compare, strings::values(node, compare, negated, kind, report))
        }
        (Subject::Address(written), ArgType::Sock | ArgType::Sockaddr) => {
            let values = addresses::values(node, negated, report);
            match side(written) {
                Side::Source => ArgTest::SourceAddress(values),
                Side::Destination => ArgTest::DestinationAddress(values),
            }
        }
        (Subject::Port(written), ArgType::Sock | ArgType::Sockaddr) => {
            port_test(side(written), ports::values(node, negated, report))
        }
        (Subject::Privileged(written), ArgType::Sock | ArgType::Sockaddr) => {
            no_values(node, report);
            port_test(side(written), [ports::PRIVILEGED].into())
        }
        (Subject::Family, ArgType::Sock | ArgType::Sockaddr) => ArgTest::Family(numbers::families(node, report)),
        (Subject::Protocol, ArgType::Sock) => ArgTest::Protocol(numbers::protocols(node, report)),
        _ => {
            wrong_operator(node, ty, report);
            return None;
        }
    };
    Some((test, negated))
}

fn port_test(side: Side, values: std::collections::BTreeSet<PortRange>) -> ArgTest {
    match side {
        Side::Source => ArgTest::SourcePort(values),
        Side::Destination => ArgTest::DestinationPort(values),
    }
}

const fn is_text(ty: ArgType) -> bool {
    matches!(ty, ArgType::String | ArgType::File | ArgType::Path | ArgType::LinuxBinprm)
}

fn no_values(node: &Node<'_>, report: &mut Report) {
    if !node.list("values").is_empty() {
        let what = format!("{} takes no values", node.text_of("operator"));
        report.fault(node.path_of("values"), codes::VALUES_UNUSED, what, "remove them, or use SPort or DPort");
    }
}

fn wrong_operator(node: &Node<'_>, ty: ArgType, report: &mut Report) {
    let what = format!("{} cannot be evaluated on an argument of type {}", node.text_of("operator"), type_name(ty));
    let help = match ty {
        ArgType::Int | ArgType::Uint32 | ArgType::SizeT => "use Equal or NotEqual",
        ArgType::Sock => "use an address, port, Family or Protocol operator",
        ArgType::Sockaddr => "use an address, port or Family operator",
        _ => "use Equal, Prefix, Postfix or their negations",
    };
    report.fault(node.path_of("operator"), codes::OPERATOR_ON_TYPE, what, help);
}

/// The name of a type in a document.
pub(super) const fn type_name(ty: ArgType) -> &'static str {
    match ty {
        ArgType::Int => "int",
        ArgType::Uint32 => "uint32",
        ArgType::SizeT => "size_t",
        ArgType::String => "string",
        ArgType::File => "file",
        ArgType::Path => "path",
        ArgType::LinuxBinprm => "linux_binprm",
        ArgType::Sock => "sock",
        ArgType::Sockaddr => "sockaddr",
    }
}

/// Whether the filters on one argument exclude each other.
fn check_together(filters: &[&ArgFilter], index: u32, path: &str, report: &mut Report) {
    if filters.len() < 2 {
        return;
    }
    let mut never = |code, what: &str| {
        let what = format!("the filters on argument {index} {what}");
        report.fault(path, code, what, "remove one of them");
    };
    let numbers = sets(filters, |test| match test {
        ArgTest::Number(set) => Some(Ranges::new(set.iter().map(|number| (u128::from(*number), u128::from(*number))))),
        _ => None,
    });
    let of_small =
        |set: &std::collections::BTreeSet<u16>| Ranges::new(set.iter().map(|n| (u128::from(*n), u128::from(*n))));
    let families = sets(filters, |test| match test {
        ArgTest::Family(set) => Some(of_small(set)),
        _ => None,
    });
    let protocols = sets(filters, |test| match test {
        ArgTest::Protocol(set) => Some(of_small(set)),
        _ => None,
    });
    if left(&numbers, (0, u64::MAX.into())).is_empty() {
        never(codes::FILTER_NEVER, "leave no number");
    }
    if left(&families, (0, u16::MAX.into())).is_empty() {
        never(codes::FILTER_NEVER, "leave no address family");
    }
    if left(&protocols, (0, u16::MAX.into())).is_empty() {
        never(codes::FILTER_NEVER, "leave no protocol");
    }
    let texts: Vec<_> = filters.iter().filter_map(|filter| text_test(filter)).collect();
    if let Some(what) = strings::never(&texts) {
        never(codes::FILTER_NEVER, &format!("leave no string: {what}"));
    }
    for source in [true, false] {
        check_ports(filters, source, &mut never);
        check_addresses(filters, source, &families, &mut never);
    }
}

fn text_test(filter: &ArgFilter) -> Option<strings::Test<'_>> {
    match &filter.test {
        ArgTest::String(compare, values) => Some(strings::Test { compare: *compare, negated: filter.negated, values }),
        _ => None,
    }
}

fn check_ports(filters: &[&ArgFilter], source: bool, never: &mut impl FnMut(&'static str, &str)) {
    let ports = sets(filters, |test| match test {
        ArgTest::SourcePort(set) if source => Some(port_ranges(set)),
        ArgTest::DestinationPort(set) if !source => Some(port_ranges(set)),
        _ => None,
    });
    if left(&ports, (0, u16::MAX.into())).is_empty() {
        never(codes::PORT_NEVER, "leave no port");
    }
}

fn port_ranges(set: &std::collections::BTreeSet<PortRange>) -> Ranges {
    Ranges::new(set.iter().map(|range| (range.first.into(), range.last.into())))
}

fn check_addresses(
    filters: &[&ArgFilter],
    source: bool,
    families: &[(bool, Ranges)],
    never: &mut impl FnMut(&'static str, &str),
) {
    let addresses = sets(filters, |test| match test {
        ArgTest::SourceAddress(set) if source => Some(addresses::to_ranges(set)),
        ArgTest::DestinationAddress(set) if !source => Some(addresses::to_ranges(set)),
        _ => None,
    });
    if addresses.is_empty() {
        return;
    }
    let addresses = left(&addresses, (0, u128::MAX));
    if addresses.is_empty() {
        never(codes::ADDR_NEVER, "leave no address");
        return;
    }
    let families = left(families, (0, u16::MAX.into()));
    let has = |family: u16| families.contains_all(&Ranges::new([(family.into(), family.into())]));
    // An AF_INET6 socket has native and mapped addresses, an AF_INET socket only IPv4, any other has none.
    let ipv4_only = has(AF_INET) && !has(AF_INET6);
    let reachable = has(AF_INET6) || (ipv4_only && !addresses.intersection(&Ranges::new([addresses::IPV4])).is_empty());
    if !families.is_empty() && !reachable {
        never(codes::ADDR_FAMILY_NEVER, "exclude each other: no socket of that Family has such an address");
    }
}

/// The sets that `pick` takes from the filters, with whether they are excluded.
fn sets(filters: &[&ArgFilter], pick: impl Fn(&ArgTest) -> Option<Ranges>) -> Vec<(bool, Ranges)> {
    filters
        .iter()
        .filter_map(|filter| Some((filter.negated, pick(&filter.test)?)))
        .filter(|(_, set)| !set.is_empty())
        .collect()
}

/// What satisfies all of `sets`.
fn left(sets: &[(bool, Ranges)], universe: (u128, u128)) -> Ranges {
    let mut left = Ranges::new([universe]);
    for (negated, set) in sets {
        left = if *negated { left.without(set) } else { left.intersection(set) };
    }
    left
}
