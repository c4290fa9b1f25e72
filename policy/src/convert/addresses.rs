//! IP addresses and ranges.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::case::{Case, Found, choice, one};
use super::{Edit, Reading};
use crate::validate::addresses::{MAPPED_LENGTH, block, show, sloppy_ipv4};

/// An address in 128 bits, and its prefix length among them.
fn read(text: &str) -> Option<(u128, u8)> {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let length = length.map(str::parse::<u8>).transpose().ok()?;
    match address.parse().ok()? {
        IpAddr::V4(address) => {
            Some((address.to_ipv6_mapped().to_bits(), length.unwrap_or(32).checked_add(MAPPED_LENGTH)?))
        }
        IpAddr::V6(address) => Some((address.to_bits(), length.unwrap_or(128))),
    }
    .filter(|(_, length)| *length <= 128)
}

pub(super) fn host_bits(case: &Case<'_>) -> Found {
    let (value, length) = read(case.text()?)?;
    let (network, host) = (show(block(value, length)), show((value, value)));
    choice([
        Reading::new(format!("{network}, the network, which is what Tetragon compares"), [case.set(network)]),
        Reading::new(format!("{host}, the one address"), [case.set(host)]),
    ])
}

/// `::ffff:172.16.0.0/12`: the length was meant for the IPv4 address, and counts from the beginning of the other.
pub(super) fn mapped_prefix(case: &Case<'_>) -> Found {
    let (value, length) = read(case.text()?)?;
    let meant = length.checked_add(MAPPED_LENGTH).filter(|length| *length <= 128)?;
    let range = show(block(value, meant));
    let listed = case.get(case.above(1)?)?.as_array()?.iter().any(|other| other.as_str() == Some(&range));
    let (edit, says) = if listed {
        (Edit::Remove { at: case.at.clone() }, format!("without it, as {range} is in the list"))
    } else {
        (case.set(range.as_str()), format!("{range}, which covers IPv4-mapped addresses too"))
    };
    choice([Reading::new(format!("{says}. In Tetragon it is every mapped address"), [edit])])
}

/// `::10.0.0.1`.
pub(super) fn compat(case: &Case<'_>) -> Found {
    let (value, length) = read(case.text()?)?;
    let plain = Ipv4Addr::from(u32::try_from(value).ok()?);
    let length = length.checked_sub(MAPPED_LENGTH)?;
    let written = if length == 32 { plain.to_string() } else { format!("{plain}/{length}") };
    let list = case.get(case.above(1)?)?.as_array()?;
    let gone = (list.len() > 1)
        .then(|| Reading::new("without it, as no socket has such an address", [Edit::Remove { at: case.at.clone() }]));
    choice([Reading::new(format!("{written}, the IPv4 address"), [case.set(written)])].into_iter().chain(gone))
}

pub(super) fn spelling(case: &Case<'_>) -> Found {
    let text = case.text()?;
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let with_length = |address: &str, length: Option<&str>| match length {
        Some(length) => format!("{address}/{length}"),
        None => address.to_owned(),
    };
    if address.parse::<IpAddr>().is_ok() {
        let plain = length?.trim_start_matches('0');
        let written = with_length(address, Some(if plain.is_empty() { "0" } else { plain }));
        return one(format!("{written}, the same range"), [case.set(written)]);
    }
    if let Some((plain, _)) = address.split_once('%').filter(|(plain, _)| plain.parse::<Ipv6Addr>().is_ok()) {
        let written = with_length(plain, length);
        let says = format!("{written}, the address on every interface, which is what Tetragon compares");
        return choice([Reading::new(says, [case.set(written)])]);
    }
    let (head, dotted) = address.rsplit_once(':').map_or((None, address), |(head, dotted)| (Some(head), dotted));
    let of = |plain: Ipv4Addr| {
        with_length(&head.map_or_else(|| plain.to_string(), |head| format!("{head}:{plain}")), length)
    };
    // Without a length, 10.1 is 10.0.0.1 for some and 10.1.0.0 for others.
    let whole = dotted.matches('.').count() == 3;
    let decimal =
        sloppy_ipv4(dotted).filter(|_| length.is_some() || whole).map(of).filter(|text| read(text).is_some())?;
    let octal = octal(dotted).map(of).filter(|octal| *octal != decimal);
    let what = if whole { "with decimal numbers" } else { "with zeros for what is left out" };
    let decimal = Reading::new(format!("{decimal}, {what}"), [case.set(decimal)]);
    let octal = octal.map(|octal| Reading::new(format!("{octal}, with octal numbers"), [case.set(octal)]));
    choice([decimal].into_iter().chain(octal))
}

/// The address of four numbers of which those that begin with 0 are octal.
fn octal(text: &str) -> Option<Ipv4Addr> {
    let numbers = text.split('.').map(|part| {
        let base = if part.len() > 1 && part.starts_with('0') { 8 } else { 10 };
        u8::from_str_radix(part, base).ok()
    });
    let numbers: Vec<u8> = numbers.collect::<Option<_>>()?;
    <[u8; 4]>::try_from(numbers).ok().map(Ipv4Addr::from)
}
