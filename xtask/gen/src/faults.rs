//! `docs/faults.md`: every code, from the table that the validator has.

use stockade_policy::convert::rules;
use stockade_policy::fault::codes::{self, Code, Severity};

use crate::Output;

const HEAD: &str = "# Faults

Every reason for which a policy is refused, and every remark about one that is accepted. `kubectl apply`, `stockade lint`, the
operator and the agents on the nodes give the same ones, each with the path of the field, what is wrong with it, and what to write
instead. `stockade explain CODE` prints an entry of this page.

Codes are stable: alerts and tests may rely on them. One that is added later begins as a warning, so that what an earlier release
accepted is still accepted. For each there is a document that has it in
[`testdata/policies/invalid`](../testdata/policies/invalid), and the nearest one that has not, under the same name, in `valid` (or
in `language`, where it needs something that this release does not carry out yet).

[`stockade convert`](cli.md#stockade-convert-file) rewrites what can be read in one way only, offers the readings where there are
several, and leaves the rest; what it does is said with each.

This page is generated from `policy/src/fault/codes.rs` and `policy/src/convert/rules.rs` by `cargo xtask gen`.
";

pub(crate) fn output() -> Output {
    let mut text = HEAD.to_owned();
    for (severity, title, about) in [
        (Severity::Fault, "Faults", "They refuse the document."),
        (Severity::Warning, "Warnings", "They do not refuse it."),
    ] {
        text += &format!("\n## {title}\n\n{about}\n");
        codes::ALL.iter().filter(|code| code.severity == severity).for_each(|code| text += &entry(code));
    }
    Output { path: "docs/faults.md".into(), text }
}

fn entry(code: &Code) -> String {
    let Code { name, severity, when, why, wrong, right } = code;
    let mut text = format!("\n### {name}\n\nGiven when {when}. {why}\n\n");
    if !wrong.is_empty() {
        text += &format!("- For instance: {wrong}\n");
        if !right.is_empty() {
            text += &format!("- Write instead: {right}\n");
        }
    }
    // What is accepted is not converted.
    if let Some(rule) = rules::of(name).filter(|_| *severity == Severity::Fault) {
        text += &format!("- `stockade convert` {}\n", rule.does.sentence());
    }
    text.trim_end().to_owned() + "\n"
}
