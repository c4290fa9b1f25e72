//! Filters on IP addresses. An address is a value, not a family: `::ffff:a.b.c.d` is `a.b.c.d`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::node::Node;
use super::numbers;
use super::ranges::Ranges;
use super::report::Report;
use super::schema::quoted;
use crate::fault::codes;
use crate::ir::Cidr;

/// `::ffff:0:0/96`: where IPv4 lies among the addresses.
pub(super) const IPV4: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);
const EVERYTHING: (u128, u128) = (0, u128::MAX);
pub(crate) const MAPPED_LENGTH: u8 = 96;

/// A range as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Written {
    /// First and last address.
    range: (u128, u128),
    /// It is `::/0`, which is about native IPv6 alone.
    native: bool,
}

/// The values of `SAddr`, `DAddr` and their negations.
pub(super) fn values(node: &Node<'_>, negated: bool, report: &mut Report) -> BTreeSet<Cidr> {
    let mut places: BTreeMap<Written, Vec<String>> = BTreeMap::new();
    let written = numbers::parse_each(node, report, |text, path, report| {
        let written = parse(text, path, report)?;
        places.entry(written).or_default().push(path.to_owned());
        Some(written)
    });
    let set = Ranges::new(written.iter().flat_map(|written| written.addresses()));
    warn_native_only(node, &written, &set, report);
    warn_overlap(&places, report);
    if set == Ranges::new([EVERYTHING]) {
        let (code, what) = if negated {
            (codes::ADDR_NEVER, "every address is excluded")
        } else {
            (codes::ADDR_ALWAYS, "every address is listed")
        };
        report.fault(node.path_of("values"), code, what, "list fewer addresses, or remove the filter");
    }
    to_cidrs(&set)
}

impl Written {
    fn addresses(self) -> Vec<(u128, u128)> {
        if self.native {
            return Ranges::new([IPV4]).complement(EVERYTHING).iter().collect();
        }
        vec![self.range]
    }
}

fn warn_native_only(node: &Node<'_>, written: &BTreeSet<Written>, set: &Ranges, report: &mut Report) {
    if written.iter().any(|written| written.native) && !set.contains_all(&Ranges::new([IPV4])) {
        let what = "::/0 is every IPv6 address, and no IPv4 address, mapped or not";
        let help = "add 0.0.0.0/0 if IPv4 is meant too";
        report.warn(node.path_of("values"), codes::ADDR_NATIVE_ONLY, what, help);
    }
}

fn warn_overlap(places: &BTreeMap<Written, Vec<String>>, report: &mut Report) {
    // Sorted by first address, the widest first; a range lies in an earlier one if that ends no sooner.
    let mut by_start: Vec<_> = places.iter().filter(|(written, _)| !written.native).collect();
    by_start.sort_unstable_by_key(|(written, _)| (written.range.0, std::cmp::Reverse(written.range.1)));
    let mut widest: Option<&Written> = None;
    for (narrow, paths) in by_start {
        match widest.filter(|wide| wide.range.1 >= narrow.range.1) {
            None => widest = Some(narrow),
            Some(wide) => {
                let (wide_text, narrow_text) = (show(wide.range), show(narrow.range));
                for path in paths {
                    let what = format!("{wide_text} in the same list contains {narrow_text}");
                    report.warn(path, codes::ADDR_OVERLAP, what, "the wider one decides");
                }
            }
        }
    }
}

/// An address or range; what is wrong with it is reported.
fn parse(text: &str, path: &str, report: &mut Report) -> Option<Written> {
    let (address_text, length_text) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let Ok(address) = address_text.parse::<IpAddr>() else {
        not_an_address(text, address_text, length_text, path, report);
        return None;
    };
    let full = if address.is_ipv4() { 32 } else { 128 };
    let length = match length_text.map(|length| (length, length.parse::<u8>())) {
        None => full,
        Some((text, Ok(length))) if length <= full && text == length.to_string() => length,
        Some((text, Ok(length))) if length <= full && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            let what = format!("{} has a prefix length with a leading zero", quoted(text));
            report.fault(path, codes::ADDR_SPELLING, what, format!("write {address}/{length}"));
            return None;
        }
        Some((length, _)) => {
            let what = format!("{} is not the length of a prefix of {address}", quoted(length));
            report.fault(path, codes::ADDR_INVALID, what, format!("write a number from 0 to {full}"));
            return None;
        }
    };
    match address {
        IpAddr::V4(address) => ipv4(address, length, path, report),
        IpAddr::V6(address) => ipv6(address, length, path, report),
    }
}

fn ipv4(address: Ipv4Addr, length: u8, path: &str, report: &mut Report) -> Option<Written> {
    let value = address.to_ipv6_mapped().to_bits();
    let range = block(value, length + MAPPED_LENGTH);
    if range.0 != value {
        host_bits(path, &show(range), &format!("{address}/32"), report);
        return None;
    }
    Some(Written { range, native: false })
}

fn ipv6(address: Ipv6Addr, length: u8, path: &str, report: &mut Report) -> Option<Written> {
    let value = address.to_bits();
    if let Some(plain) = address.to_ipv4_mapped() {
        if length < MAPPED_LENGTH {
            mapped_prefix(plain, length, path, report);
            return None;
        }
        return ipv4(plain, length - MAPPED_LENGTH, path, report);
    }
    let range = block(value, length);
    // Before the bits after the prefix: a mapped network with a few bits more is that mistake, not this.
    if value == 0 && length == 0 {
        return Some(Written { range, native: true });
    }
    if length < MAPPED_LENGTH && range.0 <= IPV4.0 && range.1 >= IPV4.1 {
        let what = format!("{address}/{length} contains all of IPv4, which lies at ::ffff:0:0/96");
        report.fault(path, codes::ADDR_COVERS_MAPPED, what, "list IPv4 and IPv6 ranges separately");
        return None;
    }
    if range.0 != value {
        host_bits(path, &show(range), &format!("{address}/128"), report);
        return None;
    }
    let compatible = value >> 32 == 0 && length >= MAPPED_LENGTH && range.1 > 1;
    if compatible {
        let plain = Ipv4Addr::from(u32::try_from(value).unwrap_or(0));
        let what = format!("{} is an IPv4-compatible address, which no socket has", quoted(&format!("::{plain}")));
        let length = length - MAPPED_LENGTH;
        let help = format!("write {plain}/{length}, or ::ffff:{plain}/{} for the same", length + MAPPED_LENGTH);
        report.fault(path, codes::ADDR_COMPAT, what, help);
        return None;
    }
    Some(Written { range, native: false })
}

fn mapped_prefix(address: Ipv4Addr, length: u8, path: &str, report: &mut Report) {
    let what = format!("::ffff:{address}/{length} would be every IPv4 address, and IPv6 addresses beside");
    let help = if length <= 32 {
        let plain = show(block(address.to_ipv6_mapped().to_bits(), length + MAPPED_LENGTH));
        let (network, _) = plain.split_once('/').unwrap_or((&plain, ""));
        format!("did you mean ::ffff:{network}/{}, that is {network}/{length}?", length + MAPPED_LENGTH)
    } else {
        "write the IPv4 range".into()
    };
    report.fault(path, codes::ADDR_MAPPED_PREFIX, what, help);
}

fn host_bits(path: &str, network: &str, host: &str, report: &mut Report) {
    let what = "bits are set after the prefix, so it may mean the network or the address";
    report.fault(path, codes::ADDR_HOST_BITS, what, format!("write {network} or {host}"));
}

/// Not what the standard library reads as an address: perhaps something that other programs read as one.
fn not_an_address(text: &str, address: &str, length: Option<&str>, path: &str, report: &mut Report) {
    let with_length = |address: &str| length.map_or_else(|| address.to_owned(), |length| format!("{address}/{length}"));
    if let Some((plain, zone)) = address.split_once('%').filter(|(plain, _)| plain.parse::<Ipv6Addr>().is_ok()) {
        let what = format!("{} names a zone, which means something on one node only", quoted(&format!("%{zone}")));
        report.fault(path, codes::ADDR_SPELLING, what, format!("write {}", with_length(plain)));
        return;
    }
    let (head, dotted) = address.rsplit_once(':').map_or(("", address), |(head, dotted)| (head, dotted));
    let colon = if address.contains(':') { ":" } else { "" };
    let is_address = |plain: &Ipv4Addr| format!("{head}{colon}{plain}").parse::<IpAddr>().is_ok();
    if let Some(plain) = sloppy_ipv4(dotted).filter(is_address) {
        let what = format!("{} is read differently by different programs", quoted(text));
        let mut help = String::from("write all four numbers, without leading zeros");
        // Without a length, 10.1 is 10.0.0.1 for some and 10.1.0.0 for others.
        if length.is_some() || dotted.matches('.').count() == 3 {
            help.push_str(&format!(", perhaps {}", with_length(&format!("{head}{colon}{plain}"))));
        }
        report.fault(path, codes::ADDR_SPELLING, what, help);
        return;
    }
    report.fault(
        path,
        codes::ADDR_INVALID,
        format!("{} is not an IP address or range", quoted(text)),
        "write an address like 10.0.0.1 or 2001:db8::1, or a range like 10.0.0.0/8",
    );
}

/// An IPv4 address with leading zeros or fewer than four parts, as a network is often written.
pub(crate) fn sloppy_ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = text.trim_end_matches('.').split('.').collect();
    if parts.len() > 4 || (parts.len() == 1 && !text.bytes().all(|byte| byte.is_ascii_digit())) {
        return None;
    }
    let mut octets = [0_u8; 4];
    for (octet, part) in octets.iter_mut().zip(parts) {
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *octet = part
            .trim_start_matches('0')
            .parse()
            .or_else(|error| if part.bytes().all(|byte| byte == b'0') { Ok(0) } else { Err(error) })
            .ok()?;
    }
    Some(Ipv4Addr::from(octets))
}

/// First and last address with the first `length` bits of `value`.
pub(crate) fn block(value: u128, length: u8) -> (u128, u128) {
    let host_bits = u128::MAX.checked_shr(length.into()).unwrap_or(0);
    (value & !host_bits, value | host_bits)
}

/// The fewest prefixes that make up `set`.
fn to_cidrs(set: &Ranges) -> BTreeSet<Cidr> {
    let mut cidrs = BTreeSet::new();
    for (first, last) in set.iter() {
        let mut next = Some(first);
        while let Some(start) = next.filter(|start| *start <= last) {
            let (length, end) = (0..=128)
                .map(|length| (length, block(start, length)))
                .find(|(_, (begin, end))| *begin == start && *end <= last)
                .map_or((128, start), |(length, (_, end))| (length, end));
            cidrs.insert(Cidr { address: Ipv6Addr::from_bits(start), length });
            next = end.checked_add(1);
        }
    }
    cidrs
}

/// Both sets, in the fewest ranges.
pub(super) fn union(left: &BTreeSet<Cidr>, right: &BTreeSet<Cidr>) -> BTreeSet<Cidr> {
    to_cidrs(&Ranges::new(left.iter().chain(right).map(|cidr| block(cidr.address.to_bits(), cidr.length))))
}

/// The addresses of `cidrs`.
pub(super) fn to_ranges(cidrs: &BTreeSet<Cidr>) -> Ranges {
    Ranges::new(cidrs.iter().map(|cidr| block(cidr.address.to_bits(), cidr.length)))
}

/// A block in the spelling of its family.
pub(crate) fn show((first, last): (u128, u128)) -> String {
    let length = u8::try_from((first ^ last).leading_zeros()).unwrap_or(128);
    let address = Ipv6Addr::from_bits(first);
    match address.to_ipv4_mapped().filter(|_| length >= MAPPED_LENGTH) {
        Some(address) => format!("{address}/{}", length - MAPPED_LENGTH),
        None => format!("{address}/{length}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// The set that a list of addresses is, and how many faults it has.
    fn read(values: &[String]) -> (BTreeSet<Cidr>, usize) {
        let filter: Value = json!({"values": values});
        let mut report = Report::default();
        let set = super::values(&Node::new(&filter, "f"), false, &mut report);
        (set, report.finish().faults.len())
    }

    proptest! {
        #[test]
        fn a_set_survives_being_written_as_prefixes(ranges in prop::collection::vec(any::<(u128, u16, u8)>(), 0..20)) {
            let ranges = ranges.into_iter().map(|(first, length, shift)| {
                (first, first.saturating_add(u128::from(length) << (shift % 112)))
            });
            let set = Ranges::new(ranges);
            prop_assert_eq!(to_ranges(&to_cidrs(&set)), set);
        }

        #[test]
        fn ipv4_is_the_same_in_both_forms(bits: u32, length in 1_u8..=32) {
            let network = Ipv4Addr::from(bits & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0));
            let plain = read(&[format!("{network}/{length}")]);
            let mapped = read(&[format!("::ffff:{network}/{}", length + 96)]);
            let hexadecimal = read(&["2001::/16".into(), format!("{}/{}", network.to_ipv6_mapped(), length + 96)]);
            prop_assert_eq!(&plain, &mapped);
            prop_assert_eq!(plain.1, 0);
            prop_assert!(plain.0.is_subset(&hexadecimal.0));
        }

        #[test]
        fn a_range_is_accepted_exactly_when_no_bit_follows_its_prefix(bits: u128, length in 97_u8..=128) {
            // Outside of the ranges that have a meaning of their own.
            let bits = bits | 1 << 127;
            let is_network = block(bits, length).0 == bits;
            let (_, faults) = read(&[format!("{}/{length}", Ipv6Addr::from_bits(bits))]);
            prop_assert_eq!(faults == 0, is_network);
        }

        #[test]
        fn what_is_suggested_for_a_spelling_is_an_address(text in "[{:f0-9]{0,6}:?[01.]{0,9}") {
            let filter = json!({"values": [text]});
            let mut report = Report::default();
            super::values(&Node::new(&filter, "f"), false, &mut report);
            for fault in report.finish().faults {
                if let Some((_, suggested)) = fault.help.split_once("perhaps ") {
                    prop_assert_ne!(suggested, &text);
                    prop_assert!(suggested.parse::<IpAddr>().is_ok(), "{}", suggested);
                }
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-f:./%]{0,24}") {
            let (set, faults) = read(&[text]);
            prop_assert_eq!(set.is_empty(), faults > 0);
        }
    }
}
