//! What filters list: values in their meaning, and the ways in which a document can write them.

use std::net::Ipv6Addr;

use serde_json::{Value, json};
use stockade_policy::ir::{ArgType, Class};
use stockade_policy::language::{CAPABILITIES, Subject};

use super::Dice;

/// A value as it is meant.
#[derive(Debug, Clone)]
pub(super) enum Item {
    /// A number, or several in a row.
    Numbers(i128, i128),
    /// The same of ports.
    Ports(u16, u16),
    /// As it stands.
    Text(String),
    /// Addresses: IPv4 lies at `::ffff:0:0/96`.
    Net(u128, u8),
}

const V4: u128 = 0xffff << 32;

const fn v4(address: u32, length: u8) -> Item {
    Item::Net(V4 | address as u128, length + 96)
}

/// What an operator can be asked to compare a value of the type with.
pub(super) fn pool(subject: Subject, ty: ArgType) -> Vec<Item> {
    let texts = |texts: &[&str]| texts.iter().map(|text| Item::Text((*text).to_owned())).collect();
    match (subject, ty.class()) {
        (Subject::Address(_), _) => addresses(),
        (Subject::Port(_), _) => {
            let ports =
                [(80, 80), (443, 443), (1, 1023), (1024, 65535), (1, 79), (81, 65535), (65535, 65535), (80, 90)];
            ports.map(|(first, last)| Item::Ports(first, last)).into()
        }
        (Subject::Family, _) => texts(&["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "2", "10"]),
        (Subject::Protocol, _) => texts(&["IPPROTO_TCP", "IPPROTO_UDP", "IPPROTO_SCTP", "6"]),
        (Subject::State, _) => texts(&["TCP_ESTABLISHED", "TCP_LISTEN", "TCP_CLOSE", "10"]),
        (Subject::FileType, _) => texts(&["reg", "dir", "lnk", "chr", "blk", "fifo", "sock"]),
        (Subject::Mask, Class::Capabilities) => texts(&["CAP_CHOWN", "CAP_SYS_ADMIN", "0x3", "CAP_CHOWN,CAP_KILL"]),
        (_, Class::Capabilities) => texts(&["0", "CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHOWN,CAP_KILL", "0x1ffffffffff"]),
        (Subject::Mask, _) => numbers(ty, &[1, 2, 4, 8, 64, 0x70, 0x1_0000, -128]),
        (Subject::Range, _) => ranges(ty),
        (Subject::Map, _) => ranges(ty).into_iter().chain(plain(ty)).collect(),
        (Subject::Substring { .. }, Class::Path { .. }) => texts(&["a", "b/c", "/b", "so", "X", "c"]),
        (Subject::Substring { .. }, _) => texts(&["a", "ab", "b", "so", "X", ".."]),
        (_, Class::Text | Class::UnixAddress) => texts(&["a", "ab", "abc", "b", "c.so", ".so", "/a", "", "A"]),
        (Subject::Part(compare), Class::Path { .. }) => paths(compare),
        (_, Class::Path { .. }) => paths(stockade_policy::ir::StringCompare::Equal),
        _ => plain(ty),
    }
}

/// What executables and files are compared with.
pub(super) fn paths(compare: stockade_policy::ir::StringCompare) -> Vec<Item> {
    use stockade_policy::ir::StringCompare::{Equal, Postfix, Prefix};
    let paths: &[&str] = match compare {
        Equal => &["/a", "/a/b", "/a/b/c", "/ab", "/b/a", "/b/c.so", "/"],
        Prefix => &["/a", "/a/", "/a/b", "/a/b/c", "/b", "/ab", "/c"],
        Postfix => &["b", "/b", "a/b", "c", "b/c", ".so", "a", "/"],
    };
    paths.iter().map(|text| Item::Text((*text).to_owned())).collect()
}

fn addresses() -> Vec<Item> {
    let v6 = |text: &str, length| Item::Net(text.parse::<Ipv6Addr>().map_or(0, Ipv6Addr::to_bits), length);
    vec![
        v4(0x0a00_0000, 8),
        v4(0x0a01_0000, 16),
        v4(0x0a01_0203, 32),
        v4(0, 0),
        v4(0, 1),
        v4(0x8000_0000, 1),
        v4(0xac10_0000, 12),
        v6("2001:db8::", 32),
        v6("2001:db8:1::", 48),
        v6("::1", 128),
        v6("fd00::", 8),
        v6("::", 0),
    ]
}

fn numbers(ty: ArgType, of: &[i128]) -> Vec<Item> {
    let (least, most) = ty.bounds().unwrap_or((0, 0));
    of.iter().filter(|number| (least..=most).contains(number)).map(|number| Item::Numbers(*number, *number)).collect()
}

fn plain(ty: ArgType) -> Vec<Item> {
    let (least, most) = ty.bounds().unwrap_or((0, 0));
    numbers(ty, &[0, 1, 2, 3, 7, 8, 9, 21, 64, 100, -1, -8, 257, 0x1_0000, least, most])
}

fn ranges(ty: ArgType) -> Vec<Item> {
    let (least, most) = ty.bounds().unwrap_or((0, 0));
    let all = [(1, 3), (0, 7), (-8, 8), (8, 100), (0, 65535), (1000, 2000), (least, 0), (1, most), (0, most), (3, 3)];
    let inside = |(first, last): &(i128, i128)| least <= *first && first <= last && *last <= most;
    all.iter().filter(|range| inside(range)).map(|(first, last)| Item::Numbers(*first, *last)).collect()
}

/// Names of a few capabilities, so that filters have some in common.
pub(super) fn capabilities() -> Vec<&'static str> {
    [0, 5, 12, 21, 40].map(|at: usize| CAPABILITIES[at]).into()
}

/// The values in one of the ways in which they can be written: in any order, some of them several times, a range as two. Such
/// decisions change no meaning and have dice of their own. `map`: ranges and single numbers are both allowed.
pub(super) fn written(items: &[Item], map: bool, style: &mut Dice) -> Value {
    let mut values: Vec<Value> = Vec::new();
    for item in items {
        let (first, second) = halves(item, style);
        for half in [Some(first), second].into_iter().flatten() {
            values.push(text(&half, map, style).into());
        }
    }
    if style.one_in(3) {
        values.push(style.pick(&values).clone());
    }
    style.shuffle(&mut values);
    json!(values)
}

/// The item, or two that are it together.
fn halves(item: &Item, style: &mut Dice) -> (Item, Option<Item>) {
    let split = style.one_in(4);
    match *item {
        Item::Numbers(first, last) if split && last - first > 1 => {
            let middle = first + (last - first) / 3;
            (Item::Numbers(first, middle), Some(Item::Numbers(middle + 1, last)))
        }
        Item::Ports(first, last) if split && first < last => {
            let middle = first + (last - first) / 3;
            (Item::Ports(first, middle), Some(Item::Ports(middle + 1, last)))
        }
        // Halves of what lies at IPv4 are of IPv4; `::/0` is not all of its halves.
        Item::Net(address, length) if split && (8..128).contains(&length) => {
            let other = address | 1 << (127 - u32::from(length));
            (Item::Net(address, length + 1), Some(Item::Net(other, length + 1)))
        }
        _ => (item.clone(), None),
    }
}

fn text(item: &Item, map: bool, style: &mut Dice) -> String {
    match item {
        Item::Text(text) => text.clone(),
        Item::Numbers(first, last) if first == last && !(map && style.one_in(4)) => number(*first, style),
        Item::Numbers(first, last) => format!("{}:{}", number(*first, style), number(*last, style)),
        Item::Ports(first, last) if first == last && !style.one_in(3) => first.to_string(),
        Item::Ports(first, last) => format!("{first}:{last}"),
        Item::Net(address, length) => net(Ipv6Addr::from(*address), *length, style),
    }
}

fn number(number: i128, style: &mut Dice) -> String {
    let (sign, digits) = (if number < 0 { "-" } else { "" }, number.unsigned_abs());
    match style.roll(8) {
        0 => format!("{sign}0x{digits:x}"),
        1 => format!("{sign}0o{digits:o}"),
        2 => format!("{sign}0b{digits:b}"),
        _ => number.to_string(),
    }
}

fn net(address: Ipv6Addr, length: u8, style: &mut Dice) -> String {
    match address.to_ipv4_mapped().filter(|_| length >= 96) {
        Some(plain) if style.one_in(3) => format!("::ffff:{plain}/{length}"),
        Some(plain) if length == 128 && style.one_in(2) => plain.to_string(),
        Some(plain) => format!("{plain}/{}", length - 96),
        None if length == 128 && style.one_in(2) => address.to_string(),
        None => format!("{address}/{length}"),
    }
}
