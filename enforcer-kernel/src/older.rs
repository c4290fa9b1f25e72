//! A version of a policy that cannot be had: what is in force stays. Pure.

use std::collections::{BTreeMap, BTreeSet};

use stockade_policy::ir::{Mode, PolicyId, PolicyKind, ValidatedPolicy};

use crate::execute::State;
use crate::legend::{Memory, Rule};
use crate::report::{PolicyReport, Trouble};

/// Puts the versions in force in the place of those that failed; says of which policies. A namesake that was deleted is no
/// older version.
pub(crate) fn take_older<'a>(
    wanted: &mut BTreeMap<PolicyId, &'a ValidatedPolicy>,
    old: &'a BTreeMap<PolicyId, ValidatedPolicy>,
    troubles: &BTreeMap<PolicyId, Trouble>,
    failed: &mut BTreeMap<PolicyId, Trouble>,
) -> BTreeSet<PolicyId> {
    let mut taken = BTreeSet::new();
    for (id, trouble) in troubles {
        let (Some(policy), Some(older)) = (wanted.get_mut(id), old.get(id)) else { continue };
        if *policy == older || policy.uid != older.uid {
            continue;
        }
        *policy = older;
        failed.entry(id.clone()).or_insert_with(|| trouble.clone());
        taken.insert(id.clone());
    }
    taken
}

/// Why planning leaves policies out. Not of those that are only to monitor now: whoever suspends a policy that denies too
/// much must not get back the version that does.
pub(crate) fn refused(
    reports: &BTreeMap<PolicyId, PolicyReport>,
    wanted: &BTreeMap<PolicyId, &ValidatedPolicy>,
    old: &BTreeMap<PolicyId, ValidatedPolicy>,
) -> BTreeMap<PolicyId, Trouble> {
    let mode = |policy: Option<&ValidatedPolicy>| policy.map(|policy| policy.mode);
    let relaxed = |id| mode(wanted.get(id).copied()) == Some(Mode::Monitor) && mode(old.get(id)) == Some(Mode::Enforce);
    let trouble = |(id, report): (&PolicyId, &PolicyReport)| Some((id.clone(), report.trouble.clone()?));
    let left_out = reports.iter().filter(|(id, report)| report.generation_in_force.is_none() && !relaxed(*id));
    left_out.filter_map(trouble).collect()
}

/// The same as [`take_older`], and leaves out those that have no older version. `false`: nothing more can be done.
pub(crate) fn fall_back<'a>(
    wanted: &mut BTreeMap<PolicyId, &'a ValidatedPolicy>,
    old: &'a BTreeMap<PolicyId, ValidatedPolicy>,
    troubles: &BTreeMap<PolicyId, Trouble>,
    failed: &mut BTreeMap<PolicyId, Trouble>,
) -> bool {
    let mut changed = !take_older(wanted, old, troubles, failed).is_empty();
    for (id, trouble) in troubles {
        let Some(policy) = wanted.get(id) else { continue };
        if old.get(id).is_none_or(|older| older.uid != policy.uid) {
            wanted.remove(id);
            failed.entry(id.clone()).or_insert_with(|| trouble.clone());
            changed = true;
        }
    }
    changed
}

/// The policies whose rules are in what was adopted, with their generations.
pub(crate) fn adopted(state: &State, memory: &Memory) -> BTreeMap<PolicyId, i64> {
    let legends = state.hooks.values().filter_map(|hook| memory.legend(hook.identity.number, hook.head.generation));
    legends.flat_map(|legend| legend.rules.values()).map(|rule| (policy_of(rule), rule.generation)).collect()
}

/// Says which generations of an earlier agent are in force still.
pub(crate) fn say_adopted(reports: &mut BTreeMap<PolicyId, PolicyReport>, adopted: &BTreeMap<PolicyId, i64>) {
    for (id, generation) in adopted {
        if let Some(report) = reports.get_mut(id) {
            report.generation_in_force.get_or_insert(*generation);
        }
    }
}

fn policy_of(rule: &Rule) -> PolicyId {
    PolicyId {
        kind: if rule.namespaced { PolicyKind::Namespaced } else { PolicyKind::Cluster },
        namespace: rule.namespace.clone(),
        name: rule.policy.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execute::Installed;
    use crate::instance::Identity;
    use crate::legend::{Family, Legend};
    use crate::report::Reason;
    use stockade_enforcer_common::head::Head;

    fn policy(name: &str, uid: &str, generation: i64) -> ValidatedPolicy {
        let document = serde_json::json!({
            "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy",
            "metadata": {"name": name, "uid": uid, "generation": generation},
            "spec": {"lsmhooks": [{"hook": "file_open", "args": [{"index": 0, "type": "file"}]}]},
        });
        stockade_policy::judge(&document).policy.unwrap()
    }

    fn by_id(policies: &[ValidatedPolicy]) -> BTreeMap<PolicyId, ValidatedPolicy> {
        policies.iter().map(|policy| (policy.id.clone(), policy.clone())).collect()
    }

    fn troubles(policies: &[&ValidatedPolicy]) -> BTreeMap<PolicyId, Trouble> {
        let trouble = Trouble { reason: Reason::HookUnavailable, message: "not here".into() };
        policies.iter().map(|policy| (policy.id.clone(), trouble.clone())).collect()
    }

    fn report() -> PolicyReport {
        PolicyReport {
            generation_in_force: None,
            digest: String::new(),
            strength: None,
            trouble: None,
            hooks: Vec::new(),
        }
    }

    #[test]
    fn an_edit_that_this_node_cannot_do_leaves_the_version_in_force() {
        let old = by_id(&[policy("edited", "u", 1), policy("namesake", "gone", 1)]);
        let new = [policy("edited", "u", 2), policy("namesake", "u", 1), policy("first", "u", 1)];
        let mut wanted: BTreeMap<_, _> = new.iter().map(|policy| (policy.id.clone(), policy)).collect();
        let (troubles, mut failed) = (troubles(&new.iter().collect::<Vec<_>>()), BTreeMap::new());
        let taken = take_older(&mut wanted, &old, &troubles, &mut failed);
        assert_eq!(taken, BTreeSet::from([new[0].id.clone()]));
        assert_eq!(wanted[&new[0].id].generation, 1);
        assert_eq!(wanted[&new[1].id].uid, "u", "what the deleted one asked for is not this one's older version");
        assert!(take_older(&mut wanted, &old, &troubles, &mut failed).is_empty(), "it ends");
        assert!(fall_back(&mut wanted, &old, &troubles, &mut failed));
        assert_eq!(wanted.keys().collect::<Vec<_>>(), [&new[0].id]);
        assert!(!fall_back(&mut wanted, &old, &troubles, &mut failed), "it ends");
    }

    #[test]
    fn a_policy_that_is_suspended_does_not_get_back_a_version_that_denies() {
        let mut suspended = policy("p", "u", 2);
        let old = by_id(&[policy("p", "u", 1)]);
        let trouble = troubles(&[&suspended]).remove(&suspended.id);
        let reports = BTreeMap::from([(suspended.id.clone(), PolicyReport { trouble, ..report() })]);
        let of = |policy: &ValidatedPolicy| {
            refused(&reports, &BTreeMap::from([(policy.id.clone(), policy)]), &old).contains_key(&policy.id)
        };
        assert!(of(&suspended));
        suspended.mode = Mode::Monitor;
        assert!(!of(&suspended));
    }

    #[test]
    fn what_an_earlier_agent_left_in_force_is_known_by_its_rules() {
        let identity = Identity { name: "file_open-1".into(), number: 1 };
        let head = Head { generation: 7, ..Head::EMPTY };
        let mut state = State::default();
        state.hooks.insert(identity.name.clone(), Installed { identity, head, digest: [0; 32] });
        let rule = |policy: &str| Rule {
            namespaced: false,
            namespace: String::new(),
            policy: policy.into(),
            uid: "u".into(),
            generation: 3,
            family: Family::Lsm,
            function: "file_open".into(),
            hook_index: 0,
            selector: 0,
            message: String::new(),
            tags: Vec::new(),
            monitor: false,
            deny: Some(1),
            signal: None,
            post: true,
            args: Vec::new(),
            returned: None,
        };
        let mut memory = Memory::default();
        for (generation, name) in [(6, "removed"), (7, "kept")] {
            let rules = BTreeMap::from([(0, rule(name))]);
            memory.add(
                "file_open-1",
                Legend { hook: 1, generation, attach: "lsm/file_open".into(), rules, ..Legend::default() },
            );
        }
        let adopted = adopted(&state, &memory);
        let kept = policy("kept", "u", 4);
        assert_eq!(adopted, BTreeMap::from([(kept.id.clone(), 3)]));
        let mut reports = BTreeMap::from([(kept.id.clone(), report())]);
        say_adopted(&mut reports, &adopted);
        assert_eq!(reports[&kept.id].generation_in_force, Some(3));
    }
}
