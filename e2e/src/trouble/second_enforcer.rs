//! Somebody runs a second enforcer on a node.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{CONDITIONS, ledger_is_enforced};
use crate::demo::Stage;

/// Starts one more pod of the enforcer on a node that has one.
pub(super) fn a_second_enforcer_refuses(stage: &Stage) -> Result<()> {
    ledger_is_enforced(stage)?;
    let before = stage.expect("kubectl get nodepolicystate node-1 -o jsonpath='{.status}'")?;
    let set = stage.quietly("kubectl get -n stockade-system daemonset/stockade-enforcer -o json")?.ok()?;
    let set: Value = serde_json::from_str(&set)?;
    let mut spec = set.pointer("/spec/template/spec").context("a DaemonSet without a template")?.clone();
    spec.as_object_mut().context("a template without fields")?.insert("nodeName".into(), json!("node-1"));
    let metadata = json!({"name": "second", "namespace": "stockade-system"});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    fs::write(stage.dir().join("second.json"), pod.to_string())?;
    stage.expect("kubectl apply -f $RIG/second.json")?;
    let says = "kubectl logs -n stockade-system second";
    stage.until(says, Duration::from_secs(90), |output| output.stdout.contains("SecondEnforcer"))?;
    let ready = "kubectl wait -n stockade-system --for=condition=Ready pod/second --timeout=20s";
    stage.refuse(ready, &["timed out"])?;
    let restarts =
        "kubectl get pod -n stockade-system second -o jsonpath='{.status.containerStatuses[0].restartCount}'";
    ensure!(stage.expect(restarts)? == "0", "it crashes instead of saying why it does nothing");
    let after = stage.expect("kubectl get nodepolicystate node-1 -o jsonpath='{.status}'")?;
    ensure!(before == after, "the second enforcer has changed the node's state:\n{before}\n{after}");
    let conditions = stage.expect(CONDITIONS)?;
    ensure!(conditions.contains("Ready True Enforced"), "the policy is no longer ready: {conditions}");
    stage.expect("kubectl delete pod -n stockade-system second").map(drop)
}
