//! `matchPIDs`.

use std::collections::BTreeSet;

use super::exclusions;
use super::macros::Merged;
use super::node::Node;
use super::report::Report;
use super::spec::Surroundings;
use crate::fault::codes;
use crate::ir::{PidFilter, PolicyKind};
use crate::language::limits::MAX_ENTRIES;

/// The kernel's largest pid (`PID_MAX_LIMIT`).
const MAX_PID: i64 = 4_194_304;
/// Pids of the host that are the same process on every node: init and kthreadd.
const SAME_EVERYWHERE: [u32; 2] = [1, 2];

pub(super) fn read(selector: &Merged<'_>, surroundings: &Surroundings<'_>, report: &mut Report) -> Vec<PidFilter> {
    let mut filters: Vec<PidFilter> = selector
        .list("matchPIDs")
        .iter()
        .take(MAX_ENTRIES)
        .filter_map(|node| read_one(node, surroundings, report))
        .collect();
    filters.sort_unstable();
    filters.dedup();
    if let Some(which) = contradiction(&filters) {
        let what = format!("{which} leave no process");
        report.fault(selector.path_of("matchPIDs"), codes::PID_CONTRADICTION, what, "remove one of them");
    }
    exclusions::joined(filters, merged)
}

fn merged(one: &PidFilter, other: &PidFilter) -> Option<PidFilter> {
    let alike = one.negated
        && other.negated
        && (one.follow_forks, one.namespace_pid) == (other.follow_forks, other.namespace_pid);
    alike.then(|| PidFilter { pids: &one.pids | &other.pids, ..one.clone() })
}

fn read_one(node: &Node<'_>, surroundings: &Surroundings<'_>, report: &mut Report) -> Option<PidFilter> {
    if !node.is_object() {
        return None;
    }
    let pids = values(node, report);
    let negated = match node.text_of("operator") {
        "In" => Some(false),
        "NotIn" => Some(true),
        _ => None,
    };
    let namespace_pid = check_numbering(node, &pids, surroundings, report);
    let follow_forks = node.flag_of("followForks");
    if node.field("followForks").is_none()
        && let (Some(negated), Some(first)) = (negated, pids.first())
    {
        forks_unstated(node, negated, *first, &pids, report);
    }
    Some(PidFilter { negated: negated?, pids, follow_forks: follow_forks.unwrap_or(false), namespace_pid })
}

fn values(node: &Node<'_>, report: &mut Report) -> BTreeSet<u32> {
    let values = node.list("values");
    if values.is_empty() && node.field("values").is_some_and(|list| list.is_list()) {
        report.fault(node.path_of("values"), codes::VALUES_EMPTY, "the list of pids is empty", "list at least one pid");
    }
    let mut pids = BTreeSet::new();
    for value in values {
        match value.integer() {
            None => {}
            Some(0) => report.fault(value.path(), codes::PID_ZERO, "0 is no process", "remove it"),
            Some(pid) if (1..=MAX_PID).contains(&pid) => pids.extend(u32::try_from(pid)),
            Some(pid) => {
                let what = format!("{pid} is no pid that the kernel gives");
                report.fault(value.path(), codes::PID_RANGE, what, format!("write a pid from 1 to {MAX_PID}"));
            }
        }
    }
    pids
}

fn forks_unstated(node: &Node<'_>, negated: bool, first: u32, pids: &BTreeSet<u32>, report: &mut Report) {
    let operator = if negated { "NotIn" } else { "In" };
    let (verb, done) = if negated { ("exclude", "excluded") } else { ("select", "selected") };
    let whose = if pids.len() == 1 { format!("pid {first}") } else { "these pids".into() };
    let what = format!("\"{operator} {}\" does not say whether children of {whose} are {done} too", list(pids));
    let help = format!("write followForks: true to {verb} them, false to {verb} {whose} alone");
    report.fault(node.path_of("followForks"), codes::PID_FORKS_UNSTATED, what, help);
}

/// Whose numbers the pids are: the process's own pid namespace's, or the host's.
fn check_numbering(
    node: &Node<'_>,
    pids: &BTreeSet<u32>,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> bool {
    let path = node.path_of("isNamespacePID");
    let stated = node.flag_of("isNamespacePID");
    if node.field("isNamespacePID").is_none() && surroundings.about_pods {
        let what =
            "the policy is about pods, and pid numbers inside and outside of a container are different processes";
        let help = "write isNamespacePID: true for the container's numbers, false for the host's";
        report.fault(path, codes::PID_NAMESPACE_UNSTATED, what, help);
        return false;
    }
    let namespace_pid = stated.unwrap_or(false);
    let host = !namespace_pid && (stated.is_some() || !surroundings.about_pods);
    if host && surroundings.kind == PolicyKind::Namespaced {
        let what = "a namespaced policy cannot use the host's pids: they name processes of others";
        report.fault(path, codes::PID_HOST_IN_NAMESPACED, what, "write isNamespacePID: true, or use TracingPolicy");
    } else if host
        && !surroundings.one_node
        && let Some(pid) = pids.iter().find(|pid| !SAME_EVERYWHERE.contains(pid))
    {
        let what = format!("pid {pid} of the host is a different process on every node");
        let help = "write isNamespacePID: true, or a nodeSelector with kubernetes.io/hostname of one node";
        report.fault(node.path_of("values"), codes::PID_HOST_EVERYWHERE, what, help);
    }
    namespace_pid
}

/// Which entries no process can satisfy together. Numbers of the host and of a container's own namespace are apart: nothing
/// is known about how they go together.
pub(super) fn contradiction(filters: &[PidFilter]) -> Option<String> {
    [false, true].into_iter().find_map(|namespace_pid| {
        let of_numbering =
            filters.iter().filter(|filter| filter.namespace_pid == namespace_pid && !filter.pids.is_empty());
        let (excluding, selecting): (Vec<_>, Vec<_>) = of_numbering.partition(|filter| filter.negated);
        own_pid(&selecting, &excluding).or_else(|| ancestors(&selecting, &excluding))
    })
}

/// The process's own pid must be in every list without followForks and in no excluded one.
fn own_pid(selecting: &[&PidFilter], excluding: &[&PidFilter]) -> Option<String> {
    let mut plain = selecting.iter().filter(|filter| !filter.follow_forks).map(|filter| &filter.pids);
    let first = plain.next()?;
    let common = plain.fold(first.clone(), |common, pids| &common & pids);
    if common.is_empty() {
        return Some("the lists of In".into());
    }
    let excluded: BTreeSet<u32> = excluding.iter().flat_map(|filter| filter.pids.iter().copied()).collect();
    common.is_subset(&excluded).then(|| format!("In {} and NotIn {}", list(&common), list(&(&excluded & &common))))
}

/// With followForks, an ancestor or the process itself must be in the list; whatever has an excluded ancestor is excluded.
fn ancestors(selecting: &[&PidFilter], excluding: &[&PidFilter]) -> Option<String> {
    let with_descendants = excluding.iter().filter(|filter| filter.follow_forks);
    let excluded: BTreeSet<u32> = with_descendants.flat_map(|filter| filter.pids.iter().copied()).collect();
    let none_left = |filter: &&&PidFilter| filter.follow_forks && filter.pids.is_subset(&excluded);
    let filter = selecting.iter().find(none_left)?;
    Some(format!("In {0} and NotIn {0}, both with followForks,", list(&filter.pids)))
}

/// The first few pids, in brackets.
fn list(pids: &BTreeSet<u32>) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<_> = pids.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = if pids.len() > SHOWN { ", …" } else { "" };
    format!("[{}{more}]", shown.join(", "))
}
