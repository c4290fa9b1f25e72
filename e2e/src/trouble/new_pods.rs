//! Pods that do what is forbidden before anybody could have told the agent of them.

use anyhow::{Result, ensure};

use super::ledger_is_enforced;
use crate::demo::Stage;

/// The first thing that these pods do is to write.
const PODS: &str = r#"for node in 1 2; do for n in 1 2 3; do echo "
apiVersion: v1
kind: Pod
metadata: {name: early-$node-$n, namespace: shop}
spec:
  nodeName: node-$node
  restartPolicy: Never
  containers: [{name: early, image: '172.30.0.1:5000/box:1', command: [/bin/sh, -c, 'mkdir -p /srv/ledger; echo early > /srv/ledger/book; echo ended with \$?; cat /srv/ledger/book']}]
---"; done; done | kubectl apply -f -"#;

/// Starts them and reads what became of their writes.
pub(super) fn the_first_write_of_a_new_pod_is_judged(stage: &Stage) -> Result<()> {
    ledger_is_enforced(stage)?;
    stage.expect(PODS)?;
    for node in 1..=2 {
        for number in 1..=3 {
            let pod = format!("early-{node}-{number}");
            stage.expect(&format!(
                "kubectl wait -n shop --for=jsonpath={{.status.phase}}=Succeeded pod/{pod} --timeout=3m"
            ))?;
            let said = stage.expect(&format!("kubectl logs -n shop {pod}"))?;
            ensure!(said.contains("ended with 1") && !said.contains("early\n"), "{pod} has written: {said}");
            ensure!(said.contains("Operation not permitted"), "{pod} was refused for another reason: {said}");
        }
    }
    stage.expect("kubectl delete pod -n shop early-1-1 early-1-2 early-1-3 early-2-1 early-2-2 early-2-3").map(drop)
}
