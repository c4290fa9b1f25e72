//! `enforcers`: where what `NotifyEnforcer` asks for is done.

use std::collections::BTreeSet;

use super::hook::Reading;
use super::lists::{List, Lists};
use super::node::Node;
use super::point;
use super::report::Report;
use super::schema::quoted;
use crate::engine::{Feature, HookKind};
use crate::fault::codes;

/// The calls at which a notified process is stopped.
pub(super) fn read(spec: &Node<'_>, lists: &Lists, report: &mut Report) -> BTreeSet<String> {
    let entries = spec.list("enforcers");
    if entries.is_empty() {
        return BTreeSet::new();
    }
    report.needs(spec.path_of("enforcers"), Feature::Hook(HookKind::Enforcer));
    if entries.len() > 1 {
        let what = format!("there are {} enforcers, and a policy has one", entries.len());
        report.fault(spec.path_of("enforcers"), codes::ENFORCER_INVALID, what, "list all calls in one of them");
    }
    let (mut calls, mut referred) = (BTreeSet::new(), BTreeSet::new());
    for entry in &entries {
        if entry.field("calls").is_some_and(|list| list.is_list()) && entry.count("calls") == 0 {
            let what = "the enforcer has no calls";
            report.fault(entry.path_of("calls"), codes::VALUES_EMPTY, what, "list at least one system call");
        }
        for value in entry.each("calls") {
            calls.extend(call(&value, lists, &mut referred, report));
        }
    }
    calls
}

fn call(value: &Node<'_>, lists: &Lists, referred: &mut BTreeSet<String>, report: &mut Report) -> BTreeSet<String> {
    let Some(text) = value.text() else { return BTreeSet::new() };
    // The same list once more adds nothing, and may be long.
    if lists.refers(text) && !referred.insert(text.to_owned()) {
        return BTreeSet::new();
    }
    match lists.referred(text, value.path(), report) {
        None => {
            check(text, value.path(), report);
            [text.to_owned()].into()
        }
        Some(List::Functions(names)) => {
            names.iter().for_each(|name| check(name, value.path(), report));
            names.clone()
        }
        Some(List::Syscalls(calls)) => calls.iter().map(|(_, name)| format!("sys_{name}")).collect(),
        Some(List::Generated(_)) => {
            let what = "an enforcer cannot wait at everything that the kernel has";
            report.fault(value.path(), codes::ENFORCER_INVALID, what, "list the system calls that are meant");
            BTreeSet::new()
        }
        Some(List::Wrong) => BTreeSet::new(),
    }
}

fn check(name: &str, path: &str, report: &mut Report) {
    let (_, plain) = point::split_abi(name);
    if !point::is_symbol(plain) || !["sys_", "security_"].iter().any(|prefix| plain.starts_with(prefix)) {
        let what = format!("{} cannot be refused", quoted(name));
        report.fault(path, codes::ENFORCER_INVALID, what, "write a system call (sys_…) or a security_ function");
    }
}

/// An enforcer that nobody notifies does nothing, nor does a notification without one.
pub(super) fn check_use(spec: &Node<'_>, readings: &[Reading], report: &mut Report) {
    let has = spec.count("enforcers") != 0;
    let notified = readings.iter().any(|reading| reading.notifies);
    if has && !notified {
        let what = "no action is NotifyEnforcer, so the enforcer has nothing to do";
        report.fault(spec.path_of("enforcers"), codes::ENFORCER_UNUSED, what, "add the action, or remove the enforcer");
    }
    for reading in readings.iter().filter(|reading| reading.notifies && !has) {
        let what = format!("{} notifies an enforcer, and there is none", reading.path);
        report.fault(
            spec.path_of("enforcers"),
            codes::ENFORCER_MISSING,
            what,
            "write enforcers with the calls to refuse",
        );
    }
}
