//! `stockade diff`: what changes in meaning between two policies, or two folders of them, with an event that shows it.

mod report;

use std::path::Path;

use stockade_policy::compare::{Change, Line, changes, lines};
use stockade_policy::facts::on_nodes;
use stockade_policy::witness::{Witness, witness};

use crate::Outcome;
use crate::args::DiffArgs;
use crate::cluster::{self, Nodes};
use crate::policies::{Policies, Policy};
use crate::source;

/// What became of a policy.
#[derive(Debug)]
pub(crate) enum What {
    Same,
    Changed(Vec<Change>),
    Added,
    Removed,
}

/// A policy before and after.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) before: Option<Policy>,
    pub(crate) after: Option<Policy>,
    pub(crate) what: What,
    /// An event that is judged differently, if one was found.
    pub(crate) witness: Option<Witness>,
    /// What changes on the nodes of the cluster, if one is asked.
    pub(crate) on_nodes: Vec<Line>,
}

/// Compares, prints.
pub(crate) fn run(args: &DiffArgs) -> anyhow::Result<Outcome> {
    anyhow::ensure!(args.before != args.after || args.before != Path::new("-"), "standard input can be read only once");
    let nodes = cluster::nodes(&args.cluster)?;
    let (before, after) = (load(&args.before, args.recursive)?, load(&args.after, args.recursive)?);
    let differences: Vec<Difference> =
        pairs(before, after).into_iter().map(|pair| compare(pair, nodes.as_ref())).collect();
    report::print(&differences, args.output)?;
    let same = differences.iter().all(|difference| matches!(difference.what, What::Same));
    Ok(if same { Outcome::Fine } else { Outcome::Refused })
}

fn load(path: &Path, recursive: bool) -> anyhow::Result<Vec<Policy>> {
    let mut policies = Policies::default();
    for source in source::read_all(&[path.to_owned()], recursive) {
        policies.add(&source.map_err(|error| anyhow::anyhow!("{} {}", error.file(), error.reason()))?);
    }
    anyhow::ensure!(policies.troubles.is_empty(), "{}", policies.troubles.join("\n"));
    anyhow::ensure!(!policies.list.is_empty(), "there is no policy in {}", path.display());
    let list = policies.list;
    for (at, policy) in list.iter().enumerate() {
        if let Some(first) = list.iter().take(at).find(|other| other.meaning.id == policy.meaning.id) {
            anyhow::bail!("{} {} is in {} and in {}", policy.kind(), policy.name(), first.file, policy.file);
        }
    }
    Ok(list)
}

type Pair = (Option<Policy>, Option<Policy>);

/// Policies belong together by kind, namespace and name; two that are alone anyhow.
fn pairs(before: Vec<Policy>, mut after: Vec<Policy>) -> Vec<Pair> {
    if before.len() == 1 && after.len() == 1 {
        return before.into_iter().map(Some).zip(after.into_iter().map(Some)).collect();
    }
    let mut pairs: Vec<Pair> = Vec::new();
    for policy in before {
        let same = after.iter().position(|other| other.meaning.id == policy.meaning.id).map(|at| after.remove(at));
        pairs.push((Some(policy), same));
    }
    pairs.extend(after.into_iter().map(|policy| (None, Some(policy))));
    pairs
}

fn compare((before, after): Pair, nodes: Option<&Nodes>) -> Difference {
    let what = match (&before, &after) {
        (Some(old), Some(new)) => {
            let changes = changes(&old.meaning, &new.meaning);
            if changes.is_empty() { What::Same } else { What::Changed(changes) }
        }
        (Some(_), None) => What::Removed,
        _ => What::Added,
    };
    let meaning = |policy: &'_ Option<Policy>| policy.as_ref().map(|policy| policy.meaning.clone());
    let witness = match what {
        What::Same => None,
        _ => witness(meaning(&before).as_ref(), meaning(&after).as_ref()),
    };
    let on_nodes = nodes.map(|nodes| {
        let told = |policy: &Option<Policy>| {
            policy.as_ref().map_or_else(Vec::new, |policy| on_nodes(&nodes.about(&policy.meaning), &nodes.facts))
        };
        lines(&told(&before), &told(&after))
    });
    Difference { before, after, what, witness, on_nodes: on_nodes.unwrap_or_default() }
}
