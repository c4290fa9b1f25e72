//! Carrying out a test: every policy is asked about its events, and what it does is compared with what is expected.

use std::collections::BTreeSet;

use serde::Serialize;
use stockade_policy::Fault;
use stockade_policy::ir::{Posting, RateScope};
use stockade_policy::language::nearest;
use stockade_policy::model::{Argument, Verdict, is_due};
use stockade_policy::point::{self, key};

use super::expect::{Difference, Expected};
use super::file::{Step, Test};
use crate::event::Event;
use crate::event::trial::{self, Told, Trial};
use crate::event::verdict::Shown;
use crate::policies::Policy;

/// What became of a test.
#[derive(Debug)]
pub(crate) struct Tested {
    pub(crate) name: String,
    pub(crate) path: String,
    /// What is not as expected.
    pub(crate) failures: Vec<Failure>,
    /// Why it could not be carried out.
    pub(crate) faults: Vec<Fault>,
}

/// A policy that does something else than expected.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    /// From 1; of a test with several steps.
    pub(crate) step: Option<usize>,
    pub(crate) kind: &'static str,
    pub(crate) policy: String,
    /// Which of its hooks; `None`: it hooks nothing there.
    pub(crate) hook: Option<String>,
    pub(crate) differences: Vec<Difference>,
    pub(crate) got: Shown,
    pub(crate) why: Vec<Told>,
}

/// Carries out a test.
pub(super) fn run(test: &Test, policies: &[Policy]) -> Tested {
    let Test { name, path, steps } = test;
    let mut tested = Tested { name: name.clone(), path: path.clone(), failures: Vec::new(), faults: Vec::new() };
    let mut posted = Posted::default();
    for (number, step) in (1..).zip(steps) {
        let number = (steps.len() > 1).then_some(number);
        match of_step(step, policies, &mut posted) {
            Ok(failures) => {
                tested.failures.extend(failures.into_iter().map(|failure| Failure { step: number, ..failure }));
            }
            Err(faults) => tested.faults.extend(faults),
        }
    }
    tested
}

/// What one of a policy's hooks does.
struct Done<'a> {
    policy: &'a Policy,
    /// `None`: the policy hooks nothing there.
    trial: Option<Trial<'a>>,
    got: Shown,
}

impl Done<'_> {
    fn hook(&self) -> Option<String> {
        let hook = self.trial.as_ref()?.hook;
        Some(format!("spec.{}[{}]", hook.point.family(), hook.index))
    }
}

fn of_step(step: &Step, policies: &[Policy], posted: &mut Posted) -> Result<Vec<Failure>, Vec<Fault>> {
    check_names(step, policies)?;
    let (mut all, mut faults) = (Vec::new(), Vec::new());
    for (number, policy) in policies.iter().enumerate() {
        let mut of_policy = Vec::new();
        for (at, hook) in policy.meaning.hooks.iter().enumerate() {
            if !point::is_at(&hook.point, &step.event.hook) {
                continue;
            }
            let trial = match trial::run(&policy.meaning, hook, &step.event) {
                Ok(trial) => trial,
                Err(wrong) => {
                    faults.extend(wrong);
                    continue;
                }
            };
            match trial.verdict.clone() {
                Ok(verdict) => of_policy.push(posted.limited((number, at), policy, trial, verdict, step)),
                Err(missing) => faults.extend(unsaid(step, policy, &missing)),
            }
        }
        if of_policy.is_empty() {
            of_policy.push(Done { policy, trial: None, got: Verdict::default().into() });
        }
        all.push(of_policy);
    }
    faults.dedup();
    if faults.is_empty() { compare(step, &all) } else { Err(faults) }
}

/// That somebody hooks what is called and reads what is given.
fn check_names(step: &Step, policies: &[Policy]) -> Result<(), Vec<Fault>> {
    let Event { hook: called, arguments, returned, .. } = &step.event;
    let hooks = policies.iter().flat_map(|policy| &policy.meaning.hooks);
    let there: Vec<_> = hooks.clone().filter(|hook| point::is_at(&hook.point, called)).collect();
    if there.is_empty() {
        let names: BTreeSet<String> = hooks.map(|hook| point::name(&hook.point)).collect();
        let help = nearest(called, names.iter().map(String::as_str)).map_or_else(
            || format!("they hook {}", names.iter().cloned().collect::<Vec<_>>().join(", ")),
            |name| format!("did you mean {name}?"),
        );
        return Err(vec![fault(&step.path, "hook", "HookUnknown", format!("no policy hooks {called}"), help)]);
    }
    if let Some(returned) = returned.as_ref().filter(|_| there.iter().all(|hook| hook.returns.is_none())) {
        let (message, help) = (format!("no policy reads what {called} returns"), "remove it".into());
        return Err(vec![Fault { path: returned.path.clone(), code: "NotRead", message, help }]);
    }
    let read: BTreeSet<String> = there.iter().flat_map(|hook| &hook.args).map(key).collect();
    let labels: BTreeSet<&str> = there.iter().flat_map(|hook| &hook.args).map(|arg| arg.label.as_str()).collect();
    let unread = arguments.iter().filter(|(name, _)| !read.contains(*name) && !labels.contains(name.as_str()));
    let faults: Vec<Fault> = unread
        .map(|(name, given)| Fault {
            path: given.path.clone(),
            code: "NotRead",
            message: format!("no policy reads argument {name} of {called}"),
            help: if read.is_empty() {
                "remove it".into()
            } else {
                format!("remove it; they read {}", read.iter().cloned().collect::<Vec<_>>().join(", "))
            },
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn unsaid<'s>(step: &'s Step, policy: &Policy, missing: &[String]) -> impl Iterator<Item = Fault> + use<'s> {
    let (name, missing) = (policy.name(), missing.to_vec());
    missing.into_iter().map(move |what| {
        let message = format!("what {name} does depends on what the test does not say: {what}");
        Fault { path: step.path.clone(), code: "Unsaid", message, help: "say it in args or process".into() }
    })
}

fn fault(path: &str, field: &str, code: &'static str, message: String, help: String) -> Fault {
    Fault { path: format!("{path}.{field}"), code, message, help }
}

/// `all`: what the hooks of each policy do.
fn compare(step: &Step, all: &[Vec<Done<'_>>]) -> Result<Vec<Failure>, Vec<Fault>> {
    let (mut failures, mut faults) = (Vec::new(), Vec::new());
    let mut asked = vec![false; all.len()];
    for expected in &step.expected {
        match chosen(expected, all) {
            Ok(chosen) => {
                for (number, done) in chosen {
                    asked.get_mut(number).into_iter().for_each(|asked| *asked = true);
                    failures.extend(failure(expected, done));
                }
            }
            Err(fault) => faults.push(fault),
        }
    }
    // Of whom nothing is said, nothing is expected.
    for (of_policy, _) in all.iter().zip(asked).filter(|(_, asked)| !asked) {
        failures.extend(strongest(of_policy).and_then(|done| failure(&Expected::nothing(&step.path), done)));
    }
    if faults.is_empty() { Ok(failures) } else { Err(faults) }
}

fn failure(expected: &Expected, done: &Done<'_>) -> Option<Failure> {
    let differences = expected.compare(&done.got);
    if differences.is_empty() {
        return None;
    }
    let policy = done.policy;
    let why = done.trial.as_ref().map_or_else(Vec::new, |trial| trial.why.clone());
    Some(Failure {
        step: None,
        kind: policy.kind(),
        policy: policy.name(),
        hook: done.hook(),
        differences,
        got: done.got,
        why,
    })
}

fn strongest<'d, 'a>(of_policy: &'d [Done<'a>]) -> Option<&'d Done<'a>> {
    of_policy.iter().min_by_key(|done| done.got.rank())
}

/// Of which policy, and which of its hooks, something is expected.
fn chosen<'d, 'a>(expected: &Expected, all: &'d [Vec<Done<'a>>]) -> Result<Vec<(usize, &'d Done<'a>)>, Fault> {
    let wrong = |code, message: String, help: String| Fault { path: expected.path.clone(), code, message, help };
    let name = |of_policy: &[Done<'_>]| of_policy.first().map_or_else(String::new, |done| done.policy.name());
    let names = || all.iter().map(|of_policy| name(of_policy)).collect::<Vec<_>>().join(", ");
    let hook_of = |(number, of_policy): (usize, &'d Vec<Done<'a>>)| {
        let found = match &expected.hook {
            None => strongest(of_policy),
            Some(path) => of_policy.iter().find(|done| done.hook().as_ref() == Some(path)),
        };
        found.map(|done| (number, done)).ok_or_else(|| {
            let hooks: Vec<String> = of_policy.iter().filter_map(Done::hook).collect();
            let help = format!("it has {} there", if hooks.is_empty() { "none".into() } else { hooks.join(", ") });
            let path = expected.hook.clone().unwrap_or_default();
            wrong("HookUnknown", format!("{path} of {} is not about this event", name(of_policy)), help)
        })
    };
    let numbered: Vec<(usize, &'d Vec<Done<'a>>)> = all.iter().enumerate().collect();
    let Some(wanted) = &expected.policy else {
        if all.len() > 1 && !expected.is_nothing() {
            let help = format!("write a list, and in it policy: with one of {}", names());
            return Err(wrong("Required", format!("it does not say of which of {} policies", all.len()), help));
        }
        return numbered.into_iter().map(hook_of).collect();
    };
    let own = |of_policy: &[Done<'_>]| of_policy.first().map_or_else(String::new, |d| d.policy.meaning.id.name.clone());
    let by = |full: bool| {
        let fits =
            move |of_policy: &[Done<'_>]| if full { name(of_policy) == *wanted } else { own(of_policy) == *wanted };
        numbered.iter().copied().filter(move |(_, of_policy)| fits(of_policy)).collect::<Vec<_>>()
    };
    let found = if by(true).is_empty() { by(false) } else { by(true) };
    match found.as_slice() {
        [only] => hook_of(*only).map(|done| vec![done]),
        [] => Err(wrong("PolicyUnknown", format!("there is no policy {wanted}"), format!("there are {}", names()))),
        _ => Err(wrong("PolicyUnknown", format!("there are several policies {wanted}"), "write namespace/name".into())),
    }
}

/// What has been posted in a test so far, for rate limits.
#[derive(Debug, Default)]
struct Posted {
    events: Vec<(Source, Vec<Argument>, u32, u64)>,
}

/// A selector of a hook of a policy.
type Source = ((usize, usize), usize);

impl Posted {
    /// What is done, less the event if an equal one has been posted shortly before.
    fn limited<'a>(
        &mut self,
        hook: (usize, usize),
        policy: &'a Policy,
        mut trial: Trial<'a>,
        mut verdict: Verdict,
        step: &Step,
    ) -> Done<'a> {
        let selector = verdict.selector.and_then(|at| Some((at, trial.hook.selectors.get(at)?)));
        let Some((at, selector)) = selector.filter(|_| verdict.post && !verdict.fault) else {
            return Done { policy, trial: Some(trial), got: verdict.into() };
        };
        let on_return = selector.on_return.as_ref().filter(|_| step.event.returned.is_some());
        let posting: &Posting = on_return.map_or(&selector.posting, |on_return| &on_return.posting);
        let source = (hook, at);
        let pid = step.event.subject.process.lineage.first().map_or(0, |own| own.pid);
        let equal = |event: &&(Source, Vec<Argument>, u32, u64)| event.0 == source && event.1 == trial.arguments;
        let last = |scope: RateScope| {
            let own = |event: &&(Source, Vec<Argument>, u32, u64)| scope == RateScope::Global || event.2 == pid;
            self.events.iter().rev().filter(equal).find(own).map(|event| event.3)
        };
        if is_due(posting, step.time, last) {
            self.events.push((source, trial.arguments.clone(), pid, step.time));
        } else {
            verdict.post = false;
            trial.why.push(Told { what: "an equal event was posted too short a time before".into(), because: vec![] });
        }
        Done { policy, trial: Some(trial), got: verdict.into() }
    }
}
