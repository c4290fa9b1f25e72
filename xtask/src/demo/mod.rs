//! `cargo xtask demo`: a cluster, the product's images in its registry, and the show.
//!
//! What is shown is a program of `e2e`, a black box that types commands; this brings up what they talk to.

use std::{fs, path::Path, time::Instant};

use anyhow::{Result, bail};
use clap::Args;

use crate::{
    cluster::{Extent, Rig, Scratch},
    images::{self, Product},
    process::Run,
    setup,
    step::{seconds, step},
    workspace,
};

/// Show on a real two-node cluster what Stockade does, and check that it does it.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Leave the cluster up afterwards, and say how to reach it.
    #[arg(long)]
    keep: bool,
}

/// Runs the demo. An error means that something differs from what was promised.
pub(crate) fn run(demo: &Demo) -> Result<()> {
    let started = Instant::now();
    setup::packages(setup::ALL)?;
    let show = compile()?;
    // Before the nodes are there: their emulators would take the processors that the compiler needs.
    let binaries = images::compile()?;
    let scratch = Scratch::up("demo", Extent::Cluster)?;
    push_releases(scratch.rig(), &binaries)?;
    println!("set-up took {}", seconds(started.elapsed()));
    let end = scratch.rig().run(show).current_dir(workspace::root()).status()?;
    let good = end.status.success();
    println!("all of it took {}", seconds(started.elapsed()));
    if demo.keep {
        let run = scratch.keep()?;
        println!("\nThe cluster is up:");
        println!("  cargo xtask cluster --run {run} kubectl get pods -A");
        println!("  cargo xtask cluster --run {run} exec bash     # kubectl, helm and ssh in its network");
        println!("  cargo xtask cluster --run {run} down");
    } else if good {
        scratch.finish()?;
    } else {
        println!("the cluster's logs are in {}", scratch.rig().dir().display());
    }
    if good { Ok(()) } else { bail!("the demo differs from what it promises") }
}

/// The program that shows it.
fn compile() -> Result<std::path::PathBuf> {
    step("the demo's program", |_| {
        Run::new("cargo")
            .args(["build", "--quiet", "--package", "stockade-e2e", "--bin", "stockade-demo"])
            .current_dir(workspace::root())
            .log(workspace::rig().join("cargo.log"))
            .run()
    })?;
    Ok(workspace::target().join("debug/stockade-demo"))
}

/// Two releases of the same programs, so that an upgrade has something to pull; each with the values that name its images.
pub(crate) fn push_releases(rig: &Rig, binaries: &Path) -> Result<()> {
    for release in ["1", "2"] {
        let product = Product::build(binaries, &rig.dir().join("images"), release)?;
        step(&format!("images of release {release}"), |_| product.push(rig))?;
        fs::write(rig.dir().join(format!("release-{release}.yaml")), product.values())?;
    }
    Ok(())
}
