//! Steps 3 and 4: a policy for a namespace, what it denies, and what is reported.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{PODS, Stage, stage::at};

const DENIED: &str = "Operation not permitted";

/// Applies the policy and waits for it.
pub fn the_policy_is_enforced_on_both_nodes(stage: &Stage) -> Result<()> {
    for pod in PODS {
        stage.expect(&format!("kubectl exec -n shop {pod} -- sh -c 'echo opened >> /srv/ledger/book'"))?;
    }
    stage.expect("cat e2e/demo/ledger.yaml")?;
    stage.expect("kubectl apply -f e2e/demo/ledger.yaml")?;
    stage.expect("kubectl wait -n shop --for=condition=Ready tracingpoliciesnamespaced/ledger --timeout=3m")?;
    let shown = stage.expect("kubectl get tracingpoliciesnamespaced -n shop")?;
    let line = shown.lines().find(|line| line.starts_with("ledger")).context("no line for the policy")?;
    for word in ["Enforce", "2/2", "True", "Enforced"] {
        ensure!(line.split_whitespace().any(|part| part == word), "{line:?} does not say {word}");
    }
    Ok(())
}

/// Tries forbidden writes on both nodes, and allowed ones beside them.
pub fn forbidden_writes_fail_and_are_reported(stage: &Stage) -> Result<()> {
    for pod in PODS {
        the_write_is_refused(stage, pod)?;
        stage.say("a grandchild that was forked, not executed");
        stage.refuse(
            &format!(
                "kubectl exec -n shop {pod} -- sh -c '( ( echo forged >> /srv/ledger/book ) & wait $! ) & wait $!'"
            ),
            &[DENIED],
        )?;
        unchanged(stage, pod)?;
    }
    stage.say("elsewhere the same write is nobody's business: another namespace, the node itself");
    stage.expect("kubectl exec -n office desk-1 -- sh -c 'echo noted >> /srv/ledger/book'")?;
    stage.expect("kubectl exec -n office desk-2 -- sh -c 'echo noted >> /srv/ledger/book'")?;
    stage.expect("ssh node-1 'mkdir -p /srv/ledger && echo noted >> /srv/ledger/book'")?;
    stage.expect("ssh node-2 'mkdir -p /srv/ledger && echo noted >> /srv/ledger/book'")?;
    for (node, pod) in [("node-1", PODS[0]), ("node-2", PODS[1])] {
        report(stage, node, pod)?;
    }
    Ok(())
}

/// The file of a pod holds what was written before the policy came.
fn unchanged(stage: &Stage, pod: &str) -> Result<()> {
    let text = stage.expect(&format!("kubectl exec -n shop {pod} -- cat /srv/ledger/book"))?;
    ensure!(text == "opened\n", "the file of {pod} has changed:\n{text}");
    Ok(())
}

/// Tries the write that the policy forbids.
pub(crate) fn the_write_is_refused(stage: &Stage, pod: &str) -> Result<()> {
    let write = format!("kubectl exec -n shop {pod} -- sh -c 'echo forged >> /srv/ledger/book'");
    stage.refuse(&write, &[DENIED]).map(drop)
}

/// The name of the enforcer's pod on a node.
pub(crate) fn enforcer_on(stage: &Stage, node: &str) -> Result<String> {
    let name = stage
        .quietly(&format!(
            "kubectl get pods -n stockade-system -l app.kubernetes.io/component=enforcer \
             --field-selector spec.nodeName={node},status.phase=Running -o jsonpath='{{.items[0].metadata.name}}'"
        ))?
        .ok()?;
    ensure!(!name.is_empty(), "no enforcer runs on {node}");
    Ok(name)
}

/// The event on a node says who did what.
fn report(stage: &Stage, node: &str, pod: &str) -> Result<()> {
    let enforcer = enforcer_on(stage, node)?;
    stage.say(&format!("what the enforcer of {node} reports"));
    let line = format!(
        "kubectl logs -n stockade-system {enforcer} | grep '\"policy_name\":\"ledger\"' | grep '\"{pod}\"' | tail -n 1"
    );
    let output = stage.until(&line, Duration::from_secs(60), |output| !output.stdout.trim().is_empty())?;
    let event: Value = serde_json::from_str(output.stdout.trim()).context("the event is no JSON")?;
    let body =
        event.as_object().and_then(|event| event.values().find(|value| value.is_object())).context("no event")?;
    let process = at(body, "/process");
    for (what, found, wanted) in [
        ("namespace", at(process, "/pod/namespace"), "shop"),
        ("pod", at(process, "/pod/name"), pod),
        ("container", at(process, "/pod/container/name"), "till"),
        ("binary", at(process, "/binary"), "/bin/sh"),
        ("policy", at(body, "/policy_name"), "ledger"),
        ("message", at(body, "/message"), "write to the ledger"),
        ("verdict", at(body, "/verdict"), "denied"),
    ] {
        // busybox is one file under many names; its real name is as good.
        let is_so = found == wanted || (what == "binary" && found == "/bin/busybox");
        ensure!(is_so, "the event's {what} is {found}, not {wanted:?}: {event}");
    }
    ensure!(at(process, "/arguments").as_str().is_some_and(|all| all.contains("forged")), "no arguments: {event}");
    ensure!(at(body, "/parent/binary").is_string(), "no parent: {event}");
    ensure!(at(body, "/args").to_string().contains("/srv/ledger/book"), "no path: {event}");
    Ok(())
}
