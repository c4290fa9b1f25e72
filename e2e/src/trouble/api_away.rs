//! The API server is away, and agents are killed meanwhile.

use std::time::Duration;

use anyhow::Result;

use super::ledger_is_enforced;
use crate::demo::{
    NODES, PODS, Stage, enforcer_on, ready, start_loops, stop_loops, the_write_is_refused, while_writing,
};

/// Kills the API server, then each agent; the successors have only their pins and what they wrote down.
pub(super) fn enforcement_needs_no_api_server(stage: &Stage) -> Result<()> {
    ledger_is_enforced(stage)?;
    start_loops(stage)?;
    let mut addresses = Vec::new();
    for node in NODES {
        let pod = enforcer_on(stage, node)?;
        let address = format!("kubectl get pod -n stockade-system {pod} -o jsonpath='{{.status.podIP}}'");
        addresses.push(stage.quietly(&address)?.ok()?);
    }
    while_writing(stage, || {
        stage.expect("rig kill kube-apiserver")?;
        stage.refuse("kubectl get --raw /livez --request-timeout=2s", &[])?;
        for (node, address) in NODES.into_iter().zip(&addresses) {
            let before = stage.quietly(&format!("ssh {node} pgrep -x stockade-enforc"))?.ok()?;
            stage.expect(&format!("ssh {node} pkill -KILL -x stockade-enforc"))?;
            stage.until(&format!("ssh {node} pgrep -x stockade-enforc"), Duration::from_secs(120), |output| {
                output.success && output.stdout != before
            })?;
            stage.say("the successor says that the policy is in force, from what its predecessor wrote down");
            let in_force = format!(
                "ssh {node} 'exec 3<> /dev/tcp/{address}/8081; printf \"GET /metrics HTTP/1.0\\r\\n\\r\\n\" >&3; cat <&3' | grep policy_state | grep ledger | grep Programmed"
            );
            stage.until(&in_force, Duration::from_secs(120), |output| output.success)?;
        }
        stage.expect("rig start-api-server")?;
        stage.until("kubectl get --raw /readyz", Duration::from_secs(60), |output| output.success)?;
        ready(stage, "ledger")
    })?;
    stop_loops(stage)?;
    for pod in PODS {
        the_write_is_refused(stage, pod)?;
    }
    Ok(())
}
