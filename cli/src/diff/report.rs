//! Differences, for people and for programs.

use std::io::{self, Write};

use serde_json::{Value, json};
use stockade_policy::compare::{Change, Line};
use stockade_policy::digest;
use stockade_policy::sentences;
use stockade_policy::witness::Witness;

use super::{Difference, What};
use crate::args::TestFormat;
use crate::event::verdict::Shown;
use crate::event::written;
use crate::policies::Policy;
use crate::snippet::count;

const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

pub(super) fn print(differences: &[Difference], format: TestFormat) -> io::Result<()> {
    if format == TestFormat::Json {
        let policies: Vec<Value> = differences.iter().map(to_json).collect();
        let [same, changed, added, removed] = counts(differences);
        let summary = json!({"unchanged": same, "changed": changed, "added": added, "removed": removed});
        let object = json!({"version": 1, "policies": policies, "summary": summary});
        return writeln!(io::stdout().lock(), "{object:#}");
    }
    let mut out = anstream::stdout().lock();
    for difference in differences.iter().filter(|difference| !matches!(difference.what, What::Same)) {
        write(difference, &mut out)?;
    }
    writeln!(out, "{}", summary(differences))
}

/// Unchanged, changed, added, removed.
fn counts(differences: &[Difference]) -> [usize; 4] {
    let of = |is: fn(&What) -> bool| differences.iter().filter(|difference| is(&difference.what)).count();
    [
        of(|what| matches!(what, What::Same)),
        of(|what| matches!(what, What::Changed(_))),
        of(|what| matches!(what, What::Added)),
        of(|what| matches!(what, What::Removed)),
    ]
}

fn summary(differences: &[Difference]) -> String {
    let [same, changed, added, removed] = counts(differences);
    let all = count(differences.len(), "policy", "policies");
    if same == differences.len() {
        return format!("{all}: no change in meaning");
    }
    let parts = [(changed, "changed"), (added, "added"), (removed, "removed"), (same, "without a change in meaning")];
    let parts: Vec<String> =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}")).collect();
    format!("{all}: {}", parts.join(", "))
}

fn title(difference: &Difference) -> String {
    let named = |policy: &Policy| format!("{} {}", policy.kind(), policy.name());
    match (&difference.before, &difference.after) {
        (Some(old), Some(new)) if named(old) != named(new) => format!("{}, now {}", named(old), named(new)),
        (_, Some(new)) => named(new),
        (old, None) => old.as_ref().map_or_else(String::new, named),
    }
}

fn write(difference: &Difference, out: &mut impl Write) -> io::Result<()> {
    let end = match &difference.what {
        What::Added => " is new",
        What::Removed => " is gone",
        What::Same | What::Changed(_) => "",
    };
    writeln!(out, "{BOLD}{}{end}{PLAIN}", title(difference))?;
    let whole = |policy: &Option<Policy>| -> Vec<String> {
        let paragraphs = policy.iter().flat_map(|policy| sentences::explain(&policy.meaning));
        paragraphs.flatten().skip(1).collect()
    };
    match &difference.what {
        What::Changed(changes) => {
            for Change { place, lines } in changes {
                writeln!(out, "  {place}:")?;
                write_lines(lines, out)?;
            }
        }
        What::Added => {
            whole(&difference.after).iter().try_for_each(|line| writeln!(out, "    {GREEN}+ {line}{PLAIN}"))?;
        }
        What::Removed => {
            whole(&difference.before).iter().try_for_each(|line| writeln!(out, "    {RED}- {line}{PLAIN}"))?;
        }
        What::Same => {}
    }
    if !difference.on_nodes.is_empty() {
        writeln!(out, "  on the nodes of the cluster:")?;
        write_lines(&difference.on_nodes, out)?;
    }
    match &difference.witness {
        None => writeln!(out, "  No event was found that is judged differently.")?,
        Some(witness) => {
            writeln!(out, "  An event that is judged differently:")?;
            for (name, value) in written::step(witness) {
                writeln!(out, "    {name}: {}", written::flow(&value))?;
            }
            let Witness { before, after, .. } = witness;
            writeln!(out, "  before: {}", Shown::from(*before).sentence())?;
            writeln!(out, "  after:  {}", Shown::from(*after).sentence())?;
        }
    }
    writeln!(out)
}

fn write_lines(lines: &[Line], out: &mut impl Write) -> io::Result<()> {
    lines.iter().try_for_each(|line| match line {
        Line::Gone(text) => writeln!(out, "    {RED}- {text}{PLAIN}"),
        Line::New(text) => writeln!(out, "    {GREEN}+ {text}{PLAIN}"),
    })
}

fn to_json(difference: &Difference) -> Value {
    let Difference { before, after, what, witness, on_nodes } = difference;
    let either = after.as_ref().or(before.as_ref());
    let (word, changes) = match what {
        What::Same => ("unchanged", [].as_slice()),
        What::Changed(changes) => ("changed", changes.as_slice()),
        What::Added => ("added", [].as_slice()),
        What::Removed => ("removed", [].as_slice()),
    };
    let change = |Change { place, lines }: &Change| {
        let (gone, new) = told(lines);
        json!({"place": place, "gone": gone, "new": new})
    };
    let on_nodes = (!on_nodes.is_empty()).then(|| {
        let (gone, new) = told(on_nodes);
        json!({"gone": gone, "new": new})
    });
    let of = |policy: &Option<Policy>| {
        policy.as_ref().map(|policy| json!({"file": policy.file, "digest": digest(&policy.meaning)}))
    };
    json!({
        "kind": either.map(Policy::kind),
        "namespace": either.map(|policy| policy.meaning.id.namespace.clone()).filter(|namespace| !namespace.is_empty()),
        "name": either.map(|policy| policy.meaning.id.name.clone()),
        "change": word,
        "before": of(before),
        "after": of(after),
        "changes": changes.iter().map(change).collect::<Vec<_>>(),
        "onNodes": on_nodes,
        "event": witness.as_ref().map(|witness| json!({
            "test": written::step(witness),
            "before": Shown::from(witness.before),
            "after": Shown::from(witness.after),
        })),
    })
}

/// What is gone, and what is new.
fn told(lines: &[Line]) -> (Vec<&str>, Vec<&str>) {
    let gone = lines.iter().filter_map(|line| if let Line::Gone(text) = line { Some(text.as_str()) } else { None });
    let new = lines.iter().filter_map(|line| if let Line::New(text) = line { Some(text.as_str()) } else { None });
    (gone.collect(), new.collect())
}
