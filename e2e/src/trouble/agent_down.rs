//! An agent dies and its node cannot start it again.

use std::time::Duration;

use anyhow::Result;

use super::{CONDITIONS, ledger_is_enforced};
use crate::demo::{Stage, ready, the_write_is_refused};

/// Makes the node's container runtime unable to create containers, as a full disk or a broken upgrade would.
const BREAK: &str = r##"ssh node-2 'runc=$(command -v runc) && mv "$runc" "$runc.real" && printf "#!/bin/sh\ncase \" \$* \" in *\" create \"*) echo broken on purpose >&2; exit 1;; esac\nexec $runc.real \"\$@\"\n" > "$runc" && chmod +x "$runc"'"##;
const MEND: &str = r#"ssh node-2 'runc=$(command -v runc) && mv "$runc.real" "$runc"'"#;

/// Kills the agent of one node for good, reads the status, and lets it come back.
pub(super) fn an_agent_that_is_away_is_named(stage: &Stage) -> Result<()> {
    ledger_is_enforced(stage)?;
    stage.expect(BREAK)?;
    stage.expect("ssh node-2 pkill -KILL -x stockade-enforc")?;
    stage.until(CONDITIONS, Duration::from_secs(75), |output| {
        let said = &output.stdout;
        said.contains("Ready False AgentDown")
            && said.contains("Enforcing Unknown AgentDown")
            && said.contains("node-2")
    })?;
    stage.expect("kubectl get tracingpoliciesnamespaced -n shop ledger")?;
    stage.say("what it had pinned goes on");
    the_write_is_refused(stage, "till-2")?;
    stage.expect(MEND)?;
    stage.expect("kubectl rollout status -n stockade-system daemonset/stockade-enforcer --timeout=5m")?;
    ready(stage, "ledger")
}
