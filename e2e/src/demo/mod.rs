//! What Stockade promises, shown on a cluster: each step is a function that types commands and checks what they print.
//!
//! `cargo xtask demo` runs them in order for a person to read; the node tests run the same functions.

mod edits;
mod egress;
mod files;
mod install;
mod partial;
mod refusals;
mod removal;
mod stage;

pub use edits::edits_leave_no_gap;
pub(crate) use edits::{PODS, ready, start_loops, stop_loops, while_writing};
pub use egress::an_address_is_a_value_not_a_family;
pub(crate) use files::{enforcer_on, the_write_is_refused};
pub use files::{forbidden_writes_fail_and_are_reported, the_policy_is_enforced_on_both_nodes};
pub use install::the_chart_installs_without_privileges;
pub use partial::a_node_that_cannot_is_named;
pub use refusals::ambiguous_policies_are_refused;
pub use removal::deleting_leaves_nothing_behind;
pub use stage::Stage;

use std::time::Instant;

use anyhow::Result;

/// The nodes of the cluster.
pub(crate) const NODES: [&str; 2] = ["node-1", "node-2"];

/// Plays `steps`, numbered from `first`, and says at the end what was shown. Whether all went as promised.
pub fn play(stage: &Stage, steps: &[Step], first: usize) -> bool {
    let mut shown = Vec::new();
    for (number, step) in (first..).zip(steps) {
        println!("\n== {number}. {} ==", step.title);
        let started = Instant::now();
        let result = (step.run)(stage);
        shown.push((number, step.title, started.elapsed(), result.is_ok()));
        if let Err(error) = result {
            eprintln!("\nstep {number} differs from what it promises: {error:#}");
            // What follows builds on it, and would only repeat the complaint.
            break;
        }
    }
    println!("\n== shown ==");
    for (number, title, took, ok) in &shown {
        println!("{} {number}. {title} ({:.0} s)", if *ok { "✓" } else { "✗" }, took.as_secs_f32());
    }
    shown.len() == steps.len() && shown.iter().all(|(.., ok)| *ok)
}

/// One step: what it shows, and how.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// What it shows, in a sentence.
    pub title: &'static str,
    /// Shows it. An error says what differs from what was promised.
    pub run: fn(&Stage) -> Result<()>,
}

/// All steps, in the order in which they build on each other.
pub const STEPS: [Step; 8] = [
    Step {
        title: "two charts install Stockade, and nothing of it is privileged",
        run: the_chart_installs_without_privileges,
    },
    Step { title: "what is ambiguous is refused, with what to write instead", run: ambiguous_policies_are_refused },
    Step {
        title: "a policy is enforced on both nodes, and its status says so",
        run: the_policy_is_enforced_on_both_nodes,
    },
    Step { title: "forbidden writes fail, and who tried is reported", run: forbidden_writes_fail_and_are_reported },
    Step { title: "edits, restarts and upgrades leave no unprotected moment", run: edits_leave_no_gap },
    Step { title: "an address is a value, not a family", run: an_address_is_a_value_not_a_family },
    Step { title: "a node that cannot run a policy is named", run: a_node_that_cannot_is_named },
    Step { title: "deleting a policy leaves nothing behind", run: deleting_leaves_nothing_behind },
];
