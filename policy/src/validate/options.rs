//! `options`: tunables of the policy. One says something here; the others steer mechanisms that this project chooses itself.

use super::nearest;
use super::node::Node;
use super::report::Report;
use super::schema::quoted;
use crate::fault::codes;
use crate::ir::Mode;

const POLICY_MODE: &str = "policy-mode";

/// Options of upstream that have nothing to act on here, and why.
const WITHOUT_EFFECT: [(&str, &str); 4] = [
    ("disable-kprobe-multi", "hooks of one policy do not share tables here, so nothing has to be kept apart"),
    ("disable-uprobe-multi", "hooks of one policy do not share tables here, so nothing has to be kept apart"),
    ("override-method", "the strongest mechanism that a node has is taken; minimumStrength says what is too weak"),
    ("sleepable-preload-size", "strings of programs are read without a table of that size"),
];

/// All options that there are.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    WITHOUT_EFFECT.iter().map(|(name, _)| *name).chain([POLICY_MODE])
}

/// The mode, from `spec.mode`, or from upstream's option.
pub(super) fn mode(spec: &Node<'_>, report: &mut Report) -> Mode {
    let from_option = read(spec, report);
    let field = match spec.text_of("mode") {
        "Enforce" => Some(Mode::Enforce),
        "Monitor" => Some(Mode::Monitor),
        _ => None,
    };
    if let (Some(field), Some(option)) = (field, from_option)
        && field != option
    {
        let what = "spec.mode and the option policy-mode say different things";
        report.fault(spec.path_of("mode"), codes::MODE_CONTRADICTION, what, "write one of the two");
    }
    field.or(from_option).unwrap_or(Mode::Enforce)
}

/// The mode that `options` give; every other option is refused.
fn read(spec: &Node<'_>, report: &mut Report) -> Option<Mode> {
    let mut modes = Vec::new();
    for option in spec.list("options") {
        let name = option.text_of("name");
        if name == POLICY_MODE {
            modes.extend(policy_mode(&option, report));
        } else if let Some((name, why)) = WITHOUT_EFFECT.iter().find(|(known, _)| *known == name) {
            let what = format!("{name} has no effect: {why}");
            report.fault(option.path_of("name"), codes::OPTION_NO_EFFECT, what, "remove it");
        } else if option.field("name").is_some_and(|name| name.text().is_some()) {
            let known: Vec<&str> = names().collect();
            let what = format!("the option {} does not exist", quoted(name));
            let help = nearest::suggestion(name, &known, &[POLICY_MODE]);
            report.fault(option.path_of("name"), codes::OPTION_UNKNOWN, what, help);
        }
    }
    modes.sort_unstable();
    modes.dedup();
    if modes.len() > 1 {
        let what = "policy-mode is given twice, with different values";
        report.fault(spec.path_of("options"), codes::OPTION_VALUE, what, "write one of them");
    }
    modes.first().copied()
}

fn policy_mode(option: &Node<'_>, report: &mut Report) -> Option<Mode> {
    match option.text_of("value") {
        "enforce" => Some(Mode::Enforce),
        "monitor" => Some(Mode::Monitor),
        other => {
            let what = format!("{} is not a policy-mode", quoted(other));
            report.fault(option.path_of("value"), codes::OPTION_VALUE, what, "write enforce or monitor");
            None
        }
    }
}
