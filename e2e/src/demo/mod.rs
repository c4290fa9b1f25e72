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

use anyhow::{Context as _, Result, ensure};

/// The nodes of the cluster.
pub(crate) const NODES: [&str; 2] = ["node-1", "node-2"];

/// Plays `steps`, numbered from `first`, and says at the end what was shown. An error says which step differed from what it
/// promises, and how; what follows that one is not played.
pub fn play(stage: &Stage, steps: &[Step], first: usize) -> Result<()> {
    ensure!(!steps.is_empty(), "there is no step {first}");
    let mut shown = Vec::new();
    let mut result = Ok(());
    for (number, step) in (first..).zip(steps) {
        println!("\n== {number}. {} ==", step.title);
        let started = Instant::now();
        result =
            (step.run)(stage).with_context(|| format!("step {number} ({}) differs from what it promises", step.title));
        shown.push((number, step.title, started.elapsed(), result.is_ok()));
        if result.is_err() {
            // What follows builds on it, and would only repeat the complaint.
            break;
        }
    }
    println!("\n== shown ==");
    for (number, title, took, ok) in &shown {
        println!("{} {number}. {title} ({:.0} s)", if *ok { "✓" } else { "✗" }, took.as_secs_f32());
    }
    result
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

#[cfg(test)]
mod tests {
    use super::*;

    type Run = fn(&Stage) -> Result<()>;

    const FIRST: Step = Step { title: "one", run: |stage| stage.remember("one", "played") };
    const LAST: Step = Step { title: "three", run: |stage| stage.remember("three", "played") };

    fn played(second: Run) -> (Result<(), String>, bool) {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::without_cluster(dir.path());
        let result = play(&stage, &[FIRST, Step { title: "two", run: second }, LAST], 4);
        assert_eq!(stage.recall("one").unwrap(), "played");
        (result.map_err(|error| format!("{error:#}")), stage.recall("three").is_ok())
    }

    #[test]
    fn a_step_that_differs_ends_the_demo_with_its_number_and_what_differed() {
        let ways: [(Run, &[&str]); 4] = [
            (|stage| stage.expect("echo seen; echo why >&2; exit 3").map(drop), &["exit 3` failed", "seen", "why"]),
            (|stage| stage.refuse("echo let through", &[]).map(drop), &["let through` succeeded, which it must not"]),
            (|stage| stage.refuse("echo other; false", &["denied"]).map(drop), &["does not say \"denied\"", "other"]),
            (
                |stage| stage.until("echo never", std::time::Duration::ZERO, |_| false).map(drop),
                &["`echo never` still prints", "never"],
            ),
        ];
        for (step, texts) in ways {
            let (result, went_on) = played(step);
            let error = result.unwrap_err();
            assert!(error.starts_with("step 5 (two) differs from what it promises: "), "{error}");
            assert!(texts.iter().all(|text| error.contains(text)), "{error}");
            assert!(!went_on, "what builds on it was played");
        }
        assert_eq!(played(|stage| stage.expect("true").map(drop)), (Ok(()), true));
    }

    #[test]
    fn nothing_shown_is_no_success() {
        let dir = tempfile::tempdir().unwrap();
        assert!(play(&Stage::without_cluster(dir.path()), &[], 9).is_err());
    }
}
