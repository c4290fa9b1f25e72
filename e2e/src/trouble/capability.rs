//! Somebody takes away what the agent cannot do without.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::ledger_is_enforced;
use crate::demo::{PODS, Stage, ready, the_write_is_refused};

/// Takes away what loads programs: the chart refuses, so it is taken from the running object, as another admission
/// controller would; and then given back.
pub(super) fn a_missing_capability_is_named(stage: &Stage) -> Result<()> {
    ledger_is_enforced(stage)?;
    stage.refuse(
        "helm upgrade stockade charts/stockade --namespace stockade-system --reuse-values \
         --set-json 'enforcer.capabilities=[\"PERFMON\"]'",
        &["/enforcer/capabilities", "BPF"],
    )?;
    stage.expect(
        "kubectl patch -n stockade-system daemonset/stockade-enforcer --type=json -p \
         '[{\"op\": \"replace\", \"path\": \"/spec/template/spec/containers/0/securityContext/capabilities/add\", \"value\": [\"PERFMON\"]}]'",
    )?;
    let says = "kubectl get nodepolicystates -o jsonpath='{range .items[*]}{.metadata.name} {range .status.conditions[*]}{.type} {.status} {.reason} {.message}; {end}{\"\\n\"}{end}'";
    let named = stage.until(says, Duration::from_secs(180), |output| output.stdout.contains("CapabilityMissing"))?;
    ensure!(named.stdout.contains("CAP_BPF"), "it does not say which capability: {}", named.stdout);
    stage.say("what is pinned goes on");
    for pod in PODS {
        the_write_is_refused(stage, pod)?;
    }
    stage.say("no container without it is started again and again");
    let restarts = stage.expect("kubectl get pods -n stockade-system -l app.kubernetes.io/component=enforcer -o jsonpath='{range .items[?(@.spec.containers[0].securityContext.capabilities.add[0]==\"PERFMON\")]}{.metadata.name} {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}'")?;
    ensure!(!restarts.trim().is_empty(), "no agent without the capability is there any more");
    ensure!(restarts.lines().all(|line| line.ends_with(" 0")), "started again: {restarts}");
    stage.expect("kubectl rollout undo -n stockade-system daemonset/stockade-enforcer")?;
    stage.expect("kubectl rollout status -n stockade-system daemonset/stockade-enforcer --timeout=10m")?;
    ready(stage, "ledger")
}
