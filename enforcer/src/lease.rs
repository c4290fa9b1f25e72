//! The heartbeat: a Lease named like the node in the release's namespace.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use stockade_crds::names::ENFORCER_MANAGER;
use tokio_util::sync::CancellationToken;

/// A missed beat or two must not make the agent look dead.
const BEAT_SECONDS: u64 = 15;
/// How long a beat is good for.
const ALIVE_SECONDS: i32 = 45;
/// A planned restart is no outage: what is pinned enforces meanwhile.
const RESTART_SECONDS: i32 = 180;

/// The last beat must fit into the time that a pod has to end.
const LAST_BEAT: Duration = Duration::from_secs(8);

/// Renews the Lease until `stop`, then once more for the time of a restart. Not while this agent is not
/// `at_work`: it is stuck, or another one works on this node and the Lease is that one's.
pub async fn beat(leases: Api<Lease>, node: &str, holder: &str, at_work: impl Fn() -> bool, stop: CancellationToken) {
    loop {
        if at_work()
            && let Err(error) = renew(&leases, node, holder, ALIVE_SECONDS).await
        {
            tracing::warn!(%error, "the node's Lease could not be renewed");
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(next_beat(node)) => {}
        }
    }
    if !at_work() {
        return;
    }
    match tokio::time::timeout(LAST_BEAT, renew(&leases, node, holder, RESTART_SECONDS)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the node's Lease could not be renewed for the restart"),
        Err(_) => tracing::warn!("nobody answered when the node's Lease was renewed for the restart"),
    }
}

/// 15 s ± 20 %, so that a fleet started at once does not beat at once.
fn next_beat(node: &str) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    // A fresh hasher is seeded by the operating system: enough randomness for a jitter.
    let spread = RandomState::new().hash_one(node) % 6_000;
    Duration::from_secs(BEAT_SECONDS - 3) + Duration::from_millis(spread)
}

async fn renew(leases: &Api<Lease>, node: &str, holder: &str, seconds: i32) -> kube::Result<Lease> {
    let lease = Lease {
        metadata: ObjectMeta { name: Some(node.into()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(seconds),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        }),
    };
    leases.patch(node, &PatchParams::apply(ENFORCER_MANAGER).force(), &Patch::Apply(&lease)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_beats_can_be_missed_before_the_lease_runs_out() {
        for _ in 0..100 {
            let beat = next_beat("n");
            assert!(beat >= Duration::from_secs(12) && beat <= Duration::from_secs(18), "{beat:?}");
            assert!(beat * 2 < Duration::from_secs(ALIVE_SECONDS.unsigned_abs().into()));
        }
    }
}
