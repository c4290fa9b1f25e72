//! Documents, separated by NUL → policies → the rows of one place: whatever is valid compiles, or is named as too large, and
//! the order of policies means nothing.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use stockade_enforcer_common::plan::{ArgPlan, kind};
use stockade_enforcer_kernel::compile::{Binaries, Context, PlacedHook, compile};
use stockade_enforcer_kernel::instance::Attach;
use stockade_enforcer_kernel::place::{Part, Placed};
use stockade_policy::ir::{Class, Hook, Strength, ValidatedPolicy};
use stockade_policy::judge;

fn placed(hook: &Hook) -> Option<Placed> {
    let plan = |(at, arg): (usize, &stockade_policy::ir::Arg)| {
        let kind = match arg.ty.class() {
            Class::Number { .. } => kind::INT,
            Class::Path { .. } => kind::FILE,
            Class::Socket { .. } => kind::SOCK,
            Class::Text => kind::STRING,
            _ => return None,
        };
        Some(ArgPlan { index: u8::try_from(at).ok()?.into(), kind, ..ArgPlan::default() })
    };
    let args: Option<Vec<ArgPlan>> = hook.args.iter().enumerate().map(plan).collect();
    let attach = Attach::Lsm("x".into());
    Some(Placed {
        attach,
        args: args?,
        strength: Strength::Deny,
        why_weaker: None,
        parameters: 6,
        part: Part::Whole,
        returned: None,
    })
}

fn digest(policies: &[ValidatedPolicy], backwards: bool) -> (usize, impl PartialEq + std::fmt::Debug) {
    let members = policies.iter().map(|policy| format!("{:?}", policy.id)).collect();
    let context =
        Context { classes: BTreeMap::from([(0, members)]), binaries: Binaries::of(policies), ..Context::default() };
    let mut hooks: Vec<PlacedHook<'_>> = Vec::new();
    let mut order: Vec<&ValidatedPolicy> = policies.iter().collect();
    if backwards {
        order.reverse();
    }
    for policy in order {
        for hook in &policy.hooks {
            if let Some(placed) = placed(hook) {
                hooks.push(PlacedHook { policy, key: format!("{:?}", policy.id), hook, placed });
            }
        }
    }
    let (compiled, failures) = compile(&Attach::Lsm("x".into()), &hooks, &context);
    (failures.len(), compiled.rows.digest())
}

fuzz_target!(|text: &str| {
    let mut policies: BTreeMap<String, ValidatedPolicy> = BTreeMap::new();
    for text in text.split('\0').take(4) {
        // The compiler, not the parsers, is looked at here.
        let Ok(object) = serde_json::from_str(text) else { continue };
        if let Some(policy) = judge(&object).meaning {
            policies.insert(format!("{:?}", policy.id), policy);
        }
    }
    let policies: Vec<ValidatedPolicy> = policies.into_values().collect();
    assert_eq!(digest(&policies, false), digest(&policies, true));
});
