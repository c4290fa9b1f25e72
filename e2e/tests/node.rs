//! Tests that need nodes. `cargo xtask test node` runs them.
//!
//! They are the demo's steps and then what goes wrong. Steps build on each other: whichever test comes first plays what is
//! before its own step, and each step is played once.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Error, Result, bail};
use stockade_e2e::{
    demo::{self, Stage},
    trouble,
};

/// The results of the steps that have been played; an error as its text.
static PLAYED: Mutex<Option<Play>> = Mutex::new(None);

struct Play {
    stage: Stage,
    results: Vec<(&'static str, Result<(), String>)>,
}

/// Plays up to step `number` (from 1). An error says why that one failed, or could not be played.
fn play(number: usize) -> Result<()> {
    // A test that failed has left the results whole.
    let mut played = PLAYED.lock().unwrap_or_else(PoisonError::into_inner);
    if played.is_none() {
        *played = Some(Play { stage: Stage::new()?, results: Vec::new() });
    }
    let play = played.as_mut().context("nothing to play with")?;
    for step in demo::STEPS.iter().chain(&trouble::STEPS).take(number).skip(play.results.len()) {
        if let Some((title, Err(_))) = play.results.last() {
            bail!("not played, because \"{title}\" failed before");
        }
        println!("\n== {} ==", step.title);
        play.results.push((step.title, (step.run)(&play.stage).map_err(|error| format!("{error:#}"))));
    }
    let (_, result) = play.results.get(number - 1).context("no such step")?;
    result.clone().map_err(Error::msg)
}

#[test]
fn step_1_two_charts_install_stockade_and_nothing_of_it_is_privileged() -> Result<()> {
    play(1)
}

#[test]
fn step_2_what_is_ambiguous_is_refused_with_what_to_write_instead() -> Result<()> {
    play(2)
}

#[test]
fn step_3_a_policy_is_enforced_on_both_nodes_and_its_status_says_so() -> Result<()> {
    play(3)
}

#[test]
fn step_4_forbidden_writes_fail_and_who_tried_is_reported() -> Result<()> {
    play(4)
}

#[test]
fn step_5_edits_restarts_and_upgrades_leave_no_unprotected_moment() -> Result<()> {
    play(5)
}

#[test]
fn step_6_an_address_is_a_value_not_a_family() -> Result<()> {
    play(6)
}

#[test]
fn step_7_a_node_that_cannot_run_a_policy_is_named() -> Result<()> {
    play(7)
}

#[test]
fn step_8_deleting_a_policy_leaves_nothing_behind() -> Result<()> {
    play(8)
}

#[test]
fn step_9_the_first_write_of_a_new_pod_is_judged() -> Result<()> {
    play(9)
}

#[test]
fn step_10_without_the_api_server_enforcement_goes_on() -> Result<()> {
    play(10)
}

#[test]
fn step_11_an_agent_that_is_away_is_named() -> Result<()> {
    play(11)
}

#[test]
fn step_12_a_second_enforcer_refuses() -> Result<()> {
    play(12)
}

#[test]
fn step_13_what_nobody_judged_is_refused_and_can_be_removed() -> Result<()> {
    play(13)
}

#[test]
fn step_14_a_missing_capability_is_named() -> Result<()> {
    play(14)
}

#[test]
fn step_15_a_dead_node_is_counted() -> Result<()> {
    play(15)
}

#[test]
fn step_16_uninstalling_leaves_nothing_in_the_kernel() -> Result<()> {
    play(16)
}
