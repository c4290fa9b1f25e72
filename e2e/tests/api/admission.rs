//! What somebody sees who applies an ambiguous policy: through a real API server that calls the operator's webhook.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of a test are test code, too"
)]

use std::path::Path;

use serde_json::json;

use crate::stage::{Stage, good, policy, with_pid_zero};

/// The documents that the demo shows.
fn demo(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo").join(name).to_string_lossy().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_policies_are_refused_with_field_code_and_fix_and_a_dry_run_says_the_same() {
    let stage = Stage::with_operator().await;
    for (file, expected) in [
        (
            "forks-unstated.yaml",
            &["spec.kprobes[0].selectors[0].matchPIDs[0]", "PidForksUnstated", "followForks: true"][..],
        ),
        ("mapped-prefix.yaml", &["AddrMappedPrefix", "::ffff:172.16.0.0/108"]),
        ("misspelt.yaml", &["UnknownField", "matchPIDs"]),
    ] {
        let path = demo(file);
        let apply = stage.kubectl.run(&["apply", "--validate=false", "-f", &path]).unwrap();
        assert!(!apply.success, "{file} was accepted");
        for text in expected {
            assert!(apply.stderr.contains(text), "{file}: no {text} in {}", apply.stderr);
        }
        let dry = stage.kubectl.run(&["apply", "--validate=false", "--dry-run=server", "-f", &path]).unwrap();
        assert_eq!(dry.stderr, apply.stderr, "a dry run answers otherwise");
    }
    let three = stage.kubectl.run(&["apply", "-f", &demo("three-faults.yaml")]).unwrap();
    assert_eq!(three.stderr.lines().filter(|line| line.starts_with("* spec.")).count(), 3, "{}", three.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_a_megabyte_and_a_half_is_refused_with_its_size() {
    let stage = Stage::with_operator().await;
    let values: Vec<String> = (0..30_000).map(|n| format!("/srv/{n:045}")).collect();
    let mut spec = good();
    spec["lsmhooks"][0]["selectors"][0]["matchArgs"][0]["values"] = json!(values);
    let refusal = stage.run(&["create", "-f", "-"], &policy("large", &spec)).unwrap_err();
    assert!(refusal.contains("DocumentTooLarge"), "{}", refusal.chars().take(500).collect::<String>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_invalid_already_can_be_labelled_and_deleted_with_the_webhook_up_and_down() {
    // Stored before there is a webhook.
    let mut stage = Stage::set().await;
    let names = ["stored-up", "stored-down"].map(|prefix| stage.server.unique(prefix));
    for name in &names {
        stage.run(&["create", "-f", "-"], &policy(name, &with_pid_zero())).unwrap();
    }
    stage.configure_webhook();
    stage.start_operator();
    stage.wait_until_ready().await;
    let label_and_delete = |name: &str| {
        let label = ["label", "tracingpolicies.cilium.io", name, "team=a"];
        stage.kubectl.run(&label).unwrap().ok().unwrap();
        let delete = ["delete", "tracingpolicies.cilium.io", name, "--cascade=foreground", "--wait=false"];
        stage.kubectl.run(&delete).unwrap().ok().unwrap();
    };
    label_and_delete(&names[0]);
    let edit =
        ["patch", "tracingpolicies.cilium.io", &names[1], "--type=merge", "-p", "{\"spec\": {\"mode\": \"Monitor\"}}"];
    let refused = stage.kubectl.run(&edit).unwrap();
    assert!(refused.stderr.contains("PidZero"), "an edit is judged: {}", refused.stderr);
    let mut stage = stage;
    stage.stop_operator();
    let label = ["label", "tracingpolicies.cilium.io", &names[1], "team=a"];
    stage.kubectl.run(&label).unwrap().ok().unwrap();
    let delete = ["delete", "tracingpolicies.cilium.io", &names[1], "--cascade=foreground", "--wait=false"];
    stage.kubectl.run(&delete).unwrap().ok().unwrap();
    let created = stage.run(&["create", "-f", "-"], &policy("unjudged", &good()));
    assert!(created.is_err(), "with the webhook down nothing is let in unjudged");
}
