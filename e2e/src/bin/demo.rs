//! Shows what Stockade does, on the cluster that `cargo xtask demo` has brought up.

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use stockade_e2e::demo::{STEPS, Stage};

fn main() -> Result<ExitCode> {
    let stage = Stage::new()?;
    let mut shown = Vec::new();
    for (number, step) in (1..).zip(STEPS) {
        println!("\n== {number}. {} ==", step.title);
        let started = Instant::now();
        let result = (step.run)(&stage);
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
    let all = shown.len() == STEPS.len() && shown.iter().all(|(.., ok)| *ok);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
