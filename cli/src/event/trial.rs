//! A hook of a policy and an event: the model's verdict and the reasons for it, or what would have to be known.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};
use stockade_policy::fault::Fault;
use stockade_policy::ir::{
    ArgFilter, ArgTest, BinaryFilter, Hook, OnReturn, PidFilter, PodScope, Scope, Selector, ValidatedPolicy,
};
use stockade_policy::model::{Argument, Place, Verdict, decide, decide_return, in_scope};
use stockade_policy::point::{self, key};
use stockade_policy::reasons::{Reason, reasons};
use stockade_policy::sentences;

use super::value::{self, Known};
use super::{Event, Subject};

/// What a hook does about an event, and why.
#[derive(Debug)]
pub(crate) struct Trial<'a> {
    pub(crate) hook: &'a Hook,
    /// The verdict, or what is not said and would decide.
    pub(crate) verdict: Result<Verdict, Vec<String>>,
    pub(crate) why: Vec<Told>,
    /// Those of `hook.args`.
    pub(crate) arguments: Vec<Argument>,
}

/// A reason, as a line of text with those below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Told {
    pub(crate) what: String,
    pub(crate) because: Vec<String>,
}

/// A filter of a selector about this event.
struct Asked {
    reason: Reason,
    /// What is not said and would have to be.
    missing: Option<String>,
    /// What the filter looks at, where that is one value.
    found: Option<String>,
}

impl Asked {
    fn is_false(&self) -> bool {
        self.missing.is_none() && self.reason.holds == Some(false)
    }

    fn line(&self) -> String {
        let mark = match (&self.missing, self.reason.holds) {
            (Some(_), _) => "?  ",
            (None, Some(true)) => "yes",
            (None, Some(false)) => "no ",
            (None, None) => "???",
        };
        let found = match (&self.missing, &self.found) {
            (Some(missing), _) => format!(" (not said: {missing})"),
            (None, Some(found)) => format!(" (it is {found})"),
            (None, None) => String::new(),
        };
        format!("{mark} {}{found}", self.reason.asks)
    }
}

/// Tries `hook` on `event`. Faults: what is written cannot be such an argument.
pub(crate) fn run<'a>(policy: &ValidatedPolicy, hook: &'a Hook, event: &Event) -> Result<Trial<'a>, Vec<Fault>> {
    let known = arguments(hook, event)?;
    let place = &event.subject.process.place;
    if let Some(missing) = unsaid_of_scope(&policy.scope, &event.subject) {
        let what = format!("whether it is one of {} is not known", sentences::scope(&policy.scope));
        return Ok(Trial::outside(hook, Err(vec![missing]), what));
    }
    if !in_scope(&policy.scope, place) {
        let what = format!("the policy is about {}, and the process is {}", sentences::scope(&policy.scope), of(place));
        return Ok(Trial::outside(hook, Ok(Verdict::default()), what));
    }
    let trial = Attempt { policy, hook, event, known: &known };
    let called = trial.call();
    match (&event.returned, &called.verdict) {
        (Some(returned), Ok(verdict)) => trial.returned(*verdict, &returned.value, &returned.path, called.why),
        _ => Ok(called),
    }
}

impl<'a> Trial<'a> {
    /// What the policy's scope alone decides.
    fn outside(hook: &'a Hook, verdict: Result<Verdict, Vec<String>>, what: String) -> Self {
        Self { hook, verdict, why: vec![Told { what, because: Vec::new() }], arguments: Vec::new() }
    }
}

struct Attempt<'a, 'e> {
    policy: &'e ValidatedPolicy,
    hook: &'a Hook,
    event: &'e Event,
    /// Of `hook.args`; `None`: nothing is said.
    known: &'e [Option<Known>],
}

impl<'a> Attempt<'a, '_> {
    fn call(&self) -> Trial<'a> {
        let Self { policy, hook, event, .. } = self;
        let values: Vec<Argument> = self.values();
        let mut why = Vec::new();
        for (at, selector) in hook.selectors.iter().enumerate() {
            let asked = self.ask(selector);
            let missing: Vec<String> = asked.iter().filter_map(|asked| asked.missing.clone()).collect();
            let refused = asked.iter().any(Asked::is_false);
            let says = match (refused, missing.is_empty()) {
                (true, _) => "does not match",
                (false, false) => "could match",
                (false, true) if asked.iter().any(|asked| asked.reason.holds.is_none()) => "cannot be judged",
                (false, true) => "matches",
            };
            let what = format!("selectors[{at}] {says}:");
            why.push(Told { what, because: asked.iter().map(Asked::line).collect() });
            if !refused && !missing.is_empty() {
                return Trial { hook, verdict: Err(missing), why, arguments: values };
            }
            if !refused {
                break;
            }
        }
        if hook.selectors.is_empty() {
            why.push(Told { what: "without selectors, every call is reported".into(), because: Vec::new() });
        }
        let verdict = decide(policy, hook, &event.subject.process, &values);
        Trial { hook, verdict: Ok(verdict), why, arguments: values }
    }

    /// What is done when the call returns that `called` was decided about.
    fn returned(
        &self,
        called: Verdict,
        value: &Value,
        path: &str,
        mut why: Vec<Told>,
    ) -> Result<Trial<'a>, Vec<Fault>> {
        let hook = self.hook;
        let Some(ty) = hook.returns else {
            why.push(Told { what: "what is returned is not read".into(), because: Vec::new() });
            return Ok(Trial { hook, verdict: Ok(Verdict::default()), why, arguments: self.values() });
        };
        let read = value::read(ty, value)
            .map_err(|help| vec![fault(path, "ArgumentInvalid", format!("this is no {}", ty.name()), help)])?;
        let verdict = decide_return(self.policy, hook, called, &read.argument);
        let on_return = called.selector.and_then(|at| hook.selectors.get(at)?.on_return.as_ref());
        let missing = on_return.into_iter().flat_map(|on| &on.args).find_map(|filter| {
            let part = value::part_of(&filter.test, ty)?;
            read.unsaid.contains(part).then(|| format!("{part} of what is returned"))
        });
        why.push(Told { what: told_of_return(on_return, verdict), because: Vec::new() });
        let verdict = missing.map_or(Ok(verdict), |missing| Err(vec![missing]));
        Ok(Trial { hook, verdict, why, arguments: self.values() })
    }

    fn values(&self) -> Vec<Argument> {
        let value = |known: &Option<Known>| known.as_ref().map_or(Argument::Unreadable, |known| known.argument.clone());
        self.known.iter().map(value).collect()
    }

    fn ask(&self, selector: &Selector) -> Vec<Asked> {
        let values = self.values();
        let reasons = reasons(self.hook, selector, &self.event.subject.process, &values);
        let asked =
            |reason: Reason| Asked { missing: self.missing(&reason), found: self.found(&reason.filter), reason };
        reasons.into_iter().map(asked).collect()
    }

    /// What a filter needs and is not said.
    fn missing(&self, reason: &Reason) -> Option<String> {
        let Reason { filter, holds, .. } = reason;
        if let Some(filter) = filter.args.first() {
            return self.missing_argument(filter);
        }
        if let Some(pids) = filter.pids.first() {
            return self.missing_pid(pids, *holds);
        }
        if let Some(binaries) = filter.binaries.first() {
            return self.missing_binary(binaries, 0, *holds);
        }
        if let Some(parents) = filter.parent_binaries.first() {
            return self.missing_binary(parents, 1, *holds);
        }
        if let Some(scope) = &filter.workloads {
            return unsaid_of_scope(scope, &self.event.subject);
        }
        let of_namespaces = !filter.namespaces.is_empty() || !filter.namespace_changes.is_empty();
        holds.is_none().then(|| if of_namespaces { "namespaces".into() } else { "capabilities".into() })
    }

    fn missing_pid(&self, filter: &PidFilter, holds: Option<bool>) -> Option<String> {
        let Subject { process, said, has_more_parents, .. } = &self.event.subject;
        let generations = if filter.follow_forks { process.lineage.len() } else { 1 };
        if holds == Some(!filter.negated) && !process.lineage.is_empty() {
            // One that is listed decides, whoever the others are.
            return None;
        }
        let unsaid = process.lineage.is_empty() || said.iter().take(generations).any(|said| !said.pid);
        match (unsaid && !filter.namespace_pid, holds) {
            (true, _) => Some("pid".into()),
            (false, None) => Some("ownPid".into()),
            (false, Some(_)) => (filter.follow_forks && *has_more_parents).then(|| "its further parents".into()),
        }
    }

    /// `skip`: 0 for the process's own executable, 1 for its parent's.
    fn missing_binary(&self, filter: &BinaryFilter, skip: usize, holds: Option<bool>) -> Option<String> {
        let Subject { process, said, has_more_parents, .. } = &self.event.subject;
        let is_there = process.lineage.len() > skip;
        if holds == Some(!filter.negated) && is_there {
            return None;
        }
        let generations = if filter.follow_children { process.lineage.len() } else { 1 };
        let unsaid = said.iter().skip(skip).take(generations).any(|said| !said.binary);
        match skip {
            0 if said.first().is_none_or(|own| !own.binary) => Some("binary".into()),
            _ if unsaid || (!is_there && *has_more_parents) => Some("the binary of a parent".into()),
            _ => (filter.follow_children && *has_more_parents).then(|| "its further parents".into()),
        }
    }

    fn missing_argument(&self, filter: &ArgFilter) -> Option<String> {
        let positions = match &filter.test {
            ArgTest::Expression(expression) => expression.args(),
            ArgTest::Gained { new } => BTreeSet::from([filter.arg, *new]),
            _ => BTreeSet::from([filter.arg]),
        };
        positions.into_iter().find_map(|at| {
            let arg = self.hook.args.get(at)?;
            match self.known.get(at)? {
                None => Some(format!("argument {}", key(arg))),
                Some(known) => {
                    let part = value::part_of(&filter.test, arg.ty)?;
                    known.unsaid.contains(part).then(|| format!("{part} of argument {}", key(arg)))
                }
            }
        })
    }

    /// What a filter looks at.
    fn found(&self, filter: &Selector) -> Option<String> {
        let process = &self.event.subject.process;
        if let Some(ArgFilter { arg, test, .. }) = filter.args.first() {
            let (arg, known) = (self.hook.args.get(*arg)?, self.known.get(*arg)?.as_ref()?);
            let value = value::written(arg.ty, known);
            let part = value::part_of(test, arg.ty).and_then(|part| value.get(part).cloned());
            return (!matches!(test, ArgTest::Expression(_))).then(|| part.unwrap_or(value).to_string());
        }
        let own = process.lineage.first()?;
        if let Some(pids) = filter.pids.first() {
            let pid = if pids.namespace_pid { own.own_pid? } else { own.pid };
            return Some(pid.to_string());
        }
        let ancestor = if filter.binaries.is_empty() { process.lineage.get(1) } else { Some(own) };
        let of_binary = !filter.binaries.is_empty() || !filter.parent_binaries.is_empty();
        ancestor.filter(|_| of_binary)?.binary.clone()
    }
}

/// Every argument of the hook of which something is said.
fn arguments(hook: &Hook, event: &Event) -> Result<Vec<Option<Known>>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut one = |arg: &stockade_policy::ir::Arg| {
        let given = event.given(arg)?;
        match value::read(arg.ty, &given.value) {
            Ok(known) => Some(known),
            Err(help) => {
                let message =
                    format!("argument {} of {} is of type {}, and this is not", key(arg), spelt(hook), arg.ty.name());
                faults.push(fault(&given.path, "ArgumentInvalid", message, help));
                None
            }
        }
    };
    let known = hook.args.iter().map(&mut one).collect();
    if faults.is_empty() { Ok(known) } else { Err(faults) }
}

/// What decides whether a process is in a scope and is not said.
fn unsaid_of_scope(scope: &Scope, subject: &Subject) -> Option<String> {
    let Scope::Some { pods, .. } = scope else { return None };
    if !subject.place_is_said {
        return Some("pod".into());
    }
    let asks = pods.as_ref().is_some_and(|PodScope { containers, .. }| !containers.requirements.is_empty());
    let unsaid = matches!(subject.process.place, Place::Pod { container: None, .. });
    (asks && unsaid).then(|| "the container of its pod".into())
}

fn told_of_return(on_return: Option<&OnReturn>, verdict: Verdict) -> String {
    match (on_return, verdict.selector) {
        (None, _) => "nothing is asked of what is returned".into(),
        (Some(_), None) => "what is returned does not match".into(),
        (Some(_), Some(_)) if verdict.fault => "what is returned cannot be judged".into(),
        (Some(_), Some(_)) => "what is returned matches".into(),
    }
}

fn of(place: &Place) -> String {
    match place {
        Place::Host => "in no pod".into(),
        Place::UnknownPod => "in a pod that is not known yet".into(),
        Place::Pod { namespace, labels, .. } if labels.is_empty() => format!("in a pod of {namespace}"),
        Place::Pod { namespace, labels, .. } => format!("in a pod of {namespace} with labels {}", json!(labels)),
    }
}

fn spelt(hook: &Hook) -> String {
    point::name(&hook.point)
}

fn fault(path: &str, code: &'static str, message: String, help: String) -> Fault {
    Fault { path: path.to_owned(), code, message, help }
}
