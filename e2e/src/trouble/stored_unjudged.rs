//! Policies are stored that nobody has judged: the webhook was made optional, and then it was away.

use std::time::Duration;

use anyhow::Result;

use super::ledger_is_enforced;
use crate::demo::{PODS, Stage, ready, the_write_is_refused};

/// What the nodes say of each policy.
const NODES_SAY: &str = "kubectl get nodepolicystates -o jsonpath='{range .items[*]}{.metadata.name}: {range .status.policies[*]}{.namespace}/{.name} {.state} {.reason}; {end}{\"\\n\"}{end}'";
/// What the operator says of the one that is left.
const OPERATOR_SAYS: &str = "kubectl get tracingpoliciesnamespaced -n attic unjudged -o jsonpath='{range .status.conditions[*]}{.type} {.status} {.reason} {.message}{\"\\n\"}{end}'";

/// Stores an ambiguous policy in two namespaces: nodes refuse it and keep the others, and it can be removed with and
/// without the webhook.
pub(super) fn what_nobody_judged_is_refused_and_can_be_removed(stage: &Stage) -> Result<()> {
    ledger_is_enforced(stage)?;
    stage.say("the webhook is not waited for, and nobody answers");
    webhook_failure(stage, "Ignore")?;
    stage.expect("kubectl scale -n stockade-system deployment/stockade-operator --replicas=0")?;
    stage.expect(
        "kubectl wait -n stockade-system --for=delete pod -l app.kubernetes.io/component=operator --timeout=3m",
    )?;
    stage.expect("kubectl create namespace attic")?;
    for namespace in ["shop", "attic"] {
        stage.expect(&format!("kubectl apply -n {namespace} -f e2e/demo/unjudged.yaml"))?;
    }
    stage.say("each node refuses it and keeps the others");
    stage.until(NODES_SAY, Duration::from_secs(60), |output| {
        let said = output.stdout.lines();
        let refused = said
            .filter(|line| line.contains("shop/unjudged Failed Invalid") && line.contains("shop/ledger Programmed"));
        refused.count() == 2
    })?;
    for pod in PODS {
        the_write_is_refused(stage, pod)?;
    }
    stage.say("the webhook must answer again, and does not: what is stored can be labelled and deleted all the same");
    webhook_failure(stage, "Fail")?;
    stage.refuse("kubectl apply -f e2e/demo/egress.yaml", &["failed calling webhook"])?;
    stage.expect("kubectl label -n shop tracingpoliciesnamespaced/unjudged looked-at=yes")?;
    stage.expect("kubectl delete -n shop tracingpoliciesnamespaced/unjudged --cascade=foreground --timeout=1m")?;
    stage.say("the operator is back, and says what is wrong with the other");
    stage.expect("kubectl scale -n stockade-system deployment/stockade-operator --replicas=2")?;
    stage.expect("kubectl rollout status -n stockade-system deployment/stockade-operator --timeout=5m")?;
    stage.until(OPERATOR_SAYS, Duration::from_secs(60), |output| {
        output.stdout.contains("Accepted False Invalid") && output.stdout.contains("PidZero")
    })?;
    stage.expect("kubectl delete namespace attic --timeout=2m")?;
    ready(stage, "ledger")
}

/// Says what the API server does when the webhook does not answer.
fn webhook_failure(stage: &Stage, policy: &str) -> Result<()> {
    stage
        .expect(&format!(
            "kubectl patch validatingwebhookconfiguration/stockade-tracingpolicies --type=json -p \
             '[{{\"op\": \"replace\", \"path\": \"/webhooks/0/failurePolicy\", \"value\": \"{policy}\"}}]'"
        ))
        .map(drop)
}
