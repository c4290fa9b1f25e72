//! Why an alternative matches an event or does not: each of its filters by itself, in words, with the model's answer.

use crate::ir::{Hook, Selector};
use crate::model::{Argument, Process, selector_matches};
use crate::sentences;

/// One filter of an alternative, and what the model says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The filter alone.
    pub filter: Selector,
    /// What it asks.
    pub asks: String,
    /// Whether it holds; `None`: what it needs cannot be read.
    pub holds: Option<bool>,
}

/// Every filter of `selector` with the model's answer; together they match exactly when each of them holds.
#[must_use]
pub fn reasons(hook: &Hook, selector: &Selector, process: &Process, arguments: &[Argument]) -> Vec<Reason> {
    let judged = |filter: Selector| {
        let asks = sentences::clauses(hook, &filter).concat();
        let holds = selector_matches(&filter, hook, process, arguments);
        Reason { filter, asks, holds }
    };
    parts(selector).into_iter().map(judged).collect()
}

/// The filters of a selector, each as a selector that has no other.
#[must_use]
pub fn parts(selector: &Selector) -> Vec<Selector> {
    let Selector {
        pids,
        binaries,
        parent_binaries,
        namespaces,
        namespace_changes,
        capabilities,
        capability_changes,
        workloads,
        args,
        actions: _,
        posting: _,
        effects: _,
        on_return: _,
        label: _,
    } = selector;
    let none = Selector::default;
    let mut parts = Vec::new();
    parts.extend(pids.iter().map(|one| Selector { pids: vec![one.clone()], ..none() }));
    parts.extend(binaries.iter().map(|one| Selector { binaries: vec![one.clone()], ..none() }));
    parts.extend(parent_binaries.iter().map(|one| Selector { parent_binaries: vec![one.clone()], ..none() }));
    parts.extend(namespaces.iter().map(|one| Selector { namespaces: vec![one.clone()], ..none() }));
    parts.extend(namespace_changes.iter().map(|one| Selector { namespace_changes: vec![one.clone()], ..none() }));
    parts.extend(capabilities.iter().map(|one| Selector { capabilities: vec![one.clone()], ..none() }));
    parts.extend(capability_changes.iter().map(|one| Selector { capability_changes: vec![one.clone()], ..none() }));
    parts.extend(workloads.iter().map(|one| Selector { workloads: Some(one.clone()), ..none() }));
    parts.extend(args.iter().map(|one| Selector { args: vec![one.clone()], ..none() }));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Arg, ArgFilter, ArgTest, ArgType, HookPoint, PidFilter};
    use crate::model::Ancestor;

    #[test]
    fn each_filter_is_told_with_its_answer() {
        let hook = Hook { args: vec![Arg::plain(1, ArgType::Int)], ..Hook::at(HookPoint::Lsm { hook: "x".into() }) };
        let selector = Selector {
            pids: vec![PidFilter { negated: true, pids: [1].into(), follow_forks: false, namespace_pid: false }],
            args: vec![ArgFilter { arg: 0, test: ArgTest::Number([2].into()), negated: false }],
            ..Selector::default()
        };
        let process = Process { lineage: vec![Ancestor { pid: 7, own_pid: None, binary: None }], ..Process::default() };
        let told = |argument| {
            let reasons = reasons(&hook, &selector, &process, &[argument]);
            reasons.into_iter().map(|reason| (reason.asks, reason.holds)).collect::<Vec<_>>()
        };
        let pid = ("the process is not pid 1 on the node".to_owned(), Some(true));
        let number = |holds| ("argument 1 (int) is 2".to_owned(), holds);
        assert_eq!(told(Argument::Number(2)), [pid.clone(), number(Some(true))]);
        assert_eq!(told(Argument::Number(3)), [pid.clone(), number(Some(false))]);
        assert_eq!(told(Argument::Unreadable), [pid, number(None)]);
    }
}
