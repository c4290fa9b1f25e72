//! Step 5: what must not happen while policies and agents change.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{NODES, Stage, enforcer_on};

/// Writes without pause; what goes through is noted where no policy looks. Each try is a line of its own: a file that is
/// written anew is empty for a moment.
const LOOP: &str = r#"while [ ! -e /tmp/stop ]; do (echo forged >> /srv/ledger/book) 2> /dev/null && echo forged >> /tmp/went-through; echo tried >> /tmp/tries; done"#;

/// The pods that the policy is about, one on each node.
pub(crate) const PODS: [&str; 2] = ["till-1", "till-2"];

/// Edits the policy, kills agents and upgrades them while pods write without pause.
pub fn edits_leave_no_gap(stage: &Stage) -> Result<()> {
    start_loops(stage)?;
    stage.say("an edit: another path, another message");
    while_writing(stage, || {
        stage.expect("kubectl apply -f e2e/demo/ledger-edited.yaml")?;
        ready(stage, "ledger")
    })?;
    stage.refuse(
        "kubectl exec -n shop till-1 -- sh -c 'echo forged >> /srv/stock/list'",
        &["Operation not permitted"],
    )?;

    stage.say("what decides on each node, by its number in the kernel");
    let deciding = deciding(stage)?;

    stage.say("the enforcers are deleted and come back");
    while_writing(stage, || {
        for node in NODES {
            let enforcer = enforcer_on(stage, node)?;
            stage.expect(&format!("kubectl delete pod -n stockade-system {enforcer}"))?;
        }
        stage.expect("kubectl rollout status -n stockade-system daemonset/stockade-enforcer --timeout=5m")?;
        ready(stage, "ledger")
    })?;
    adopted(stage, &deciding)?;

    stage.say("an upgrade to another image");
    while_writing(stage, || {
        stage.expect(
            "helm upgrade stockade charts/stockade --namespace stockade-system --values $RIG/release-2.yaml --wait --timeout 10m",
        )?;
        stage.expect("kubectl rollout status -n stockade-system daemonset/stockade-enforcer --timeout=10m")?;
        let images = stage.expect(
            "kubectl get pods -n stockade-system -o jsonpath='{range .items[*]}{.spec.containers[0].image}{\"\\n\"}{end}' | sort | uniq -c",
        )?;
        let wanted = stage.quietly("sed -n 's/.*tag: *//p' $RIG/release-2.yaml | sort -u")?.ok()?;
        ensure!(wanted.lines().all(|tag| images.contains(tag.trim_matches('"'))), "not the new images:\n{images}");
        ready(stage, "ledger")
    })?;
    adopted(stage, &deciding)?;
    stop_loops(stage)?;
    monitor_and_back(stage)
}

/// The programs that decide, with the numbers that they have from when they were loaded.
fn deciding(stage: &Stage) -> Result<[String; NODES.len()]> {
    let mut programs = NODES.map(|_| String::new());
    for (node, programs) in NODES.iter().zip(&mut programs) {
        *programs = stage.expect(&format!("ssh {node} 'bpftool prog list | grep \"^[0-9]*: lsm \"'"))?;
    }
    Ok(programs)
}

/// Checks that the new agents took over what the old ones had loaded.
fn adopted(stage: &Stage, before: &[String; NODES.len()]) -> Result<()> {
    stage.say("the same programs: the new agents have taken them over");
    let now = deciding(stage)?;
    ensure!(&now == before, "other programs than before:\n{}\nnow:\n{}", before.join("\n"), now.join("\n"));
    Ok(())
}

/// Starts a loop in both pods, in a session of its own: it must not end with the terminal that starts it.
pub(crate) fn start_loops(stage: &Stage) -> Result<()> {
    stage.say("in both pods, a loop writes without pause");
    for pod in PODS {
        stage.expect(&format!("kubectl exec -n shop {pod} -- sh -c 'rm -f /tmp/stop /tmp/tries /tmp/went-through'"))?;
        stage.expect(&format!("kubectl exec -n shop {pod} -- setsid sh -c '({LOOP}) > /dev/null 2>&1 &'"))?;
    }
    Ok(())
}

/// Ends them.
pub(crate) fn stop_loops(stage: &Stage) -> Result<()> {
    for pod in PODS {
        stage.expect(&format!("kubectl exec -n shop {pod} -- touch /tmp/stop"))?;
    }
    Ok(())
}

/// Runs `change` and checks that the loops went on all the while, with no write going through.
pub(crate) fn while_writing(stage: &Stage, change: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut before = Vec::new();
    for pod in PODS {
        before.push((tries(stage, pod)?, book(stage, pod)?));
    }
    change()?;
    for (pod, (before, text)) in PODS.into_iter().zip(before) {
        // The change may be over before a loop on an emulated processor has come round.
        let mut after = tries(stage, pod)?;
        for _ in 0..100 {
            if after > before {
                break;
            }
            thread::sleep(Duration::from_millis(200));
            after = tries(stage, pod)?;
        }
        ensure!(after > before, "the loop in {pod} stands still at {before}");
        let went = stage.quietly(&format!("kubectl exec -n shop {pod} -- cat /tmp/went-through"))?;
        ensure!(!went.success, "writes of {pod} went through: {}", went.stdout);
        println!("  {pod}: {} forbidden writes tried meanwhile, none went through", after - before);
        let now = book(stage, pod)?;
        ensure!(now == text, "the file of {pod} was {text:?} and is {now:?}");
    }
    Ok(())
}

/// What is in the file that nobody may write.
fn book(stage: &Stage, pod: &str) -> Result<String> {
    stage.quietly(&format!("kubectl exec -n shop {pod} -- cat /srv/ledger/book"))?.ok()
}

/// How often the loop has tried; it may have just been started.
fn tries(stage: &Stage, pod: &str) -> Result<u64> {
    let line = format!("kubectl exec -n shop {pod} -- wc -l /tmp/tries");
    let mut output = stage.quietly(&line)?;
    for _ in 0..20 {
        if output.success {
            break;
        }
        thread::sleep(Duration::from_millis(500));
        output = stage.quietly(&line)?;
    }
    let count = output.stdout.split_whitespace().next().unwrap_or_default();
    count.parse().with_context(|| format!("the loop in {pod} has not begun: {}", output.stderr))
}

/// Waits until the status is about the policy as it is now, and says that it is Ready.
pub(crate) fn ready(stage: &Stage, policy: &str) -> Result<()> {
    stage
        .expect(&format!("kubectl wait -n shop --for=condition=Ready tracingpoliciesnamespaced/{policy} --timeout=3m"))
        .map(drop)
}

/// Monitor lets through and counts; Enforce denies again.
fn monitor_and_back(stage: &Stage) -> Result<()> {
    stage.say("switched to monitor: the write goes through and is counted");
    let before = would_deny(stage)?;
    stage.expect("kubectl apply -f e2e/demo/ledger-monitor.yaml")?;
    ready(stage, "ledger")?;
    stage.expect("kubectl get tracingpoliciesnamespaced -n shop")?;
    stage.expect("kubectl exec -n shop till-1 -- sh -c 'echo test >> /srv/stock/list'")?;
    let node = enforcer_on(stage, "node-1")?;
    stage.until(&would_deny_line(&node), Duration::from_secs(60), |output| total(&output.stdout) > before)?;
    stage.say("switched back: denied again");
    stage.expect("kubectl apply -f e2e/demo/ledger-edited.yaml")?;
    ready(stage, "ledger")?;
    stage
        .refuse("kubectl exec -n shop till-1 -- sh -c 'echo test >> /srv/stock/list'", &["Operation not permitted"])
        .map(drop)
}

fn would_deny_line(enforcer: &str) -> String {
    format!(
        "kubectl get --raw /api/v1/namespaces/stockade-system/pods/{enforcer}:8081/proxy/metrics \
         | grep 'policy=\"ledger\"' | grep would_deny"
    )
}

fn would_deny(stage: &Stage) -> Result<u64> {
    let enforcer = enforcer_on(stage, "node-1")?;
    Ok(total(&stage.quietly(&would_deny_line(&enforcer))?.stdout))
}

fn total(metrics: &str) -> u64 {
    metrics.lines().filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}
