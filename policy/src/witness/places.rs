//! Where a process can be, as far as scopes tell it apart.

use std::collections::{BTreeMap, BTreeSet};

use crate::ir::{LabelOperator, LabelRequirement, LabelSelector, PodScope, Scope};
use crate::model::Place;

/// The label that stands for the namespace.
const NAMESPACE: &str = "k8s:io.kubernetes.pod.namespace";
/// How many places are tried.
const PLACES: usize = 40;

type Labels = BTreeMap<String, String>;

/// The places, the plainest first, and whether any scope asks about containers.
pub(super) fn all(scopes: &[&Scope], unreadable: bool) -> (Vec<Place>, bool) {
    let pods: Vec<&PodScope> = scopes
        .iter()
        .filter_map(|scope| match scope {
            Scope::Some { pods, .. } => pods.as_ref(),
            Scope::Everything => None,
        })
        .collect();
    if scopes.iter().all(|scope| **scope == Scope::Everything) {
        return (vec![Place::Host], false);
    }
    let asks_container = pods.iter().any(|scope| !scope.containers.requirements.is_empty());
    let mut places = vec![Place::Host, pod(None, Labels::new(), &Labels::new())];
    for PodScope { namespace, pods, containers } in pods {
        let other = namespace.as_deref().filter(|only| !only.is_empty());
        let (own, of_container) = (fulfilling(pods), fulfilling(containers));
        places.push(pod(other, own.clone(), &of_container));
        places.extend(near(pods, &own).into_iter().map(|labels| pod(other, labels, &of_container)));
        places.extend(near(containers, &of_container).into_iter().map(|labels| pod(other, own.clone(), &labels)));
    }
    let mut known = Vec::new();
    for place in places {
        if !known.contains(&place) && known.len() < PLACES {
            known.push(place);
        }
    }
    known.extend(unreadable.then_some(Place::UnknownPod));
    (known, asks_container)
}

fn pod(namespace: Option<&str>, mut labels: Labels, container: &Labels) -> Place {
    let own = labels.remove(NAMESPACE);
    let part = |name: &str| container.get(name).cloned().unwrap_or_else(|| "x".into());
    Place::Pod {
        namespace: namespace.map(str::to_owned).or(own).unwrap_or_else(|| "default".into()),
        labels,
        container: Some((part("name"), part("repo"))),
    }
}

/// Labels that fulfil a selector, if any do.
fn fulfilling(selector: &LabelSelector) -> Labels {
    let mut labels = Labels::new();
    for LabelRequirement { key, operator, values } in &selector.requirements {
        match operator {
            LabelOperator::In => {
                let known = labels.get(key).filter(|known| values.contains(*known)).cloned();
                labels.extend(known.or_else(|| values.first().cloned()).map(|value| (key.clone(), value)));
            }
            LabelOperator::Exists => drop(labels.entry(key.clone()).or_insert_with(|| "x".into())),
            LabelOperator::NotIn | LabelOperator::DoesNotExist => {}
        }
    }
    labels
}

/// Labels that differ in one: another of the values, another value, or none.
fn near(selector: &LabelSelector, own: &Labels) -> Vec<Labels> {
    let mut all = BTreeSet::new();
    for LabelRequirement { key, values, .. } in &selector.requirements {
        for value in values.iter().take(PLACES).cloned().chain(["x".to_owned()]) {
            all.insert(own.clone().into_iter().chain([(key.clone(), value)]).collect::<Labels>());
        }
        all.insert(own.clone().into_iter().filter(|(own, _)| own != key).collect());
    }
    all.into_iter().collect()
}
