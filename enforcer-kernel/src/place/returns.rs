//! Where a hook goes that asks what a function returned (`return: true`).
//!
//! It reports when the function returns, where its arguments are still known, and acts where the operation begins: an
//! operation that has returned can no longer be refused. So a hook that acts has two places.

use stockade_policy::ir::{ArgType, Hook, HookPoint, Strength};

use super::{NoPlace, Node, Part, Placed, argument, entry, reach, syscall, untyped};
use crate::instance::Attach;

/// Finds the places.
pub(super) fn place(hook: &Hook, node: Node<'_>) -> Result<Vec<Placed>, NoPlace> {
    let report = report(hook, node)?;
    if !hook.acts() {
        return Ok(vec![report]);
    }
    let act = Placed { part: Part::Act, ..entry(hook, node)? };
    Ok(vec![act, report])
}

/// Where it reports.
fn report(hook: &Hook, node: Node<'_>) -> Result<Placed, NoPlace> {
    let (function, parameters, args) = match &hook.point {
        HookPoint::Kprobe { call, syscall: true } => {
            let (function, args) = syscall::entry(call, hook, node)?;
            (function, syscall::PARAMETERS, args)
        }
        HookPoint::Kprobe { call, syscall: false } => {
            let parameters = node.btf.function(call);
            let parameters = parameters.ok_or_else(|| {
                NoPlace::Unavailable(format!("this kernel does not describe `{call}`, so its return cannot be hooked"))
            })?;
            let args = hook.args.iter().map(|arg| argument(arg, &parameters, call, node.btf));
            (call.clone(), parameters.len(), args.collect::<Result<_, _>>()?)
        }
        other => {
            let name = other.name();
            return Err(NoPlace::Unavailable(format!("the return of `{name}` cannot be hooked by this version")));
        }
    };
    if node.btf.returns_void(&function) == Some(true) {
        return Err(NoPlace::Argument(format!("`{function}` returns nothing on this kernel")));
    }
    // What a function returned comes after its arguments.
    let ty = hook.returns.unwrap_or(ArgType::Nop);
    let returned = untyped(ty, u32::try_from(parameters).unwrap_or(u32::MAX))?;
    let returned = reach(returned, ty, node.btf)?;
    let why = format!("at the return of `{function}` what it did has been done");
    let placed = Placed::whole(Attach::Fexit(function), args, Strength::Observe).because(why);
    Ok(Placed { part: Part::Report, returned: Some(returned), ..placed })
}
