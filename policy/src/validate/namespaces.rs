//! `matchNamespaces`.

use std::collections::BTreeSet;

use super::exclusions;
use super::macros::Merged;
use super::node::Node;
use super::report::Report;
use super::schema::quoted;
use crate::fault::codes;
use crate::ir::{Namespace, NamespaceFilter, Selector};
use crate::language::limits::MAX_ENTRIES;

/// How a document writes the namespace of the host's pid 1.
const HOST: &str = "host_ns";

pub(super) fn read(selector: &Merged<'_>, report: &mut Report) -> Vec<NamespaceFilter> {
    let mut filters: Vec<NamespaceFilter> =
        selector.list("matchNamespaces").iter().take(MAX_ENTRIES).filter_map(|node| read_one(node, report)).collect();
    filters.sort_unstable();
    filters.dedup();
    let kinds: BTreeSet<Namespace> = filters.iter().map(|filter| filter.namespace).collect();
    for kind in kinds.into_iter().filter(|kind| never(&filters, *kind)) {
        let what = format!("no {kind:?} namespace satisfies all entries");
        report.fault(selector.path_of("matchNamespaces"), codes::FILTER_NEVER, what, "remove one of them");
    }
    exclusions::joined(filters, merged)
}

fn merged(one: &NamespaceFilter, other: &NamespaceFilter) -> Option<NamespaceFilter> {
    let alike = one.negated && other.negated && one.namespace == other.namespace;
    let inodes = || &one.inodes | &other.inodes;
    alike.then(|| NamespaceFilter { inodes: inodes(), host: one.host || other.host, ..one.clone() })
}

/// That the process is in the host's user namespace, or that it is not.
pub(super) const fn users_of_host(negated: bool) -> NamespaceFilter {
    NamespaceFilter { namespace: Namespace::User, negated, inodes: BTreeSet::new(), host: true }
}

/// `isNamespaceCapability` is about processes in another user namespace than the host's: as if that were excluded.
pub(super) fn check_users(node: &Merged<'_>, selector: &Selector, report: &mut Report) {
    let Selector { namespaces, capabilities, capability_changes, .. } = selector;
    let elsewhere = capabilities.iter().any(|filter| filter.in_namespace)
        || capability_changes.iter().any(|filter| filter.in_namespace);
    if !elsewhere || never(namespaces, Namespace::User) {
        return;
    }
    if never(&[namespaces.as_slice(), &[users_of_host(true)]].concat(), Namespace::User) {
        let what =
            "isNamespaceCapability is about processes outside of the host's user namespace, and only it is listed";
        report.fault(node.path_of("matchNamespaces"), codes::FILTER_NEVER, what, "remove one of them");
    }
}

fn read_one(node: &Node<'_>, report: &mut Report) -> Option<NamespaceFilter> {
    let values = node.list("values");
    if values.is_empty() && node.field("values").is_some_and(|list| list.is_list()) {
        let what = "the list of namespaces is empty";
        report.fault(node.path_of("values"), codes::VALUES_EMPTY, what, format!("list inode numbers or {HOST}"));
    }
    let mut inodes = BTreeSet::new();
    let mut host = false;
    for value in &values {
        match value.text() {
            None => {}
            Some(HOST) => host = true,
            Some(text) => inodes.extend(inode(text, value.path(), report)),
        }
    }
    let negated = match node.text_of("operator") {
        "In" => false,
        "NotIn" => true,
        _ => return None,
    };
    Some(NamespaceFilter { namespace: namespace(node.text_of("namespace"))?, negated, inodes, host })
}

fn inode(text: &str, path: &str, report: &mut Report) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !(text.len() > 1 && text.starts_with('0'));
    let inode = text.parse().ok().filter(|inode| plain && *inode > 0);
    if inode.is_none() {
        let what = format!("{} is not the inode number of a namespace", quoted(text));
        report.fault(path, codes::NUMBER_INVALID, what, format!("write a decimal number below 4294967296, or {HOST}"));
    }
    inode
}

pub(super) fn namespace(name: &str) -> Option<Namespace> {
    Some(match name {
        "Uts" => Namespace::Uts,
        "Ipc" => Namespace::Ipc,
        "Mnt" => Namespace::Mnt,
        "Pid" => Namespace::Pid,
        "PidForChildren" => Namespace::PidForChildren,
        "Net" => Namespace::Net,
        "Time" => Namespace::Time,
        "TimeForChildren" => Namespace::TimeForChildren,
        "Cgroup" => Namespace::Cgroup,
        "User" => Namespace::User,
        _ => return None,
    })
}

/// Whether the entries on `kind` leave no namespace. The host's may or may not be one of the numbers, so it counts as one
/// more value that is never known to be equal to another.
pub(super) fn never(filters: &[NamespaceFilter], kind: Namespace) -> bool {
    let values = |filter: &NamespaceFilter| -> BTreeSet<Option<u32>> {
        let host = filter.host.then_some(None);
        filter.inodes.iter().copied().map(Some).chain(host).collect()
    };
    let of_kind: Vec<_> = filters.iter().filter(|filter| filter.namespace == kind).collect();
    let mut positive = of_kind.iter().filter(|filter| !filter.negated).map(|filter| values(filter));
    let Some(first) = positive.next() else { return false };
    if first.is_empty() {
        return false;
    }
    let excluded: BTreeSet<Option<u32>> =
        of_kind.iter().filter(|filter| filter.negated).flat_map(|filter| values(filter)).collect();
    let allowed = positive.fold(first, |allowed, values| {
        let unknown = allowed.contains(&None) || values.contains(&None);
        if unknown { &allowed | &values } else { &allowed & &values }
    });
    allowed.is_subset(&excluded)
}
