//! Two replicas of the operator: which of them writes, and what becomes of it when that one is gone.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test are test code, too"
)]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stockade_e2e::eventually;

use crate::stage::{Replica, Stage, good, policy};

/// A replica that is somebody of its own to the API server: it has a service account's token.
struct Member {
    replica: Replica,
    user: String,
    _kubeconfig: tempfile::NamedTempFile,
}

impl Member {
    fn start(stage: &Stage, name: &str) -> Self {
        stage.account(name);
        let kubeconfig = stage.kubeconfig(name, &[]);
        let replica = stage.start_replica(name, kubeconfig.path().to_owned());
        let user = format!("system:serviceaccount:{}:{name}", stage.release);
        Self { replica, user, _kubeconfig: kubeconfig }
    }

    fn leads(&self) -> bool {
        self.replica.get("/metrics").contains("\nstockade_operator_leader 1\n")
    }

    fn refusals(&self) -> u64 {
        let metrics = self.replica.get("/metrics");
        let prefix = "stockade_operator_reviews_total{outcome=\"refused\"} ";
        metrics.lines().find_map(|line| line.strip_prefix(prefix)?.parse().ok()).unwrap_or(0)
    }
}

/// Which of them writes. There is never more than one, and there is one before long.
async fn leader(replicas: &[Member]) -> usize {
    eventually("a replica writes", || async {
        let leading: Vec<_> = (0..replicas.len()).filter(|at| replicas[*at].leads()).collect();
        assert!(leading.len() < 2, "two replicas take themselves for the one that writes");
        Ok(leading.first().copied())
    })
    .await
    .unwrap()
}

/// The API server, when it asks this replica, gets its answer.
async fn judges(stage: &Stage, member: &Member) {
    stage.ask(&member.replica);
    let before = member.refusals();
    let wrong = policy("probe", &json!({"nonsense": true}));
    eventually("a replica answers reviews", || async {
        let answer = stage.run(&["create", "--dry-run=server", "-f", "-"], &wrong).unwrap_err();
        anyhow::ensure!(answer.contains("UnknownField"), "{answer}");
        Ok((member.refusals() > before).then_some(()))
    })
    .await
    .unwrap();
}

/// Creates policies and returns who has written their statuses, by the API server's audit log.
async fn writers(stage: &Stage) -> BTreeSet<String> {
    let names: Vec<String> = (0..4).map(|_| stage.server.unique("written")).collect();
    for name in &names {
        stage.run(&["create", "-f", "-"], &policy(name, &good())).unwrap();
    }
    for name in &names {
        let seen = |object: &Value| object["status"]["observedGeneration"].as_i64();
        stage.until("the status is written", &["tracingpolicies.cilium.io", name], seen).await;
    }
    eventually("all writes are in the audit log", || async {
        let log = std::fs::read_to_string(stage.server.rig().dir().join("audit.log"))?;
        // The last line may be being written.
        let writes: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let written: Vec<(&str, &str)> = writes
            .iter()
            .filter_map(|write| Some((write["objectRef"]["name"].as_str()?, write["user"]["username"].as_str()?)))
            .filter(|(policy, _)| names.iter().any(|name| name == policy))
            .collect();
        let all = names.iter().all(|name| written.iter().any(|(policy, _)| policy == name));
        Ok(all.then(|| written.iter().map(|(_, user)| (*user).to_owned()).collect()))
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_both_judge_and_one_writes_and_the_other_follows_it_when_it_ends_or_is_killed() {
    let stage = Stage::set().await;
    stage.configure_webhook();
    let mut replicas = vec![Member::start(&stage, "operator-a"), Member::start(&stage, "operator-b")];
    for (how, next) in [("ends", "operator-c"), ("is killed", "operator-d")] {
        let at = leader(&replicas).await;
        for member in &replicas {
            judges(&stage, member).await;
        }
        assert_eq!(writers(&stage).await, BTreeSet::from([replicas[at].user.clone()]), "before the leader {how}");
        let operator = replicas.remove(at).replica.operator;
        if how == "ends" {
            operator.terminate().unwrap();
        } else {
            drop(operator);
        }
        // Whoever writes, policies are judged.
        judges(&stage, &replicas[0]).await;
        assert_eq!(leader(&replicas).await, 0);
        assert_eq!(writers(&stage).await, BTreeSet::from([replicas[0].user.clone()]), "after the leader {how}");
        replicas.push(Member::start(&stage, next));
    }
}
