//! Totals of what the kernel counts: its numbers begin anew with each generation of a hook, a counter people read does not.

use std::collections::BTreeMap;

use stockade_enforcer_common::counter::Place;
use stockade_enforcer_common::head::RuleCounts;
use stockade_enforcer_kernel::counters::Counters;
use stockade_enforcer_kernel::legend::Rule;
use stockade_policy::ir::{PolicyId, PolicyKind};

use crate::kernel::{Counts, Verdicts};

/// A rule across generations: its policy, and where in it.
type RuleKey = (PolicyId, String, u32, u32);

/// What has been counted since the agent started.
#[derive(Debug, Default)]
pub struct Totals {
    last: BTreeMap<RuleKey, (u64, RuleCounts)>,
    counts: Counts,
}

impl Totals {
    /// Takes in what the kernel says now.
    pub fn add(&mut self, counters: &Counters) {
        for counted in &counters.rules {
            let id = policy_of(&counted.rule);
            let key = (id.clone(), counted.rule.function.clone(), counted.rule.hook_index, counted.rule.selector);
            let zero = RuleCounts::default();
            let before = match self.last.insert(key, (counted.generation, counted.counts)) {
                Some((generation, counts)) if generation == counted.generation => counts,
                _ => zero,
            };
            let now = counted.counts;
            let grown = |now: u64, before: u64| now.saturating_sub(before);
            let total = self.counts.verdicts.entry(id).or_default();
            *total = Verdicts {
                matched: total.matched + grown(now.matched, before.matched),
                denied: total.denied + grown(now.denied, before.denied),
                would_deny: total.would_deny + grown(now.would_deny, before.would_deny),
                faults: total.faults + grown(now.faults, before.faults),
                limited: total.limited + grown(now.limited, before.limited),
            };
        }
        self.counts.errors = counters.places.iter().map(|(place, count)| ((*place).to_owned(), *count)).collect();
        self.counts.events_lost = counters.places.get(Place::EventLost.name()).copied().unwrap_or_default();
        self.counts.missed.clone_from(&counters.missed);
    }

    /// Forgets the policies that are not among `known`: deleted ones must not be remembered for ever.
    pub fn forget_all_but(&mut self, known: &[&PolicyId]) {
        self.last.retain(|(id, ..), _| known.contains(&id));
        self.counts.verdicts.retain(|id, _| known.contains(&id));
    }

    /// The totals.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
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
    use stockade_enforcer_kernel::counters::CountedRule;
    use stockade_enforcer_kernel::legend::Family;

    use super::*;

    fn counted(generation: u64, denied: u64) -> Counters {
        let rule = Rule {
            namespaced: false,
            namespace: String::new(),
            policy: "p".into(),
            uid: String::new(),
            generation: 1,
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
        let counts = RuleCounts { denied, limited: 2 * denied, ..RuleCounts::default() };
        Counters { rules: vec![CountedRule { rule, generation, counts }], ..Counters::default() }
    }

    #[test]
    fn a_new_generation_begins_at_zero_and_the_total_does_not() {
        let mut totals = Totals::default();
        for (generation, denied, total) in [(1, 3, 3), (1, 5, 5), (2, 1, 6), (2, 1, 6), (2, 4, 9)] {
            totals.add(&counted(generation, denied));
            let verdicts = totals.counts().verdicts.values().next().unwrap();
            assert_eq!((verdicts.denied, verdicts.limited), (total, 2 * total));
        }
        totals.forget_all_but(&[]);
        assert!(totals.counts().verdicts.is_empty() && totals.last.is_empty());
    }
}
