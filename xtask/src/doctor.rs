//! `cargo xtask doctor`: what is missing, before anything starts.

use std::{fs, path::Path};

use anyhow::{Result, bail};
use clap::Args;

use crate::{
    cache::Cache,
    process::{Run, is_root, which},
    setup, workspace,
};

/// Gigabytes that a cold build of everything takes in the cache and the target folder.
const DISK: u64 = 25;
/// Gigabytes of memory that two nodes, the control plane and a compiler take.
const MEMORY: u64 = 8;

/// Say what is missing, before anything starts.
#[derive(Debug, Args)]
pub(crate) struct Doctor {}

struct Finding {
    ok: bool,
    what: String,
    /// What to do about it.
    remedy: String,
}

fn finding(ok: bool, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { ok, what: what.into(), remedy: remedy.into() }
}

/// Looks at everything, prints it all, and fails if something is missing that set-up cannot bring.
pub(crate) fn run() -> Result<()> {
    let mut findings = vec![
        system(),
        finding(is_root() || which("sudo").is_some(), "root, or sudo to become it", "install sudo or run as root"),
        tool("cargo", &["--version"], (1, 95), "install Rust 1.95 or newer with rustup: https://rustup.rs"),
        tool("go", &["version"], (1, 26), "install Go 1.26 or newer: https://go.dev/dl"),
        tool("git", &["--version"], (2, 0), "apt-get install git"),
        component("rustfmt"),
        component("clippy"),
        finding(which("apt-get").is_some(), "apt", "the rig sets itself up on Debian 12"),
        finding(Path::new("/dev/net/tun").exists(), "/dev/net/tun, for the nodes' network", "modprobe tun"),
        finding(Path::new("/proc/self/ns/net").exists(), "network namespaces", "use a kernel that has them"),
        memory(),
    ];
    let cache = Cache::open()?.folder("")?;
    findings.push(disk(&cache, "the cache"));
    findings.push(disk(&workspace::root(), "this checkout"));
    for Finding { ok, what, remedy } in &findings {
        if *ok { println!("✓ {what}") } else { println!("✗ {what}\n    {remedy}") }
    }
    packages();
    let missing = findings.iter().filter(|finding| !finding.ok).count();
    if missing > 0 {
        bail!("{missing} things are missing");
    }
    println!("nothing is missing that `cargo xtask` cannot bring");
    Ok(())
}

/// Missing system packages are no fault: each part of the rig installs what it needs.
fn packages() {
    match setup::missing(setup::ALL) {
        Ok(missing) if missing.is_empty() => println!("✓ system packages"),
        Ok(missing) => {
            let sudo = if is_root() { "" } else { "sudo " };
            println!("… system packages, installed when first needed, or now with");
            println!("    {sudo}apt-get install {}", missing.join(" "));
        }
        Err(error) => println!("✗ system packages\n    {error:#}"),
    }
}

fn system() -> Finding {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let get = |key: &str| release.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("?").trim_matches('"');
    let is = get("ID=") == "debian" && get("VERSION_ID=") == "12" && cfg!(target_arch = "x86_64");
    let what = format!("Debian 12 on x86-64 (here: {}, {})", get("PRETTY_NAME="), std::env::consts::ARCH);
    finding(is, what, "other systems are not tried; a container or guest with Debian 12 will do")
}

fn tool(name: &str, args: &[&str], least: (u32, u32), remedy: &str) -> Finding {
    let said = Run::new(name).args(args).output().unwrap_or_default();
    let version = version(&said);
    let shown = version.map_or_else(|| "not found".to_owned(), |(major, minor)| format!("{major}.{minor}"));
    let what = format!("{name} {}.{} or newer (here: {shown})", least.0, least.1);
    finding(version.is_some_and(|version| version >= least), what, remedy)
}

/// The first thing in a text that looks like a version.
fn version(text: &str) -> Option<(u32, u32)> {
    text.split_whitespace().find_map(|word| {
        let mut numbers = word.trim_start_matches(|first: char| first.is_ascii_alphabetic()).split('.');
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    })
}

fn component(name: &str) -> Finding {
    let program = if name == "clippy" { "cargo-clippy" } else { name };
    let works = Run::new(program).arg("--version").output().is_ok();
    finding(works, format!("{name}, for the tests"), format!("rustup component add {name}"))
}

fn memory() -> Finding {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available =
        info.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse().ok());
    let gigabytes = available.unwrap_or(0_u64) / (1024 * 1024);
    let what = format!("{MEMORY} GiB of memory for the cluster (here: {gigabytes} available)");
    finding(gigabytes >= MEMORY, what, "end other programs, or use a larger machine")
}

fn disk(folder: &Path, name: &str) -> Finding {
    let free = rustix::fs::statvfs(folder).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    let gigabytes = free / (1024 * 1024 * 1024);
    let what = format!("{DISK} GiB of disk for {name} (here: {gigabytes} free at {})", folder.display());
    finding(gigabytes >= DISK, what, "make room, or set STOCKADE_CACHE to another disk")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_tools_say() {
        assert_eq!(version("cargo 1.95.0 (abc 2026-04-14)"), Some((1, 95)));
        assert_eq!(version("go version go1.26.3 linux/amd64"), Some((1, 26)));
        assert_eq!(version("git version 2.39.5"), Some((2, 39)));
        assert_eq!(version(""), None);
    }
}
