//! Going on as root: network namespaces, system packages and the nodes' file systems need it.

use std::{
    env,
    ffi::OsString,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    cache::Cache,
    process::{is_root, which},
    workspace,
};

/// What sudo runs: the program, and then, however it ended, what was built is given to whose the checkout is.
const SCRIPT: &str = r#"owner=$1; target=$2; cache=$3; shift 3
trap : INT TERM HUP
"$@"
code=$?
chown --recursive --no-dereference "$owner" "$target" "$cache"
exit $code"#;

/// Variables that reach the program that runs as root, beside those of the rig. Cargo's home does not: root has one.
const KEPT: [&str; 10] = [
    "TERM",
    "RUSTUP_TOOLCHAIN",
    "CARGO_MANIFEST_DIR",
    "CARGO_TARGET_DIR",
    "KUBEBUILDER_ASSETS",
    "GOPROXY",
    "GOSUMDB",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NO_COLOR",
];
/// The beginnings of others: the rig's own, and what says where crates come from.
const FAMILIES: [&str; 4] = ["STOCKADE_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_NET_"];

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
    let owner = format!("{}:{}", rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let (target, cache) = (workspace::target(), Cache::open()?.root().to_path_buf());
    // By name, so that no value stands on a command line that others can read.
    let kept = env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| is_kept(name));
    let mut sudo = Command::new("sudo");
    sudo.arg(format!("--preserve-env={}", kept.collect::<Vec<_>>().join(",")));
    sudo.args(["--", "env"]).args(places(&cache)).args(["sh", "-c", SCRIPT, "sh", &owner]).arg(target).arg(cache);
    sudo.arg(workspace::this_program()?).args(env::args_os().skip(1));
    Err(sudo.exec()).context("sudo")
}

fn is_kept(name: &str) -> bool {
    let is_proxy = name.to_ascii_lowercase().ends_with("_proxy");
    (KEPT.contains(&name) || is_proxy || FAMILIES.iter().any(|begin| name.starts_with(begin))) && name != CACHE
}

const CACHE: &str = "STOCKADE_CACHE";

/// Where programs and caches are, which sudo and root would say otherwise: `NAME=VALUE`.
fn places(cache: &Path) -> Vec<OsString> {
    let rustup = env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let rustup = rustup.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".rustup"))).filter(|home| home.is_dir());
    let path = env::var_os("PATH").unwrap_or_default();
    let named = [("PATH", Some(path)), (CACHE, Some(cache.into())), ("RUSTUP_HOME", rustup.map(Into::into))];
    let assigned = named.into_iter().filter_map(|(name, value)| {
        let mut text = OsString::from(format!("{name}="));
        text.push(value?);
        Some(text)
    });
    assigned.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_as_root_finds_programs_and_the_cache_and_not_cargos_home() {
        let places = places(Path::new("/x/cache"));
        assert!(places.contains(&"STOCKADE_CACHE=/x/cache".into()));
        assert!(places.iter().any(|place| place.to_string_lossy().starts_with("PATH=")));
        assert!(is_kept("STOCKADE_CASES") && is_kept("https_proxy") && is_kept("HTTP_PROXY"));
        assert!(!is_kept("CARGO_HOME") && !is_kept("HOME") && !is_kept("STOCKADE_CACHE"));
    }
}
