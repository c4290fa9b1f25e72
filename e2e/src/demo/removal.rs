//! Step 8: what is left when a policy is gone.

use std::time::Duration;

use anyhow::Result;

use super::{NODES, Stage};

/// Programs, links and maps by number, pins by name: what a policy brings and must take with it. The container runtime has
/// a program of its own for each container, of a type that Stockade has none of.
const LOADED: &str = r#"echo $(bpftool prog list | grep "^[0-9]" | grep -vc cgroup_) programs, \
  $(bpftool link list | grep -c "^[0-9]") links, $(bpftool map list | grep -c "^[0-9]") maps; find /sys/fs/bpf/stockade | sort"#;

fn line(node: &str) -> String {
    format!("ssh {node} '{LOADED}'")
}

/// Notes what is loaded while there is no policy.
pub(super) fn note_what_is_loaded(stage: &Stage) -> Result<()> {
    for node in NODES {
        let loaded = stage.quietly(&line(node))?.ok()?;
        stage.remember(node, &loaded)?;
    }
    Ok(())
}

/// Deletes the policy and compares both nodes with how they were before.
pub fn deleting_leaves_nothing_behind(stage: &Stage) -> Result<()> {
    stage.expect("kubectl delete -n shop tracingpoliciesnamespaced --all")?;
    for pod in ["till-1", "till-2"] {
        let write = format!("kubectl exec -n shop {pod} -- sh -c 'echo closed >> /srv/ledger/book'");
        stage.until(&write, Duration::from_secs(60), |output| output.success)?;
    }
    stage.say("programs, links, maps and pins on each node, as before the first policy");
    for node in NODES {
        let before = stage.recall(node)?;
        stage.until(&line(node), Duration::from_secs(60), |output| output.success && output.stdout == before)?;
    }
    Ok(())
}
