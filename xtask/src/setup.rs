//! System packages: what a part of the rig needs from Debian, installed through apt when it is missing.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::{cache::Cache, process::Run, step::step, versions::Versions};

/// All groups of `versions.toml`.
pub(crate) const ALL: &[&str] = &["build", "ebpf", "vm", "cluster"];

/// Installs the missing packages of these groups of `versions.toml`. Nothing is asked of apt when none is missing.
pub(crate) fn packages(groups: &[&str]) -> Result<()> {
    let missing = missing(groups)?;
    if missing.is_empty() {
        return Ok(());
    }
    let log = Cache::open()?.folder("logs")?.join("apt.log");
    step(&format!("system packages: {}", missing.join(" ")), |progress| {
        progress.say("apt-get update");
        let apt =
            || Run::as_root("env").args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=600"]);
        apt().arg("update").log(&log).run()?;
        progress.say("apt-get install");
        apt().args(["install", "-y", "--no-install-recommends"]).args(&missing).log(&log).run()
    })
}

/// The packages of these groups that are not installed, each once, in the order of the file.
pub(crate) fn missing(groups: &[&str]) -> Result<Vec<String>> {
    let versions = Versions::pinned()?;
    let installed = installed()?;
    let mut seen = BTreeSet::new();
    let mut missing = Vec::new();
    for group in groups {
        for package in versions.packages(group)? {
            if !installed.contains(package) && seen.insert(package) {
                missing.push(package.clone());
            }
        }
    }
    Ok(missing)
}

fn installed() -> Result<BTreeSet<String>> {
    let list = Run::new("dpkg-query").args(["-W", "-f", "${Package} ${db:Status-Status}\n"]).output();
    let list = list.context("the rig sets itself up on Debian 12; dpkg does not answer here")?;
    Ok(list.lines().filter_map(|line| line.strip_suffix(" installed")).map(str::to_owned).collect())
}
