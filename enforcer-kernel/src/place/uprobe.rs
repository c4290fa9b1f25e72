//! Where a hook in a program or library of the node goes: on instructions of one file, whoever runs it.

use stockade_enforcer_common::plan::{ArgPlan, flag};
use stockade_policy::ir::{Arg, ArgType, BinaryPlaces, Hook, Strength};

use super::{NoPlace, Node, Placed, is_number, is_short, perf_events, sized, spelling, untyped};
use crate::instance::Attach;
use crate::program_file::ProgramFile;

/// Finds the places: one for each symbol, offset or address.
pub(super) fn place(path: &str, places: &BinaryPlaces, hook: &Hook, node: Node<'_>) -> Result<Vec<Placed>, NoPlace> {
    perf_events(node, path)?;
    let file = ProgramFile::open(path).map_err(|error| NoPlace::File(format!("`{path}` on the node: {error}")))?;
    let found = file.find(places).map_err(|why| NoPlace::File(format!("`{path}` on the node {why}")))?;
    let args: Vec<ArgPlan> = hook.args.iter().map(|arg| argument(arg, &hook.args)).collect::<Result<_, _>>()?;
    let placed = found.into_iter().map(|place| {
        let attach = Attach::Uprobe {
            path: path.into(),
            place: place.name,
            offset: place.offset,
            counter: place.counter,
            stamp: file.stamp.clone(),
        };
        let why = "a probe in a program sees what the program does to itself: it can signal and cannot refuse";
        Placed::whole(attach, args.clone(), Strength::Signal).because(why.into())
    });
    Ok(placed.collect())
}

/// An argument is in a register, and what it points to in the process's memory.
fn argument(arg: &Arg, all: &[Arg]) -> Result<ArgPlan, NoPlace> {
    let plan = untyped(arg.ty, arg.index)?;
    let flags = match arg.ty {
        ArgType::String | ArgType::CharBuf => flag::USER,
        ty if is_number(ty) || ty == ArgType::Nop => plan.flags,
        _ => return Err(NoPlace::Argument(format!("a program has no {} to hand over", spelling(arg.ty)))),
    };
    Ok(sized(ArgPlan { flags, ..plan }, arg, is_short(arg, all)))
}
