//! `matchArgs`, `matchData` and `matchReturnArgs`: filters on what the hook reads.

use std::collections::BTreeSet;

use super::arguments::Args;
use super::macros::Merged;
use super::node::Node;
use super::ports;
use super::report::Report;
use super::selector::Place;
use super::spec::Surroundings;
use super::strings::{self, Kind};
use super::well_known::{self, Unset};
use super::{addresses, exclusions, expression, joint, numbers, together};
use crate::engine::{Feature, TestKind};
use crate::fault::codes;
use crate::ir::{Arg, ArgFilter, ArgTest, ArgType, Class, PortRange, Reading, StringCompare};
use crate::language::limits::MAX_ENTRIES;
use crate::language::{self, OPERATORS, Operator, Side, Subject};

pub(super) const AF_UNIX: u16 = 1;
pub(super) const AF_INET: u16 = 2;
pub(super) const AF_INET6: u16 = 10;

/// Where the reader of a filter finds what it is about.
#[derive(Clone, Copy)]
enum List {
    /// `matchArgs`: `index` is that of the function, `args` a position in `args`.
    Args,
    /// `matchData`: both are positions in `data`.
    Data,
    /// `matchReturnArgs`: both are 0.
    Returned,
}

pub(super) fn read(
    selector: &Merged<'_>,
    place: &Place<'_>,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Vec<ArgFilter> {
    let mut filters = Vec::new();
    for (field, list) in [("matchArgs", List::Args), ("matchData", List::Data)] {
        for node in selector.list(field).iter().take(MAX_ENTRIES) {
            filters.extend(read_one(node, list, place, place.args, surroundings, report));
        }
    }
    filters.sort_unstable();
    filters.dedup();
    let before = report.count();
    for (position, arg) in place.args.read.iter().enumerate() {
        let of_arg: Vec<&ArgFilter> =
            filters.iter().filter(|filter| filter.arg == position && joint::is_about_one(&filter.test)).collect();
        let path = selector.path_of(if arg.is_data() { "matchData" } else { "matchArgs" });
        together::check(&of_arg, arg, &path, report);
        warn_implied(&of_arg, position, &path, report);
    }
    if report.count() == before
        && let Some(what) = joint::never(&filters, &place.args.read)
    {
        report.fault(selector.path_of("matchArgs"), codes::FILTER_NEVER, what, "remove one of them");
    }
    let mut filters = exclusions::joined(filters, merged);
    let about_ip = !place.points.is_empty() && place.points.iter().all(well_known::is_about_ip);
    if !about_ip {
        let implied: Vec<ArgFilter> =
            (0..place.args.read.len()).filter(|arg| needs_ip(&filters, *arg)).map(ip_sockets).collect();
        filters.extend(implied);
        filters.sort_unstable();
    }
    filters
}

/// `matchReturnArgs`: filters on the one value that a function returns.
pub(super) fn read_returned(
    selector: &Merged<'_>,
    place: &Place<'_>,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Vec<ArgFilter> {
    let Some(ty) = place.returns else { return Vec::new() };
    let value = Arg { index: 0, ty, label: String::new(), reading: Reading::default() };
    let args = Args { read: vec![value.clone()], written: 1, listed: [0].into(), ..Args::default() };
    let nodes = selector.list("matchReturnArgs");
    let mut filters: Vec<ArgFilter> = nodes
        .iter()
        .take(MAX_ENTRIES)
        .filter_map(|node| read_one(node, List::Returned, place, &args, surroundings, report))
        .collect();
    filters.sort_unstable();
    filters.dedup();
    let all: Vec<&ArgFilter> = filters.iter().collect();
    let path = selector.path_of("matchReturnArgs");
    let before = report.count();
    together::check(&all, &value, &path, report);
    if report.count() == before
        && let Some(what) = joint::never(&filters, &args.read)
    {
        report.fault(path, codes::FILTER_NEVER, what, "remove one of them");
    }
    exclusions::joined(filters, merged)
}

/// One filter that excludes what two exclude.
fn merged(one: &ArgFilter, other: &ArgFilter) -> Option<ArgFilter> {
    if !one.negated || !other.negated || one.arg != other.arg {
        return None;
    }
    let test = match (&one.test, &other.test) {
        (ArgTest::String(compare, left), ArgTest::String(own, right)) if compare == own => {
            ArgTest::String(*compare, strings::minimal(&(left | right), *compare))
        }
        (ArgTest::FileType(left), ArgTest::FileType(right)) => ArgTest::FileType(left | right),
        (ArgTest::Syscall(left), ArgTest::Syscall(right)) => ArgTest::Syscall(left | right),
        (ArgTest::SourceAddress(left), ArgTest::SourceAddress(right)) => {
            ArgTest::SourceAddress(addresses::union(left, right))
        }
        (ArgTest::DestinationAddress(left), ArgTest::DestinationAddress(right)) => {
            ArgTest::DestinationAddress(addresses::union(left, right))
        }
        (ArgTest::SourcePort(left), ArgTest::SourcePort(right)) => ArgTest::SourcePort(ports::union(left, right)),
        (ArgTest::DestinationPort(left), ArgTest::DestinationPort(right)) => {
            ArgTest::DestinationPort(ports::union(left, right))
        }
        (left, right) => numbers::union(left, right)?,
    };
    Some(ArgFilter { test, ..one.clone() })
}

/// Whether a filter on an argument is about an address or a port, and none says already that the socket has them.
fn needs_ip(filters: &[ArgFilter], arg: usize) -> bool {
    let mut of_arg = filters.iter().filter(|filter| filter.arg == arg);
    let is_ip = |filter: &ArgFilter| matches!(&filter.test, ArgTest::Family(set) if set.iter().all(|f| [AF_INET, AF_INET6].contains(f)));
    of_arg.clone().any(|filter| is_ip_test(&filter.test)) && !of_arg.any(is_ip)
}

const fn is_ip_test(test: &ArgTest) -> bool {
    matches!(
        test,
        ArgTest::SourceAddress(_)
            | ArgTest::DestinationAddress(_)
            | ArgTest::SourcePort(_)
            | ArgTest::DestinationPort(_)
    )
}

/// A filter on addresses or ports is about sockets that have them, negated or not: `NotDAddr 10.0.0.0/8` is no reason to
/// refuse a connection to a Unix socket.
fn ip_sockets(arg: usize) -> ArgFilter {
    ArgFilter { arg, test: ArgTest::Family([AF_INET, AF_INET6].into()), negated: false }
}

fn warn_implied(filters: &[&ArgFilter], arg: usize, path: &str, report: &mut Report) {
    if filters.iter().any(|filter| is_ip_test(&filter.test)) && filters.contains(&&ip_sockets(arg)) {
        let what = "Family lists both families that have addresses and ports, which another filter asks for anyway";
        report.warn(path, codes::FAMILY_IMPLIED, what, "remove Family, or list one of them");
    }
}

fn read_one(
    node: &Node<'_>,
    list: List,
    place: &Place<'_>,
    args: &Args,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Option<ArgFilter> {
    let Operator { subject, negated, .. } = language::operator(node.text_of("operator"))?;
    let path = node.path_of("operator");
    let filter = match subject {
        Subject::Expression => {
            let own: Vec<Arg> = args.read.iter().filter(|arg| !arg.is_data()).cloned().collect();
            no_reference(node, report);
            // What was not understood would be missed by its number.
            if own.len() < args.written {
                return None;
            }
            let test = ArgTest::Expression(
                one_text(node, report).and_then(|(text, path)| expression::read(&text, &path, &own, report))?,
            );
            ArgFilter { arg: 0, test, negated: false }
        }
        Subject::Gained => gained(node, list, args, report)?,
        subject => {
            let position = position(node, list, args, report)?;
            let arg = args.read.get(position)?;
            let test = test(node, subject, negated, arg, surroundings, report)?;
            if arg.ty == ArgType::Sock {
                warn_not_yet(node, place, &test, report);
            }
            ArgFilter { arg: position, test, negated }
        }
    };
    report.needs(path, Feature::Test(TestKind::of(&filter.test)));
    Some(filter)
}

/// The position in [`Args::read`] of what the filter is about.
fn position(node: &Node<'_>, list: List, args: &Args, report: &mut Report) -> Option<usize> {
    let own = args.read.len() - args.data;
    let positions = node.list("args");
    if !positions.is_empty() {
        if node.said("index").is_some() {
            let what = "index and args both say which argument is meant";
            report.fault(node.path_of("args"), codes::ARG_REFERENCE, what, "keep one of them");
        }
        if positions.len() > 1 {
            let what = format!("{} compares one argument", node.text_of("operator"));
            report.fault(node.path_of("args"), codes::ARG_REFERENCE, what, "write a filter for each");
            return None;
        }
        let written = positions.first()?;
        return nth(usize::try_from(written.integer()?).ok()?, list, args, written.path(), report);
    }
    let index = match node.field("index") {
        None => 0,
        Some(index) => u32::try_from(index.integer()?).ok()?,
    };
    let path = node.path_of("index");
    if !matches!(list, List::Args) {
        return nth(usize::try_from(index).ok()?, list, args, &path, report);
    }
    let of_index = |(_, arg): &(usize, &Arg)| arg.index == index;
    let mut found = args.read.iter().take(own).enumerate().filter(of_index);
    match (found.next(), found.next()) {
        (Some((position, _)), None) => Some(position),
        (Some(_), Some(_)) => {
            let what = format!("argument {index} is read in several ways");
            report.fault(path, codes::ARG_REFERENCE, what, "write args with the position in the hook's args, from 0");
            None
        }
        (None, _) => {
            if node.is_object() && !args.unclear && !args.listed.contains(&index) {
                let nth = args.read.get(usize::try_from(index).unwrap_or(usize::MAX)).filter(|arg| !arg.is_data());
                let help = match nth {
                    Some(arg) if !args.listed.is_empty() => {
                        format!("write index: {} for the argument that args lists there, or args: [{index}]", arg.index)
                    }
                    _ => format!("list index {index} in args of the hook"),
                };
                report.fault(path, codes::ARG_NOT_READ, format!("argument {index} is not read"), help);
            }
            None
        }
    }
}

/// The `number`th argument or datum.
fn nth(number: usize, list: List, args: &Args, path: &str, report: &mut Report) -> Option<usize> {
    let own = args.read.len() - args.data;
    let (first, count, what) = match list {
        List::Args => (0, own, "args"),
        List::Data => (own, args.data, "data"),
        List::Returned => (0, 1, "returnArg"),
    };
    if number < count {
        return Some(first + number);
    }
    if !args.unclear {
        let what = match list {
            List::Returned => "a function returns one value, numbered 0".to_owned(),
            _ => format!("{what} has {count} entries, numbered from 0, and none is number {number}"),
        };
        report.fault(path, codes::ARG_NOT_READ, what, "write the number of one that is there");
    }
    None
}

/// An expression names its arguments itself.
fn no_reference(node: &Node<'_>, report: &mut Report) {
    for field in ["index", "args"].into_iter().filter(|field| node.said(field).is_some()) {
        let what = "an expression says itself which arguments it is about";
        report.fault(node.path_of(field), codes::ARG_REFERENCE, what, "remove it, and write arg0, arg1, …");
    }
}

/// The one value of an operator that takes one.
fn one_text(node: &Node<'_>, report: &mut Report) -> Option<(String, String)> {
    let texts: BTreeSet<String> = numbers::parse_each(node, report, |text, _, _| Some(text.to_owned()));
    if texts.len() > 1 {
        let what = format!("{} takes one value", node.text_of("operator"));
        report.fault(
            node.path_of("values"),
            codes::ONE_VALUE,
            what,
            "write a filter for each, or combine them with && and ||",
        );
    }
    let text = texts.into_iter().next()?;
    Some((text, format!("{}[0]", node.path_of("values"))))
}

/// `CapabilitiesGained`: of two arguments, the old and the new capabilities.
fn gained(node: &Node<'_>, list: List, args: &Args, report: &mut Report) -> Option<ArgFilter> {
    no_values(node, "remove them", report);
    if node.said("index").is_some() {
        let what = "CapabilitiesGained compares two arguments";
        report.fault(node.path_of("index"), codes::ARG_REFERENCE, what, "write args: [old, new], positions in args");
    }
    let positions = node.list("args");
    let [old, new] = positions.as_slice() else {
        let what = "CapabilitiesGained needs to know the old and the new capabilities";
        report.fault(node.path_of("args"), codes::ARG_REFERENCE, what, "write args: [old, new], positions in args");
        return None;
    };
    let mut of = |node: &Node<'_>| nth(usize::try_from(node.integer()?).ok()?, list, args, node.path(), report);
    let (old, new) = (of(old)?, of(new)?);
    for (position, written) in [old, new].into_iter().zip(&positions) {
        let ty = args.read.get(position)?.ty;
        if ty.class() != Class::Capabilities {
            let what = format!("{} is no set of capabilities", ty.name());
            report.fault(written.path(), codes::OPERATOR_ON_TYPE, what, "read it as kernel_cap_t or cap_effective");
            return None;
        }
    }
    if old == new {
        let what = "nothing is gained between an argument and itself";
        report.fault(node.path_of("args"), codes::FILTER_NEVER, what, "write two different positions");
        return None;
    }
    Some(ArgFilter { arg: old, test: ArgTest::Gained { new }, negated: false })
}

/// A socket that is being connected does not have its remote address yet, one that is being bound not its local one.
fn warn_not_yet(node: &Node<'_>, place: &Place<'_>, test: &ArgTest, report: &mut Report) {
    let about = match test {
        ArgTest::SourceAddress(_) | ArgTest::SourcePort(_) => Unset::Local,
        ArgTest::DestinationAddress(_) | ArgTest::DestinationPort(_) => Unset::Remote,
        _ => return,
    };
    if let Some(point) = place.points.iter().find(|point| well_known::unset(point) == Some(about)) {
        let operator = node.text_of("operator");
        let what = format!("{} runs before the socket has what {operator} compares", point.name());
        let help = "read the sockaddr beside it (argument 1) and compare that";
        report.warn(node.path_of("operator"), codes::ADDR_NOT_YET, what, help);
    }
}

fn test(
    node: &Node<'_>,
    subject: Subject,
    negated: bool,
    arg: &Arg,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Option<ArgTest> {
    let ty = arg.ty;
    if ty == ArgType::Auto {
        let what = "a filter needs to know the type of what it compares, and it is not written out";
        report.fault(node.path_of("operator"), codes::TYPE_UNSTATED, what, "write the type of the argument in args");
        return None;
    }
    if !subject.is_about(ty.class()) {
        wrong_operator(node, ty, report);
        return None;
    }
    let kind = match ty {
        ArgType::File | ArgType::Path | ArgType::Fd | ArgType::LinuxBinprm | ArgType::Kiocb => Kind::Path,
        // A path inside of one mount, a name as the caller wrote it, a name of a socket: any string.
        _ => Kind::Text,
    };
    // A sockaddr holds one address: whether it is the source or the destination depends on the hook, not on the filter.
    let side = |side: Side| if ty == ArgType::Sockaddr { Side::Destination } else { side };
    let text = matches!(ty.class(), Class::Text | Class::Path { .. } | Class::UnixAddress);
    Some(match subject {
        Subject::Value if text => {
            ArgTest::String(StringCompare::Equal, strings::values(node, StringCompare::Equal, negated, kind, report))
        }
        Subject::Value | Subject::Above | Subject::Below | Subject::Range | Subject::Map | Subject::Mask => {
            return numbers::test(node, subject, negated, ty, surroundings.lists, report);
        }
        Subject::Part(compare) => ArgTest::String(compare, strings::values(node, compare, negated, kind, report)),
        Subject::Substring { ignore_case } => {
            ArgTest::Substring { ignore_case, values: strings::parts(node, ignore_case, kind, report) }
        }
        Subject::Address(written) => {
            let values = addresses::values(node, negated, report);
            match side(written) {
                Side::Source => ArgTest::SourceAddress(values),
                Side::Destination => ArgTest::DestinationAddress(values),
            }
        }
        Subject::Port(written) => port_test(side(written), ports::values(node, negated, report)),
        Subject::Privileged(written) => {
            no_values(node, "remove them, or use SPort or DPort", report);
            port_test(side(written), [ports::PRIVILEGED].into())
        }
        Subject::Family => ArgTest::Family(families(node, ty, report)),
        Subject::Protocol => ArgTest::Protocol(numbers::protocols(node, report)),
        Subject::State => ArgTest::State(numbers::states(node, report)),
        Subject::FileType => ArgTest::FileType(numbers::file_types(node, negated, report)),
        Subject::Gained | Subject::Expression => return None,
    })
}

/// A Unix socket's address is of one family.
fn families(node: &Node<'_>, ty: ArgType, report: &mut Report) -> BTreeSet<u16> {
    let families = numbers::families(node, report);
    if ty == ArgType::SockaddrUn && !families.is_empty() {
        let (code, what) = if families.contains(&AF_UNIX) {
            (codes::FILTER_ALWAYS, "every sockaddr_un is of family AF_UNIX")
        } else {
            (codes::FILTER_NEVER, "every sockaddr_un is of family AF_UNIX, and no other")
        };
        report.fault(node.path_of("values"), code, what, "remove the filter");
    }
    families
}

fn port_test(side: Side, values: BTreeSet<PortRange>) -> ArgTest {
    match side {
        Side::Source => ArgTest::SourcePort(values),
        Side::Destination => ArgTest::DestinationPort(values),
    }
}

fn no_values(node: &Node<'_>, help: &str, report: &mut Report) {
    if !node.list("values").is_empty() {
        let what = format!("{} takes no values", node.text_of("operator"));
        report.fault(node.path_of("values"), codes::VALUES_UNUSED, what, help);
    }
}

fn wrong_operator(node: &Node<'_>, ty: ArgType, report: &mut Report) {
    let what = format!("{} cannot be evaluated on an argument of type {}", node.text_of("operator"), ty.name());
    let has = |operator: &&Operator| !operator.negated && operator.subject.is_about(ty.class());
    let mut usable: Vec<&str> = OPERATORS.iter().filter(has).map(|operator| operator.name).collect();
    usable.retain(|name| !["CelExpr", "GreaterThan", "LessThan", "SPortPriv", "DPortPriv"].contains(name));
    let help = if usable.is_empty() {
        format!("{} is only reported: filter on something else", ty.name())
    } else {
        format!("use {} or a negation", usable.join(", "))
    };
    report.fault(node.path_of("operator"), codes::OPERATOR_ON_TYPE, what, help);
}
