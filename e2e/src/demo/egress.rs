//! Step 6: one address, two families of sockets.

use anyhow::Result;

use super::{Stage, ready};

/// Connects to the API server's service by both of its spellings, in a pod that may and in one that may not.
pub fn an_address_is_a_value_not_a_family(stage: &Stage) -> Result<()> {
    stage.expect("kubectl apply -f e2e/demo/egress.yaml")?;
    ready(stage, "egress")?;
    for (pod, other) in [("till-1", "desk-1"), ("till-2", "desk-2")] {
        for address in ["10.96.0.1", "::ffff:10.96.0.1"] {
            let connect = format!("sh -c 'nc -w 20 {address} 443 < /dev/null'");
            stage.expect(&format!("kubectl exec -n office {other} -- {connect}"))?;
            stage.refuse(&format!("kubectl exec -n shop {pod} -- {connect}"), &["Operation not permitted"])?;
        }
    }
    stage.expect("kubectl delete -f e2e/demo/egress.yaml").map(drop)
}
