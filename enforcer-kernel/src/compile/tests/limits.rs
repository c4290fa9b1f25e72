//! Rate limits: of a series of events, those that the kernel's part lets through are those that the model says are due, for
//! each policy by itself, whatever others at the same place read and limit.

use stockade_enforcer_common::limit::{Digest, LimitKey, Windows, left, limit_rule, limited, scope};
use stockade_policy::ir::{Posting, RateLimit, RateScope};
use stockade_policy::model::is_due;

use super::*;

/// A policy's hook: which of the three arguments it reads, and how its one selector is limited.
type Drawn = (BTreeSet<usize>, Option<(u32, RateScope)>);

/// An event: seconds since the one before, thread group, thread in it, number, path.
type Step = (u64, u32, u32, u64, String);

fn drawn() -> impl Strategy<Value = Drawn> {
    let scope = prop_oneof![Just(RateScope::Thread), Just(RateScope::Process), Just(RateScope::Global)];
    (prop::collection::btree_set(0_usize..2, 0..3), prop::option::of((1_u32..6, scope)))
}

fn policy((reads, limit): &Drawn, name: usize) -> (ValidatedPolicy, Placed) {
    let posting = Posting { limit: limit.map(|(seconds, scope)| RateLimit { seconds, scope }), ..Posting::default() };
    let selector = Selector { actions: Actions { post: true, ..Actions::default() }, posting, ..Selector::default() };
    let mut policy = policy_of(name, Scope::Everything, Mode::Enforce, vec![selector]);
    let whole = placed();
    policy.hooks[0].args = reads.iter().map(|at| policy.hooks[0].args[*at].clone()).collect();
    let args = reads.iter().map(|at| whole.args[*at]).collect();
    (policy, Placed { args, ..whole })
}

/// The kernel's windows.
struct Kept<'a> {
    windows: &'a mut BTreeMap<LimitKey, u64>,
    step: &'a Step,
    now: u64,
    /// Digests of the arguments, by position.
    digests: [u64; 5],
    left_out: u64,
}

impl Windows for Kept<'_> {
    fn is_due(&mut self, row: &RuleRow) -> bool {
        let (_, group, thread, ..) = *self.step;
        let id = match row.scope {
            scope::THREAD => group * 10 + thread,
            scope::PROCESS => group,
            _ => 0,
        };
        let own = (0..5).filter(|at| row.args >> at & 1 == 1);
        let arguments = own.fold(Digest::new([0; 2]), |digest, at| digest.add(self.digests[at])).finish();
        let key = LimitKey { rule: row.window, id, arguments, ..LimitKey::default() };
        let last = self.windows.get(&key);
        let due = last.is_none_or(|last| self.now - last >= u64::from(row.seconds));
        if due {
            self.windows.insert(key, self.now);
        }
        due
    }
    fn count(&mut self, _: u32) {
        self.left_out += 1;
    }
}

/// Which policies report an event, as the kernel's part decides.
fn reported(compiled: &CompiledHook, happening: &Happening, kept: &mut Kept<'_>) -> BTreeSet<String> {
    let Rows { head, tables } = &*compiled.rows;
    let host = HostTables::new(tables);
    let mut work = Work::default();
    let kinds = compiled.specification.plan.args.map(|arg| arg.kind);
    let mut seen = Seen { happening, ids: BinaryIds::default(), kinds };
    decide(head, &&host, &mut seen, &mut work).unwrap();
    let (words, mut at) = (limited(head, &work, 16), 0);
    while at < MAX_RULES as u32 {
        at = limit_rule(head, &&host, &mut work, words, at, kept);
    }
    let rules = Vector::new(work.possible);
    let names: BTreeSet<String> = rules.rules().map(|rule| compiled.legend[&(rule as u32)].policy.clone()).collect();
    assert_eq!(left(head, &work, 16).1, !names.is_empty());
    names
}

/// What of a step a policy reads.
fn read(reads: &BTreeSet<usize>, step: &Step) -> (Option<u64>, Option<String>) {
    let (.., number, path) = step;
    (reads.contains(&0).then_some(*number), reads.contains(&1).then(|| path.clone()))
}

fn check_series(drawn: &[Drawn], steps: &[Step]) -> Result<(), TestCaseError> {
    let policies: Vec<_> = drawn.iter().enumerate().map(|(name, drawn)| policy(drawn, name)).collect();
    let all: Vec<ValidatedPolicy> = policies.iter().map(|(policy, _)| policy.clone()).collect();
    let context = context(&all);
    let hook = |(policy, placed): &'_ (ValidatedPolicy, Placed)| (policy_key(&policy.id), placed.clone());
    let hooks: Vec<PlacedHook<'_>> = policies
        .iter()
        .map(|both| {
            let (key, placed) = hook(both);
            PlacedHook { policy: &both.0, key, hook: &both.0.hooks[0], placed }
        })
        .collect();
    // The first half under the first policy alone: others that come do not begin its windows anew.
    let compiled: Vec<CompiledHook> = [&hooks[..1], &hooks[..]]
        .map(|hooks| compile(&Attach::Lsm("x".into()), hooks, &context).0)
        .into_iter()
        .collect();
    let any = |drawn: &[Drawn]| drawn.iter().any(|(_, limit)| limit.is_some());
    for (compiled, drawn) in compiled.iter().zip([&drawn[..1], drawn]) {
        prop_assert_eq!(compiled.specification.plan.flags & plan_flag::LIMITS != 0, any(drawn));
    }
    let mut windows = BTreeMap::new();
    let mut posted: Vec<(usize, &Step, u64)> = Vec::new();
    let mut now = 100;
    for (number, step) in steps.iter().enumerate() {
        now += step.0;
        let early = number < steps.len() / 2;
        let compiled = &compiled[usize::from(!early)];
        let kinds = compiled.specification.plan.args.map(|arg| arg.kind);
        let happening = Happening {
            class: 0,
            pid: step.1,
            binary: "/a".into(),
            number: step.3,
            path: step.4.clone(),
            socket: SocketData::default(),
        };
        let text = u64::try_from(step.4.len()).unwrap();
        let digests = kinds.map(|kind| match kind {
            kind::INT => Digest::new([1, 0]).add(step.3).finish(),
            kind::FILE => Digest::new([2, 0]).add(text).finish(),
            _ => 0,
        });
        let mut kept = Kept { windows: &mut windows, step, now, digests, left_out: 0 };
        let kernel = reported(compiled, &happening, &mut kept);
        let left_out = kept.left_out;
        let mut model = BTreeSet::new();
        let present = if early { 1 } else { policies.len() };
        for (at, (policy, _)) in policies.iter().enumerate().take(present) {
            let same = |(other, earlier, _): &&(usize, &Step, u64)| {
                *other == at && read(&drawn[at].0, earlier) == read(&drawn[at].0, step)
            };
            let last = |scope: RateScope| {
                let own = |(_, earlier, _): &&(usize, &Step, u64)| match scope {
                    RateScope::Thread => (earlier.1, earlier.2) == (step.1, step.2),
                    RateScope::Process => earlier.1 == step.1,
                    RateScope::Global => true,
                };
                posted.iter().rev().filter(same).find(own).map(|(.., time)| *time)
            };
            if is_due(&policy.hooks[0].selectors[0].posting, now, last) {
                model.insert((at, policy.id.name.clone()));
            }
        }
        posted.extend(model.iter().map(|(at, _)| (*at, step, now)));
        prop_assert_eq!(left_out as usize, present - model.len());
        prop_assert_eq!(kernel, model.into_iter().map(|(_, name)| name).collect::<BTreeSet<_>>(), "{:?}", step);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_limits_let_through_is_what_the_model_says_is_due(
        drawn in prop::collection::vec(drawn(), 1..5),
        steps in prop::collection::vec((0_u64..4, 1_u32..3, 0_u32..2, 0_u64..2, "/a{1,2}"), 2..24),
    ) {
        check_series(&drawn, &steps)?;
    }
}

#[test]
fn windows_are_told_apart_by_policy_hook_and_selector_and_by_nothing_else() {
    let limited = (BTreeSet::from([0]), Some((5, RateScope::Global)));
    let window = |name: usize, uid: &str, index: u32, selectors: usize, generation: i64| {
        let (mut policy, placed) = policy(&limited, name);
        policy.uid = uid.into();
        policy.generation = generation;
        policy.hooks[0].index = index;
        let one = policy.hooks[0].selectors[0].clone();
        policy.hooks[0].selectors = vec![one; selectors];
        let hook = PlacedHook { policy: &policy, key: policy_key(&policy.id), hook: &policy.hooks[0], placed };
        let (compiled, _) = compile(&Attach::Lsm("x".into()), &[hook], &Context::default());
        let last = compiled.legend.keys().next_back().unwrap();
        RuleRow::read_from_bytes(&compiled.rows.tables[hook_map::RULES][last.as_bytes()][..]).unwrap().window
    };
    let one = window(1, "u", 0, 1, 1);
    assert_eq!(window(1, "u", 0, 1, 2), one, "an edit does not begin it anew");
    let others = [window(2, "u", 0, 1, 1), window(1, "v", 0, 1, 1), window(1, "u", 1, 1, 1), window(1, "u", 0, 2, 1)];
    assert!(!others.contains(&one));
    assert_eq!(others.iter().collect::<BTreeSet<_>>().len(), others.len());
}
