//! `uprobes` and `usdts`: functions and static probes of programs and libraries on the node.

use std::collections::BTreeSet;

use super::node::Node;
use super::report::Report;
use super::schema::quoted;
use crate::engine::{Feature, HookKind};
use crate::fault::codes;
use crate::ir::{BinaryPlaces, HookPoint};

/// The algorithms of `binaryDigests` and how many hexadecimal digits each has; a build id has an even number.
const DIGESTS: [(&str, Option<usize>); 5] =
    [("sha1", Some(40)), ("sha256", Some(64)), ("sha384", Some(96)), ("sha512", Some(128)), ("build-id", None)];

pub(super) fn uprobe(node: &Node<'_>, report: &mut Report) -> HookPoint {
    report.needs(node.path(), Feature::Hook(HookKind::Uprobe));
    if node.said("binaryDigests").is_some() {
        report.needs(node.path_of("binaryDigests"), Feature::Field("binaryDigests"));
    }
    if node.said("return").is_some() {
        report.needs(node.path_of("return"), Feature::Field("the return of a uprobe"));
    }
    let digests = node.list("binaryDigests").iter().filter_map(|value| digest(value, report)).collect();
    if let Some(ignore) = node.field("ignore").and_then(|ignore| ignore.said("digestVerificationFailure"))
        && node.list("binaryDigests").is_empty()
    {
        let what = "there are no digests whose failure could be ignored";
        report.fault(ignore.path(), codes::UPROBE_INVALID, what, "write binaryDigests, or remove it");
    }
    HookPoint::Uprobe {
        path: path(node, "path", report),
        places: places(node, report),
        digests,
        btf: btf(node, report),
    }
}

pub(super) fn usdt(node: &Node<'_>, report: &mut Report) -> HookPoint {
    report.needs(node.path(), Feature::Hook(HookKind::Usdt));
    for field in ["provider", "name"] {
        if node.field(field).is_some_and(|value| value.text() == Some("")) {
            let what = format!("{field} is empty");
            report.fault(node.path_of(field), codes::UPROBE_INVALID, what, "write the name in the file's notes");
        }
    }
    HookPoint::Usdt {
        path: path(node, "path", report),
        provider: node.text_of("provider").to_owned(),
        name: node.text_of("name").to_owned(),
        btf: btf(node, report),
    }
}

fn btf(node: &Node<'_>, report: &mut Report) -> String {
    if node.said("btfPath").is_none() {
        return String::new();
    }
    report.needs(node.path_of("btfPath"), Feature::Field("btfPath"));
    path(node, "btfPath", report)
}

/// A file of the node. A relative path would begin wherever the agent happens to run.
fn path(node: &Node<'_>, field: &str, report: &mut Report) -> String {
    let Some(text) = node.field(field).and_then(|value| value.text()) else { return String::new() };
    let odd = text.contains("//") || text.contains("/./") || text.contains("/../") || text.contains('\0');
    if !text.starts_with('/') || odd || text.len() < 2 {
        let what = format!("{} is not the absolute path of a file", quoted(text));
        report.fault(node.path_of(field), codes::UPROBE_INVALID, what, "write the path as it is on the node, from /");
    }
    text.to_owned()
}

fn places(node: &Node<'_>, report: &mut Report) -> BinaryPlaces {
    let lists = ["symbols", "offsets", "addrs"];
    let written: Vec<&str> = lists.into_iter().filter(|name| node.said(name).is_some()).collect();
    if written.len() != 1 {
        let (what, help) = match written.len() {
            0 => ("it does not say where in the file it is".to_owned(), "write one of symbols, offsets and addrs"),
            _ => (format!("{} say it in {} ways", written.join(" and "), written.len()), "keep one of them"),
        };
        report.fault(node.path(), codes::UPROBE_PLACE, what, help);
    }
    let counters: Vec<Option<u64>> = node.list("refCtrOffsets").iter().map(unsigned).collect();
    let count = written.first().map_or(0, |name| node.list(name).len());
    if !counters.is_empty() && (counters.len() != count || written.contains(&"addrs")) {
        let what = if written.contains(&"addrs") {
            "a counter belongs to a symbol or an offset, not to an address".to_owned()
        } else {
            format!("there are {} counters for {count} places", counters.len())
        };
        let help = "write one for each of symbols or offsets, in their order";
        report.fault(node.path_of("refCtrOffsets"), codes::UPROBE_PLACE, what, help);
    }
    let counter = |at: usize| counters.get(at).copied().flatten();
    match written.first().copied() {
        Some("offsets") => {
            let offsets = node.list("offsets");
            let of = |(at, value): (usize, &Node<'_>)| Some((unsigned(value)?, counter(at)));
            BinaryPlaces::Offsets(offsets.iter().enumerate().filter_map(of).collect())
        }
        Some("addrs") => BinaryPlaces::Addresses(node.list("addrs").iter().filter_map(unsigned).collect()),
        _ => {
            let mut symbols = BTreeSet::new();
            for (at, value) in node.list("symbols").iter().enumerate() {
                symbols.extend(symbol(value, report).map(|(name, offset)| (name, offset, counter(at))));
            }
            BinaryPlaces::Symbols(symbols)
        }
    }
}

fn unsigned(value: &Node<'_>) -> Option<u64> {
    u64::try_from(value.integer()?).ok()
}

/// `name`, `name+0x1f`.
fn symbol(value: &Node<'_>, report: &mut Report) -> Option<(String, u64)> {
    let text = value.text()?;
    let (name, offset) = text.rsplit_once('+').unwrap_or((text, "0"));
    let offset = match offset.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => offset.parse().ok().filter(|_| offset == "0" || !offset.starts_with(['0', '+'])),
    };
    let spaces = name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '\0');
    match offset.filter(|_| !spaces) {
        Some(offset) => Some((name.to_owned(), offset)),
        None => {
            let what = format!("{} is not a symbol", quoted(text));
            report.fault(value.path(), codes::UPROBE_PLACE, what, "write its name, or name+0xOFFSET");
            None
        }
    }
}

/// `sha256:HEX`.
fn digest(value: &Node<'_>, report: &mut Report) -> Option<String> {
    let text = value.text()?;
    let (algorithm, hex) = text.split_once(':').unwrap_or((text, ""));
    let known = DIGESTS.iter().find(|(name, _)| *name == algorithm);
    let is_hex = !hex.is_empty() && hex.len().is_multiple_of(2) && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !known.is_some_and(|(_, length)| length.is_none_or(|length| hex.len() == length)) || !is_hex {
        let what = format!("{} is not a digest", quoted(text));
        let help = "write sha1, sha256, sha384, sha512 or build-id, a colon, and hexadecimal digits";
        report.fault(value.path(), codes::UPROBE_INVALID, what, help);
        return None;
    }
    Some(text.to_ascii_lowercase())
}
