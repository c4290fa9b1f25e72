//! A node is gone from one moment to the next.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{CONDITIONS, ledger_is_enforced};
use crate::demo::Stage;

/// Switches a node off and reads the policy's status.
pub(super) fn the_policy_is_ready_on_the_rest(stage: &Stage) -> Result<()> {
    ledger_is_enforced(stage)?;
    stage.expect("rig kill node-2")?;
    stage.until(CONDITIONS, Duration::from_secs(75), |output| {
        output.stdout.contains("Ready True Enforced") && output.stdout.contains(r#""unreachable":1"#)
    })?;
    let shown = stage.expect("kubectl get tracingpoliciesnamespaced -n shop ledger")?;
    ensure!(shown.contains("1/2"), "the node that is away does not show: {shown}");
    Ok(())
}
