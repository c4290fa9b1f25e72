//! Stockade is taken away.

use anyhow::{Result, ensure};

use crate::demo::Stage;

/// Uninstalls while one node is dead, and known to be: before, the Job itself may be sent there, and minutes go by.
pub(super) fn uninstalling_leaves_nothing_in_the_kernel(stage: &Stage) -> Result<()> {
    stage.expect("kubectl wait node/node-2 --for=condition=Ready=Unknown --timeout=3m")?;
    let output = stage.run("helm uninstall stockade --namespace stockade-system --wait --timeout 10m")?;
    ensure!(output.success, "helm uninstall failed");
    let said = output.stdout + &output.stderr;
    for words in
        ["node-1: nothing of Stockade is left in its kernel", "did not answer", "node-2", "stockade-enforcer --detach"]
    {
        ensure!(said.contains(words), "helm uninstall does not say {words:?}:\n{said}");
    }
    // The container runtime's programs are of types that Stockade has none of.
    let left = stage.expect(
        r#"ssh node-1 'find /sys/fs/bpf/stockade -mindepth 1 2> /dev/null; bpftool prog list | grep "^[0-9]" | grep -v ": cgroup_"; true'"#,
    )?;
    ensure!(left.trim().is_empty(), "left on node-1: {left}");
    stage.expect("kubectl exec -n shop till-1 -- sh -c 'echo closed >> /srv/ledger/book'")?;
    stage.say("the policies are the users' and stay");
    stage.expect("kubectl get tracingpoliciesnamespaced -n shop ledger")?;
    ensure!(
        !stage.quietly("kubectl get validatingwebhookconfiguration stockade-tracingpolicies")?.success,
        "the webhook is still there, and nobody answers it"
    );
    Ok(())
}
