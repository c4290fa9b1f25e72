//! Arguments: values that tests tell apart.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use stockade_policy::ir::{
    Abi, Arg, ArgFilter, ArgTest, ArgType, Cidr, Class, Expression, FileType, Hook, HookPoint, PortRange, Selector,
    StringCompare, Syscall,
};
use stockade_policy::language::syscall_number;
use stockade_policy::model::{Argument, Process, Socket, selector_matches};

use super::{Want, once};

/// How many combinations of arguments are tried.
const COMBINATIONS: usize = 20_000;
/// How many sockets of a family are told apart.
const SOCKETS: usize = 2_048;

/// Values for each argument of the hook, that the filters tell apart.
pub(super) fn pools(hook: &Hook, filters: &[Selector]) -> Vec<Vec<Argument>> {
    let tests: Vec<(usize, &ArgTest)> =
        filters.iter().flat_map(|filter| &filter.args).map(|filter| (filter.arg, &filter.test)).collect();
    hook.args.iter().enumerate().map(|(at, arg)| pool(at, arg, &tests)).collect()
}

fn pool(at: usize, arg: &Arg, tests: &[(usize, &ArgTest)]) -> Vec<Argument> {
    let own = |(of, test): &&(usize, &ArgTest)| match test {
        ArgTest::Expression(expression) => expression.args().contains(&at),
        ArgTest::Gained { new } => *of == at || *new == at,
        _ => *of == at,
    };
    let tests: Vec<&ArgTest> = tests.iter().filter(own).map(|(_, test)| *test).collect();
    match arg.ty.class() {
        Class::Socket { .. } | Class::Address => sockets(&tests),
        Class::Text | Class::UnixAddress => texts(&tests, false).into_iter().map(Argument::Text).collect(),
        // Below its mount point: any text.
        Class::Path { .. } if arg.ty == ArgType::Dentry => {
            texts(&tests, false).into_iter().map(Argument::Text).collect()
        }
        Class::Path { inode: true } => files(&tests),
        Class::Path { inode: false } => texts(&tests, true).into_iter().map(Argument::Text).collect(),
        Class::Syscall => syscalls(&tests),
        Class::Opaque | Class::Unstated => vec![Argument::Number(0)],
        _ => numbers(arg.ty, &tests).into_iter().map(Argument::Number).collect(),
    }
}

/// Arguments about which all wishes come true.
pub(super) fn satisfying(hook: &Hook, wanted: &[Want]) -> Option<Vec<Argument>> {
    let filters: Vec<Selector> =
        wanted.iter().filter(|(filter, _)| !filter.args.is_empty()).map(|(f, _)| f.clone()).collect();
    let nobody = Process::default();
    let (mut candidates, mut plain) = (pools(hook, &filters), Vec::new());
    for pool in &candidates {
        plain.push(pool.first()?.clone());
    }
    let several = |filter: &&Selector| matches!(filter.args[0].test, ArgTest::Expression(_) | ArgTest::Gained { .. });
    for filter in filters.iter().filter(|filter| !several(filter)) {
        let at = filter.args[0].arg;
        let pool = candidates.get_mut(at)?;
        pool.retain(|value| {
            plain[at] = value.clone();
            selector_matches(filter, hook, &nobody, &plain) == Some(true)
        });
        plain[at] = pool.first()?.clone();
    }
    let joint: Vec<&Selector> = filters.iter().filter(several).collect();
    if joint.is_empty() {
        return Some(plain);
    }
    let involved: BTreeSet<usize> = joint.iter().flat_map(|filter| args_of(filter)).collect();
    let involved: Vec<usize> = involved.into_iter().collect();
    let sizes: Vec<usize> = involved.iter().map(|at| candidates[*at].len()).collect();
    let all: usize = sizes.iter().product();
    (0..all.min(COMBINATIONS)).find_map(|mut number| {
        for (at, size) in involved.iter().zip(&sizes) {
            plain[*at] = candidates[*at][number % size].clone();
            number /= size;
        }
        let holds = |filter: &&Selector| selector_matches(filter, hook, &nobody, &plain) == Some(true);
        joint.iter().all(holds).then(|| plain.clone())
    })
}

fn args_of(filter: &Selector) -> BTreeSet<usize> {
    match &filter.args[0].test {
        ArgTest::Expression(expression) => expression.args(),
        ArgTest::Gained { new } => [filter.args[0].arg, *new].into(),
        _ => [filter.args[0].arg].into(),
    }
}

fn numbers(ty: ArgType, tests: &[&ArgTest]) -> Vec<u64> {
    let (least, most) = ty.bounds().unwrap_or((0, i64::MAX.into()));
    // A later kernel may have more capabilities.
    let most = if ty.class() == Class::Capability { 63 } else { most };
    let mut named: Vec<i128> = vec![50, least, most, 0];
    let (mut masks, mut constants) = (0_u64, Vec::new());
    for test in tests {
        match test {
            ArgTest::Number(set) => named.extend(set.iter().map(|stored| ty.number(*stored))),
            ArgTest::Range(set) => named.extend(set.iter().flat_map(|r| [ty.number(r.first), ty.number(r.last)])),
            ArgTest::Mask(mask) => {
                masks |= mask;
                named.extend((0..64).map(|bit| mask & 1 << bit).filter(|bit| *bit != 0).map(|bit| ty.number(bit)));
            }
            ArgTest::Gained { .. } => named.extend([0, 1 << 21, 1 << 5]),
            ArgTest::Expression(expression) => numbers_in(expression, &mut constants),
            _ => {}
        }
    }
    let pairs = constants.iter().flat_map(|a| constants.iter().flat_map(move |b| [a | b, a & b, a - b, a + b]));
    named.extend(pairs.collect::<Vec<i128>>());
    named.extend(constants);
    let near = named.iter().flat_map(|number| [*number, number - 1, number + 1]);
    let stored = near.filter(|number| (least..=most).contains(number)).map(|number| number as u64);
    let mut stored: Vec<u64> = once(stored);
    if masks != 0 {
        // What has many bits is in most masks: within each range, those at the end of a block.
        let tops = stored.iter().flat_map(|first| (0..64).map(move |bits| first | ((1 << bits) - 1)));
        let below = stored.iter().flat_map(|last| {
            (0..64).filter(move |bit| last & 1 << bit != 0).map(move |bit| (last & !(1 << bit)) | ((1 << bit) - 1))
        });
        let within = |number: &u64| (least..=most).contains(&ty.number(*number));
        let more: Vec<u64> = tops.chain(below).chain([masks]).filter(within).collect();
        stored.extend(more);
        stored = once(stored);
    }
    stored
}

fn numbers_in(expression: &Expression, found: &mut Vec<i128>) {
    match expression {
        Expression::Number(number) => found.push(*number),
        Expression::Truth(_) | Expression::Arg(_) => {}
        Expression::Not(of) | Expression::Cast(_, of) => numbers_in(of, found),
        Expression::Both(left, right)
        | Expression::Either(left, right)
        | Expression::Same(left, right)
        | Expression::Compare(_, left, right)
        | Expression::Calculate(_, _, left, right) => {
            numbers_in(left, found);
            numbers_in(right, found);
        }
    }
}

fn syscalls(tests: &[&ArgTest]) -> Vec<Argument> {
    let mut raw: Vec<u64> = vec![400, 0, u32::MAX.into()];
    for test in tests {
        match test {
            ArgTest::Number(set) => raw.extend(set),
            ArgTest::Range(set) => raw.extend(set.iter().flat_map(|range| [range.first, range.last])),
            ArgTest::Syscall(set) => raw.extend(set.iter().filter_map(|call| match call {
                Syscall::Numbered(number) => Some(u64::from(*number)),
                Syscall::Named { abi, name } => {
                    let abi = abi.unwrap_or(Abi::X64);
                    let flag = if abi == Abi::I386 { 1 << 31 } else { 0 };
                    Some(u64::from(syscall_number(abi, name)? | flag))
                }
            })),
            _ => {}
        }
    }
    let near = raw.into_iter().flat_map(|raw| [raw, raw.saturating_sub(1), raw + 1]);
    let calls = near.filter_map(|raw| u32::try_from(raw).ok()).flat_map(|raw| {
        let number = raw & !(1 << 31);
        let own = if raw >> 31 == 1 { Abi::I386 } else { Abi::X64 };
        [(own, number), (Abi::Arm64, number)]
    });
    once(calls.map(|(abi, number)| (number, abi == Abi::I386, abi == Abi::Arm64)))
        .into_iter()
        .map(|(number, old, arm)| {
            let abi = if old {
                Abi::I386
            } else if arm {
                Abi::Arm64
            } else {
                Abi::X64
            };
            Argument::Syscall { abi, number }
        })
        .collect()
}

/// Paths, absolute and as the kernel writes them, that the values tell apart.
pub(super) fn paths(tests: &[(StringCompare, &BTreeSet<String>)]) -> Vec<String> {
    let parts: Vec<(StringCompare, &str)> =
        tests.iter().flat_map(|(compare, set)| set.iter().map(|value| (*compare, value.as_str()))).collect();
    composed(&parts, &[], true)
}

fn texts(tests: &[&ArgTest], path: bool) -> Vec<Vec<u8>> {
    let (mut parts, mut within) = (Vec::new(), Vec::new());
    for test in tests {
        match test {
            ArgTest::String(compare, set) => parts.extend(set.iter().map(|value| (*compare, value.as_str()))),
            ArgTest::Substring { values, .. } => within.push(values.iter().map(String::as_str).collect::<Vec<_>>()),
            _ => {}
        }
    }
    composed(&parts, &within, path).into_iter().map(String::into_bytes).collect()
}

/// Strings that begin as one value says and end as another, with one of each of `within` between them.
fn composed(parts: &[(StringCompare, &str)], within: &[Vec<&str>], path: bool) -> Vec<String> {
    let of = |wanted: StringCompare| parts.iter().filter(move |(c, _)| *c == wanted).map(|(_, value)| *value);
    let mut middles: Vec<String> = vec![String::new()];
    for values in within {
        let with = |middle: &String| values.iter().map(|value| format!("{middle}q{value}")).collect::<Vec<_>>();
        let mut more: Vec<String> = middles.iter().flat_map(with).collect();
        more.truncate(64);
        middles = more.into_iter().chain(middles).take(128).collect();
    }
    let mut all: Vec<String> = vec![if path { "/q".into() } else { "q".into() }, "q".into(), "/".into()];
    for value in of(StringCompare::Equal) {
        all.extend([value.to_owned(), format!("{value}q"), shorter(value)]);
    }
    let begin = if path { "/" } else { "" };
    let ends: Vec<&str> = of(StringCompare::Postfix).chain([""]).collect();
    for prefix in of(StringCompare::Prefix).chain([begin]) {
        all.push(shorter(prefix));
        for end in &ends {
            for middle in &middles {
                for (left, right) in [("", ""), ("q", "q"), ("q", "/q"), ("/q", "q"), ("/q", ""), ("", "q"), ("q", "")]
                {
                    all.push(format!("{prefix}{left}{middle}{right}{end}"));
                    all.push(format!("{prefix}{left}{}{right}{end}", middle.to_ascii_uppercase()));
                }
            }
        }
    }
    let in_kernel = |text: &String| {
        let odd = ["//", "/./", "/../"].iter().any(|odd| text.contains(odd));
        let end = text.len() > 1 && ["/", "/.", "/.."].iter().any(|end| text.ends_with(end));
        text.starts_with('/') && !odd && !end
    };
    once(all.into_iter().filter(|text| !path || in_kernel(text)))
}

fn shorter(text: &str) -> String {
    let mut text = text.to_owned();
    text.pop();
    text
}

fn files(tests: &[&ArgTest]) -> Vec<Argument> {
    let paths = texts(tests, true);
    let kinds = [
        FileType::Regular,
        FileType::Directory,
        FileType::Link,
        FileType::Socket,
        FileType::Block,
        FileType::Character,
        FileType::Fifo,
    ];
    if !tests.iter().any(|test| matches!(test, ArgTest::FileType(_))) {
        let regular = |path| Argument::File { path, kind: FileType::Regular };
        return paths.into_iter().map(regular).collect();
    }
    paths.into_iter().flat_map(|path| kinds.map(|kind| Argument::File { path: path.clone(), kind })).collect()
}

const V4: u128 = 0xffff << 32;

/// A part of a socket: its values, and the tests about it.
struct Part {
    values: Vec<u128>,
    set: fn(&mut Socket, u128),
    is_asked: fn(&ArgTest) -> bool,
}

fn parts(tests: &[&ArgTest]) -> [Part; 6] {
    let states: Vec<u128> = (1..=12).collect();
    let unnamed = [V4 | 0xc000_0201, 0x2001_0db9 << 96 | 1, V4, V4 | 0xffff_ffff];
    let of = |plain: &[u128], is_asked: fn(&ArgTest) -> bool, set: fn(&mut Socket, u128)| {
        let named = tests.iter().filter(|test| is_asked(test)).flat_map(|test| values(test));
        Part { values: once(plain.iter().copied().chain(named)), set, is_asked }
    };
    [
        of(
            &[6, 17, 132, 58],
            |test| matches!(test, ArgTest::Protocol(_)),
            |socket, value| socket.protocol = value as u16,
        ),
        of(&states, |test| matches!(test, ArgTest::State(_)), |socket, value| socket.state = value as u16),
        of(&unnamed, |test| matches!(test, ArgTest::SourceAddress(_)), |socket, value| socket.source = value.into()),
        of(
            &unnamed,
            |test| matches!(test, ArgTest::DestinationAddress(_)),
            |socket, value| socket.destination = value.into(),
        ),
        of(&[40_000], |test| matches!(test, ArgTest::SourcePort(_)), |socket, value| socket.source_port = value as u16),
        of(
            &[40_000],
            |test| matches!(test, ArgTest::DestinationPort(_)),
            |socket, value| socket.destination_port = value as u16,
        ),
    ]
}

/// What a test names, and what is next to it.
fn values(test: &ArgTest) -> Vec<u128> {
    match test {
        ArgTest::Family(set) | ArgTest::Protocol(set) | ArgTest::State(set) => {
            set.iter().map(|value| u128::from(*value)).collect()
        }
        ArgTest::SourceAddress(set) | ArgTest::DestinationAddress(set) => set.iter().flat_map(ends).collect(),
        ArgTest::SourcePort(set) | ArgTest::DestinationPort(set) => {
            let near = |range: &PortRange| {
                [range.first, range.last, range.first.saturating_sub(1), range.last.saturating_add(1)]
            };
            set.iter().flat_map(near).filter(|port| *port != 0).map(u128::from).collect()
        }
        _ => Vec::new(),
    }
}

/// Sockets that the tests tell apart: all combinations of what they can say about each part.
fn sockets(tests: &[&ArgTest]) -> Vec<Argument> {
    let named = tests.iter().filter(|test| matches!(test, ArgTest::Family(_))).flat_map(|test| values(test));
    let families = once([2, 10, 1, 16].into_iter().chain(named));
    let parts = parts(tests);
    families.into_iter().flat_map(|family| of_family(family as u16, tests, &parts)).map(Argument::Socket).collect()
}

fn of_family(family: u16, tests: &[&ArgTest], parts: &[Part; 6]) -> Vec<Socket> {
    let plain = Socket {
        family,
        protocol: 6,
        source: Ipv6Addr::UNSPECIFIED,
        destination: Ipv6Addr::UNSPECIFIED,
        source_port: 0,
        destination_port: 0,
        state: 1,
    };
    // What is not of IP has no addresses and ports.
    let parts = if [2, 10].contains(&family) { &parts[..] } else { &parts[..2] };
    let mut all = vec![plain];
    for part in parts {
        let own: Vec<&&ArgTest> = tests.iter().filter(|test| (part.is_asked)(test)).collect();
        let mut known: BTreeSet<Vec<bool>> = BTreeSet::new();
        let mut told: Vec<u128> = Vec::new();
        for value in &part.values {
            let mut socket = plain;
            (part.set)(&mut socket, *value);
            let v4 = |address: Ipv6Addr| address.is_unspecified() || address.to_ipv4_mapped().is_some();
            let possible = family != 2 || (v4(socket.source) && v4(socket.destination));
            if possible && known.insert(own.iter().map(|test| holds(test, socket)).collect()) {
                told.push(*value);
            }
        }
        let with = |socket: Socket| {
            told.iter().map(move |value| {
                let mut socket = socket;
                (part.set)(&mut socket, *value);
                socket
            })
        };
        all = all.into_iter().flat_map(with).take(SOCKETS).collect();
    }
    all
}

fn holds(test: &ArgTest, socket: Socket) -> bool {
    let hook = Hook { args: vec![Arg::plain(0, ArgType::Sock)], ..Hook::at(HookPoint::Lsm { hook: String::new() }) };
    let filter = ArgFilter { arg: 0, test: test.clone(), negated: false };
    let selector = Selector { args: vec![filter], ..Selector::default() };
    selector_matches(&selector, &hook, &Process::default(), &[Argument::Socket(socket)]) == Some(true)
}

/// The ends of a range and what is next to them.
fn ends(cidr: &Cidr) -> [u128; 4] {
    let first = u128::from(cidr.address);
    let last = first | u128::MAX.checked_shr(cidr.length.into()).unwrap_or(0);
    [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
}
