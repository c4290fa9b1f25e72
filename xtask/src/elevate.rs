//! Going on as root: network namespaces, system packages and the nodes' file systems need it.

use std::{
    env,
    ffi::OsString,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    process::{Run, is_root, which},
    workspace,
};

/// Says to the program that runs as root whose the checkout is: `uid:gid`.
const OWNER: &str = "STOCKADE_OWNER";

/// Variables that reach the program that runs as root. Cargo's home does not: root has one.
const KEPT: [&str; 8] = [
    "PATH",
    "TERM",
    "RUSTUP_TOOLCHAIN",
    "CARGO_MANIFEST_DIR",
    "XDG_CACHE_HOME",
    "STOCKADE_CACHE",
    "GOPROXY",
    "GOSUMDB",
];
/// The ends of variables that say how to reach the network.
const NETWORK: [&str; 4] = ["_proxy", "_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Replaces this program by itself as root, through sudo, unless it is root's already.
pub(crate) fn become_root() -> Result<()> {
    if is_root() {
        return Ok(());
    }
    ensure!(
        which("sudo").is_some(),
        "the rig's nodes have a network namespace of their own, which needs root: install sudo, or run this as root"
    );
    eprintln!("network namespaces and system packages need root: going on with sudo");
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let mut sudo = Command::new("sudo");
    sudo.arg("--").arg("env").arg(format!("{OWNER}={user}:{group}")).args(environment());
    sudo.arg(workspace::this_program()?).args(env::args_os().skip(1));
    Err(sudo.exec()).context("sudo")
}

/// What the program that runs as root is told of the environment: `NAME=VALUE`.
fn environment() -> Vec<OsString> {
    let assigned = |name: &str, value: OsString| {
        let mut text = OsString::from(name);
        text.push("=");
        text.push(value);
        text
    };
    let is_kept = |name: &str| KEPT.contains(&name) || NETWORK.iter().any(|end| name.ends_with(end));
    let kept = env::vars_os().filter_map(|(name, value)| {
        let name = name.to_str()?;
        is_kept(name).then(|| assigned(name, value))
    });
    let rustup = env::var_os("RUSTUP_HOME").or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".rustup").into()));
    let rustup = rustup.filter(|home| Path::new(home).is_dir()).map(|home| assigned("RUSTUP_HOME", home));
    // Cargo's own variables for registries, which it reads again.
    let cargo = env::vars_os().filter(|(name, _)| {
        let name = name.as_bytes();
        name.starts_with(b"CARGO_REGISTR") || name.starts_with(b"CARGO_SOURCE_") || name.starts_with(b"CARGO_NET_")
    });
    let cargo = cargo.filter_map(|(name, value)| Some(assigned(name.to_str()?, value)));
    kept.chain(rustup).chain(cargo).collect()
}

/// Gives what was built to whose the checkout is, if that is not root.
pub(crate) fn give_back() -> Result<()> {
    let Some(owner) = env::var_os(OWNER) else { return Ok(()) };
    Run::new("chown").args(["--recursive", "--no-dereference"]).arg(owner).arg(workspace::target()).run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_that_runs_as_root_finds_what_this_one_finds() {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut expected = OsString::from("PATH=");
        expected.push(path);
        assert!(environment().contains(&expected));
        let home = environment().into_iter().any(|text| text.as_bytes().starts_with(b"HOME="));
        assert!(!home, "root keeps its caches where root's are");
    }
}
