//! Step 2: what the webhook refuses, and how it says so.

use anyhow::{Result, ensure};

use super::Stage;

/// Applies policies that say two things at once.
pub fn ambiguous_policies_are_refused(stage: &Stage) -> Result<()> {
    stage.say("does NotIn [1] mean the children of pid 1 too?");
    both_ways(stage, "forks-unstated", &["matchPIDs[0].followForks", "PidForksUnstated", "followForks: true"])?;
    stage.say("a mapped prefix that is every IPv4 address");
    both_ways(stage, "mapped-prefix", &["AddrMappedPrefix", "did you mean ::ffff:172.16.0.0/108"])?;
    stage.say("three faults are three answers");
    both_ways(stage, "three-faults", &["PidForksUnstated", "PidZero", "AddrHostBits"])?;
    stage.say("a misspelt field, even where nobody validates strictly");
    both_ways(stage, "misspelt", &["UnknownField", "did you mean matchPIDs?"])?;
    stage.refuse("kubectl apply --validate=false -f e2e/demo/misspelt.yaml", &["UnknownField"])?;
    let stored = stage.expect("kubectl get tracingpolicies,tracingpoliciesnamespaced -A --no-headers")?;
    ensure!(stored.trim().is_empty(), "something was stored: {stored}");
    Ok(())
}

/// Applying and asking what applying would do give the same answer.
fn both_ways(stage: &Stage, name: &str, words: &[&str]) -> Result<()> {
    let said = stage.refuse(&format!("kubectl apply -f e2e/demo/{name}.yaml"), words)?;
    let dry = stage.refuse(&format!("kubectl apply --dry-run=server -f e2e/demo/{name}.yaml"), words)?;
    ensure!(said == dry, "a dry run says something else:\n{dry}\ninstead of:\n{said}");
    Ok(())
}
