//! What this node says about each policy: from judgements and what the kernel engine reports, to the entries of its
//! `NodePolicyState`. Pure; time is an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use stockade_crds::node_policy_state::{HookEntry, MAX_ENTRY_MESSAGE};
use stockade_crds::{EntryState, PolicyEntry, PolicyKind, Reason, Strength};
use stockade_policy::ir;

/// What became of one policy in this node's kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The generation that is in force; `None`: none.
    pub generation_in_force: Option<i64>,
    /// Digest of the newest generation.
    pub digest: String,
    /// The weakest mechanism over its hooks.
    pub strength: Option<Strength>,
    /// Why the newest generation is not what is in force, or is not at goal.
    pub trouble: Option<Trouble>,
    /// Its hooks that are not at goal.
    pub hooks: Vec<HookEntry>,
}

/// Why a policy is not at goal on this node.
#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    /// In the vocabulary of the status.
    pub reason: Reason,
    /// In a sentence.
    pub message: String,
}

/// Failures that may pass by themselves, and since when.
#[derive(Debug, Default)]
pub struct Attempts(BTreeMap<ir::PolicyId, Attempt>);

#[derive(Debug)]
struct Attempt {
    generation: i64,
    first: Instant,
    tries: u32,
}

/// A failure is called permanent after this many tries and this long.
const TRIES: u32 = 5;
/// See [`TRIES`].
const PATIENCE: Duration = Duration::from_secs(300);

impl Attempts {
    /// Counts a failed attempt at `generation`.
    pub fn failed(&mut self, id: &ir::PolicyId, generation: i64, now: Instant) {
        let attempt = self.0.entry(id.clone()).or_insert(Attempt { generation, first: now, tries: 0 });
        if attempt.generation != generation {
            *attempt = Attempt { generation, first: now, tries: 0 };
        }
        attempt.tries += 1;
    }

    /// Whether a policy that failed is still worth waiting for.
    #[must_use]
    pub fn state(&self, id: &ir::PolicyId, now: Instant) -> EntryState {
        match self.0.get(id) {
            Some(attempt) if attempt.tries >= TRIES && now.duration_since(attempt.first) >= PATIENCE => {
                EntryState::Failed
            }
            _ => EntryState::Retrying,
        }
    }

    /// Forgets the failures of a policy that is in force now.
    pub fn succeeded(&mut self, id: &ir::PolicyId) {
        self.0.remove(id);
    }

    /// Forgets the failures of policies that are not among `known`: nothing is due for what nobody wants any more.
    pub fn forget_all_but(&mut self, known: &[&ir::PolicyId]) {
        self.0.retain(|id, _| known.contains(&id));
    }

    /// When the next attempt is due: sooner for young failures. `None` when nothing failed.
    #[must_use]
    pub fn next_in(&self) -> Option<Duration> {
        let tries = self.0.values().map(|attempt| attempt.tries).min()?;
        Some(Duration::from_secs(1 << tries.min(6)))
    }
}

/// Whether a failure may pass by itself: otherwise only another kernel, policy or value of the chart can change it.
fn may_pass(reason: Reason) -> bool {
    !matches!(reason, Reason::HookUnavailable | Reason::Invalid | Reason::TooWeak | Reason::Tampered)
}

/// The entry of a policy whose document is not accepted.
#[must_use]
pub fn refused(id: &ir::PolicyId, uid: &str, generation: i64, faults: &[stockade_policy::Fault]) -> PolicyEntry {
    let first = faults.first().map(ToString::to_string).unwrap_or_default();
    let message = match faults.len() {
        0 | 1 => first,
        n => format!("{n} faults, the first: {first}"),
    };
    PolicyEntry {
        state: EntryState::Failed,
        reason: Some(Reason::Invalid),
        message: Some(shorten(&message)),
        ..blank(id, uid, generation)
    }
}

/// The entry of a policy that was given to the kernel engine.
#[must_use]
pub fn entry(policy: &ir::ValidatedPolicy, outcome: &Outcome, attempts: &mut Attempts, now: Instant) -> PolicyEntry {
    let id = &policy.id;
    match &outcome.trouble {
        None => attempts.succeeded(id),
        Some(trouble) if may_pass(trouble.reason) => attempts.failed(id, policy.generation, now),
        Some(_) => {}
    }
    entry_as_before(policy, outcome, attempts, now)
}

/// The entry of a policy of which nothing was tried since the last one.
#[must_use]
pub fn entry_as_before(
    policy: &ir::ValidatedPolicy,
    outcome: &Outcome,
    attempts: &Attempts,
    now: Instant,
) -> PolicyEntry {
    let id = &policy.id;
    let state = match &outcome.trouble {
        None => EntryState::Programmed,
        Some(Trouble { reason: Reason::Tampered, .. }) => EntryState::Retrying,
        Some(trouble) if may_pass(trouble.reason) => attempts.state(id, now),
        Some(_) => EntryState::Failed,
    };
    PolicyEntry {
        digest: outcome.digest.clone(),
        mode: Some(policy.status_mode()),
        state,
        generation_in_force: outcome.generation_in_force.filter(|in_force| *in_force != policy.generation),
        strength: outcome.strength,
        reason: outcome.trouble.as_ref().map(|trouble| trouble.reason),
        message: outcome.trouble.as_ref().map(|trouble| shorten(&trouble.message)),
        hooks: outcome.hooks.clone(),
        ..blank(id, &policy.uid, policy.generation)
    }
}

/// The entry of a policy that has not been given to the kernel engine yet.
#[must_use]
pub fn pending(policy: &ir::ValidatedPolicy, why: &str) -> PolicyEntry {
    PolicyEntry {
        reason: Some(Reason::Progressing),
        message: Some(shorten(why)),
        ..blank(&policy.id, &policy.uid, policy.generation)
    }
}

/// The kind of a policy as the API spells it.
#[must_use]
pub fn kind_of(id: &ir::PolicyId) -> &'static str {
    match id.kind {
        ir::PolicyKind::Cluster => PolicyKind::Cluster.kind(),
        ir::PolicyKind::Namespaced => PolicyKind::Namespaced.kind(),
    }
}

/// The entry of a file that cannot be read: what it held before stays in force.
#[must_use]
pub fn unreadable(file: &str, why: &str) -> PolicyEntry {
    let id = ir::PolicyId { kind: ir::PolicyKind::Cluster, namespace: String::new(), name: file.into() };
    PolicyEntry {
        kind: "File".into(),
        state: EntryState::Failed,
        reason: Some(Reason::Invalid),
        message: Some(shorten(why)),
        ..blank(&id, "", 0)
    }
}

fn blank(id: &ir::PolicyId, uid: &str, generation: i64) -> PolicyEntry {
    PolicyEntry {
        kind: kind_of(id).into(),
        namespace: (!id.namespace.is_empty()).then(|| id.namespace.clone()),
        name: id.name.clone(),
        uid: uid.into(),
        generation,
        digest: String::new(),
        mode: None,
        state: EntryState::Pending,
        generation_in_force: None,
        strength: None,
        reason: None,
        message: None,
        hooks: Vec::new(),
        pods_out_of_reach: None,
        activity: None,
    }
}

/// One line of at most [`MAX_ENTRY_MESSAGE`] bytes, cut at a character, with a sign that it was cut. What a verifier says
/// is pages long; the log has it.
#[must_use]
pub fn shorten(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.len() <= MAX_ENTRY_MESSAGE {
        return text;
    }
    let room = MAX_ENTRY_MESSAGE - '…'.len_utf8();
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ir::PolicyId {
        ir::PolicyId { kind: ir::PolicyKind::Namespaced, namespace: "shop".into(), name: "p".into() }
    }

    #[test]
    fn a_failure_is_retried_for_five_minutes_and_a_new_generation_starts_over() {
        let (mut attempts, start) = (Attempts::default(), Instant::now());
        for _ in 0..9 {
            attempts.failed(&id(), 1, start);
            assert_eq!(attempts.state(&id(), start), EntryState::Retrying);
        }
        assert_eq!(attempts.state(&id(), start + PATIENCE), EntryState::Failed);
        attempts.failed(&id(), 2, start + PATIENCE);
        assert_eq!(attempts.state(&id(), start + PATIENCE), EntryState::Retrying);
        assert!(attempts.next_in().is_some());
        attempts.succeeded(&id());
        assert_eq!(attempts.next_in(), None);
        attempts.failed(&id(), 2, start + PATIENCE);
        attempts.forget_all_but(&[]);
        assert_eq!(attempts.next_in(), None, "a policy that is gone is not tried again");
    }

    #[test]
    fn a_refused_document_says_how_many_faults_and_the_first() {
        let fault = |code| stockade_policy::Fault {
            path: "spec.kprobes[0]".into(),
            code,
            message: "m".into(),
            help: "h".into(),
        };
        let entry = refused(&id(), "u", 4, &[fault("PidZero"), fault("PidRange")]);
        assert_eq!(entry.state, EntryState::Failed);
        assert_eq!(entry.message.as_deref(), Some("2 faults, the first: spec.kprobes[0]: PidZero: m; h"));
        assert_eq!(entry.namespace.as_deref(), Some("shop"));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let cut = shorten(&"ä".repeat(300));
        assert!(cut.len() <= MAX_ENTRY_MESSAGE && cut.ends_with('…'));
    }
}
