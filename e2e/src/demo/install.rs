//! Step 1: the charts, as a user installs them.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Stage, removal, stage::at};

/// Capabilities that a default install may have, and no others.
const CAPABILITIES: [&str; 5] = ["BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH", "SYS_RESOURCE"];

/// Installs both charts and looks at what runs.
pub fn the_chart_installs_without_privileges(stage: &Stage) -> Result<()> {
    stage.say("the images that were built for this run, in the cluster's registry");
    stage.expect("cat $RIG/release-1.yaml")?;
    stage.expect("helm install stockade-crds charts/stockade-crds --namespace stockade-system --create-namespace")?;
    stage.expect(
        "helm install stockade charts/stockade --namespace stockade-system --values $RIG/release-1.yaml --wait --timeout 10m",
    )?;
    stage.expect("kubectl get pods -n stockade-system -o wide")?;
    stage.expect("kubectl rollout status -n stockade-system deployment/stockade-operator --timeout=5m")?;
    stage.expect("kubectl rollout status -n stockade-system daemonset/stockade-enforcer --timeout=5m")?;
    let ready = stage.expect(
        "kubectl get -n stockade-system deployment/stockade-operator daemonset/stockade-enforcer \
         -o jsonpath='{.items[0].status.readyReplicas} {.items[1].status.numberReady}{\"\\n\"}'",
    )?;
    ensure!(ready.trim() == "2 2", "2 operators and 2 enforcers are to be ready; ready are {ready}");

    stage.say("what the enforcer may do, from the running object");
    stage.expect(
        "kubectl get -n stockade-system daemonset/stockade-enforcer -o jsonpath='{.spec.template.spec.containers[*].securityContext}{\"\\n\"}'",
    )?;
    nothing_is_privileged(stage)?;
    removal::note_what_is_loaded(stage)?;
    stage.expect("kubectl apply -f e2e/demo/shop.yaml")?;
    stage.expect("kubectl wait -n shop --for=condition=Ready pod --all --timeout=5m")?;
    stage.expect("kubectl wait -n office --for=condition=Ready pod --all --timeout=5m").map(drop)
}

fn nothing_is_privileged(stage: &Stage) -> Result<()> {
    let output = stage.quietly("kubectl get -n stockade-system deployment,daemonset -o json")?.ok()?;
    let workloads: Value = serde_json::from_str(&output)?;
    for workload in at(&workloads, "/items").as_array().context("no list of workloads")? {
        let name = at(workload, "/metadata/name").as_str().unwrap_or_default();
        let pod = at(workload, "/spec/template/spec");
        ensure!(at(pod, "/hostNetwork") != true, "{name} uses the host's network");
        for container in at(pod, "/containers").as_array().context("no containers")? {
            let security = at(container, "/securityContext");
            ensure!(at(security, "/privileged") != true, "{name} is privileged");
            ensure!(at(security, "/allowPrivilegeEscalation") == false, "{name} may gain privileges");
            ensure!(at(security, "/readOnlyRootFilesystem") == true, "{name} may write to its root");
            ensure!(*at(security, "/capabilities/drop") == serde_json::json!(["ALL"]), "{name} drops no capabilities");
            let added = at(security, "/capabilities/add").as_array().cloned().unwrap_or_default();
            let unexpected: Vec<_> =
                added.iter().filter(|added| !CAPABILITIES.iter().any(|known| **added == *known)).collect();
            ensure!(unexpected.is_empty(), "{name} has the capabilities {unexpected:?} too");
        }
    }
    Ok(())
}
