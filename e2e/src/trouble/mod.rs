//! What goes wrong in clusters, and what must hold all the same. The node tests play these steps after the demo's, on the
//! same two nodes; the last two take a node and the installation away.

mod agent_down;
mod api_away;
mod capability;
mod dead_node;
mod new_pods;
mod second_enforcer;
mod stored_unjudged;
mod uninstall;

use anyhow::Result;

use crate::demo::{Stage, Step, ready};

/// All steps, in the order in which they build on each other.
pub const STEPS: [Step; 8] = [
    Step { title: "the first write of a new pod is judged", run: new_pods::the_first_write_of_a_new_pod_is_judged },
    Step {
        title: "without the API server enforcement goes on, also when agents are killed",
        run: api_away::enforcement_needs_no_api_server,
    },
    Step { title: "an agent that is away is named", run: agent_down::an_agent_that_is_away_is_named },
    Step {
        title: "a second enforcer on a node refuses, and disturbs nothing",
        run: second_enforcer::a_second_enforcer_refuses,
    },
    Step {
        title: "what was stored without being judged is refused by the nodes, and can be removed",
        run: stored_unjudged::what_nobody_judged_is_refused_and_can_be_removed,
    },
    Step { title: "a capability that is missing is named", run: capability::a_missing_capability_is_named },
    Step {
        title: "a node that dies is counted, and the policy is ready on the rest",
        run: dead_node::the_policy_is_ready_on_the_rest,
    },
    Step {
        title: "uninstalling takes everything out of the kernel, and names the node that did not answer",
        run: uninstall::uninstalling_leaves_nothing_in_the_kernel,
    },
];

/// What these steps disturb: the policy of the demo, in force on both nodes.
fn ledger_is_enforced(stage: &Stage) -> Result<()> {
    stage.expect("kubectl apply -f e2e/demo/ledger.yaml")?;
    ready(stage, "ledger")
}

/// A command that prints a policy's conditions, one a line: type, status, reason, message.
const CONDITIONS: &str = "kubectl get tracingpoliciesnamespaced -n shop ledger -o jsonpath='{range .status.conditions[*]}{.type} {.status} {.reason} {.message}{\"\\n\"}{end}{.status.nodes}{\"\\n\"}'";
