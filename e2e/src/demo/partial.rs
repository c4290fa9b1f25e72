//! Step 7: nodes that cannot do what a policy asks.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Stage;

/// Applies a policy that one kernel cannot run, and one that none can.
pub fn a_node_that_cannot_is_named(stage: &Stage) -> Result<()> {
    stage.say("a hook that only one of the two kernels has");
    warned(stage, "new-kernels", &["HookUnavailable", "node-2"])?;
    settled(stage, "new-kernels", &["1/2", "HookUnavailable"])?;
    let described = stage.expect("kubectl describe tracingpoliciesnamespaced -n shop new-kernels")?;
    for word in ["HookUnavailable", "node-2", "Stalled"] {
        ensure!(described.contains(word), "kubectl describe does not say {word}");
    }
    stage.say("a hook that no kernel has");
    warned(stage, "no-kernel", &["NoNodeCanRunThis"])?;
    settled(stage, "no-kernel", &["0/2", "HookUnavailable"])?;
    stage.expect("kubectl wait -n shop --for=condition=Stalled tracingpoliciesnamespaced/no-kernel --timeout=1m")?;
    stage.expect("kubectl delete -f e2e/demo/new-kernels.yaml -f e2e/demo/no-kernel.yaml").map(drop)
}

/// It is admitted, with a warning.
fn warned(stage: &Stage, name: &str, words: &[&str]) -> Result<()> {
    let output = stage.run(&format!("kubectl apply -f e2e/demo/{name}.yaml"))?;
    ensure!(output.success, "it was refused");
    let warnings: String = output.stderr.lines().filter(|line| line.starts_with("Warning:")).collect();
    for word in words {
        ensure!(warnings.contains(word), "no warning says {word}: {:?}", output.stderr);
    }
    Ok(())
}

/// Its line in `kubectl get` comes to say each of `words`.
fn settled(stage: &Stage, name: &str, words: &[&str]) -> Result<()> {
    let line = format!("kubectl get tracingpoliciesnamespaced -n shop {name}");
    let is_so = |text: &str| words.iter().all(|word| text.split_whitespace().any(|part| part == *word));
    stage.until(&line, Duration::from_secs(90), |output| is_so(&output.stdout)).map(drop)
}
