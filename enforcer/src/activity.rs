//! What each policy did here, as it is published: in orders of magnitude, which change rarely, and at most every ten
//! minutes. An object that is written whenever a counter moves would be sent to everyone who watches.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use stockade_crds::PolicyEntry;
use stockade_crds::policy_status::Activity;
use stockade_policy::ir::{PolicyId, PolicyKind};

use crate::kernel::Verdicts;

/// What is published stays at least this long.
const KEPT: Duration = Duration::from_secs(600);

/// What is published, and since when.
#[derive(Debug, Default)]
pub struct Activities(BTreeMap<PolicyId, (Instant, Activity)>);

impl Activities {
    /// Adds to `entries` what their policies did.
    pub fn fill(&mut self, entries: &mut [PolicyEntry], verdicts: &BTreeMap<PolicyId, Verdicts>, now: Instant) {
        let ids: Vec<_> = entries.iter().map(id).collect();
        self.0.retain(|known, _| ids.contains(known));
        for (entry, id) in entries.iter_mut().zip(ids) {
            let Verdicts { denied, would_deny, faults, .. } = verdicts.get(&id).copied().unwrap_or_default();
            let is = Activity::of(denied, would_deny, faults);
            let (since, published) = self.0.entry(id).or_insert_with(|| (now, Activity::of(0, 0, 0)));
            // The first thing that a policy does is news.
            let is_first = *published == Activity::of(0, 0, 0);
            if *published != is && (is_first || now.duration_since(*since) >= KEPT) {
                (*since, *published) = (now, is);
            }
            entry.activity = Some(published.clone());
        }
    }
}

fn id(entry: &PolicyEntry) -> PolicyId {
    let namespaced = entry.kind == stockade_crds::PolicyKind::Namespaced.kind();
    PolicyId {
        kind: if namespaced { PolicyKind::Namespaced } else { PolicyKind::Cluster },
        namespace: entry.namespace.clone().unwrap_or_default(),
        name: entry.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_denial_is_published_at_once_and_further_ones_every_ten_minutes() {
        let entry = |name: &str| -> PolicyEntry {
            serde_json::from_value(serde_json::json!({"kind": "TracingPolicy", "name": name, "state": "Programmed"}))
                .unwrap()
        };
        let mut entries = [entry("a"), entry("b")];
        let (mut activities, start) = (Activities::default(), Instant::now());
        let mut at = |seconds: u64, denied: u64| {
            let verdicts = BTreeMap::from([(id(&entry("a")), Verdicts { denied, ..Verdicts::default() })]);
            activities.fill(&mut entries, &verdicts, start + Duration::from_secs(seconds));
            entries.clone().map(|e| e.activity.unwrap().denied)
        };
        assert_eq!(at(0, 0), ["0", "0"]);
        assert_eq!(at(10, 3), ["1+", "0"]);
        assert_eq!(at(20, 700), ["1+", "0"]);
        assert_eq!(at(609, 700), ["1+", "0"]);
        assert_eq!(at(610, 700), ["100+", "0"]);
    }
}
