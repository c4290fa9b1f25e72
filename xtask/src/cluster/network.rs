//! The rig's network: a bridge with the API server's address, one tap a node, and routes to the nodes' pods.

use anyhow::{Context, Result, bail};

use super::{
    addresses::{API_SERVER, NETWORK_PREFIX, NODES},
    sandbox::Sandbox,
};

/// Sets up the loopback and the bridge. The API server alone needs no more.
pub(crate) fn bring_up(sandbox: &Sandbox) -> Result<()> {
    let address = format!("{API_SERVER}/{NETWORK_PREFIX}");
    ip(sandbox, &["link", "set", "lo", "up"])?;
    ip(sandbox, &["link", "add", "br0", "type", "bridge"])?;
    ip(sandbox, &["address", "add", &address, "dev", "br0"])?;
    ip(sandbox, &["link", "set", "br0", "up"])
}

/// Adds the nodes' taps. Pods are reached through their node; nodes reach each other's pods through the rig.
pub(crate) fn add_nodes(sandbox: &Sandbox) -> Result<()> {
    for node in NODES {
        let tap = node.tap();
        ip(sandbox, &["tuntap", "add", "dev", &tap, "mode", "tap"])?;
        ip(sandbox, &["link", "set", &tap, "master", "br0", "up"])?;
        ip(sandbox, &["route", "add", &node.pods(), "via", &node.address()])?;
    }
    run(sandbox, "sysctl", &["-qw", "net.ipv4.ip_forward=1"])
}

fn ip(sandbox: &Sandbox, args: &[&str]) -> Result<()> {
    run(sandbox, "ip", args)
}

fn run(sandbox: &Sandbox, program: &str, args: &[&str]) -> Result<()> {
    let output = sandbox.command(program).args(args).output().with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
