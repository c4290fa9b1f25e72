//! The decision: a function of the document alone. Node facts add warnings, never refusals: a new cluster, a restore or a
//! dry run of a whole repository must not depend on which nodes have joined yet.

use stockade_crds::PolicyKind;
use stockade_crds::names::POLICY_GROUP;
use stockade_policy::facts::all_node_warnings;
use stockade_policy::fault::codes;
use stockade_policy::validate::too_large;
use stockade_policy::{Fault, Judgement, NodeFacts, judge};

use crate::review::{Malformed, Request};
use crate::warnings;

/// What becomes of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// They refuse the document.
    #[default]
    Deny,
    /// They are said as warnings: for the time in which a cluster is being moved here.
    Warn,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What refuses the document; empty: it is allowed.
    pub faults: Vec<Fault>,
    /// What is said beside the answer, one line each, already short and few enough.
    pub warnings: Vec<String>,
}

/// Decides about a request, given what is known of the nodes. `Err`: there is no object that could be judged.
pub fn decide(request: &Request, action: Action, nodes: &[NodeFacts]) -> Result<Decision, Malformed> {
    if !is_judged(request) {
        return Ok(Decision { faults: vec![], warnings: vec![] });
    }
    let judgement = if request.is_too_large() {
        Judgement { faults: vec![too_large()], ..Judgement::default() }
    } else {
        judge(&request.document()?)
    };
    let told_apart = judgement.warnings.iter().filter(|warning| warning.code != codes::TOO_MANY_WARNINGS);
    let mut said: Vec<String> = told_apart.map(warnings::of_warning).collect();
    if let Some(policy) = &judgement.policy {
        said.extend(all_node_warnings(policy, nodes).iter().map(warnings::of_nodes));
    }
    let faults = match action {
        Action::Deny => judgement.faults,
        Action::Warn => {
            said.splice(0..0, judgement.faults.iter().map(warnings::of_tolerated_fault));
            vec![]
        }
    };
    Ok(Decision { faults, warnings: warnings::few(said, judgement.more_warnings) })
}

/// The same conditions as in the manifest, for a configuration that somebody has widened: an object that is invalid already
/// must still be labelled, suspended and deleted.
fn is_judged(request: &Request) -> bool {
    let ours = request.group == POLICY_GROUP && PolicyKind::from_kind(&request.kind).is_some();
    let changes = match request.operation.as_str() {
        "CREATE" => true,
        "UPDATE" => request.metadata.generation != request.old_metadata.generation,
        _ => false,
    };
    ours && changes && !request.metadata.deleting
}
