//! The pinned versions: `versions.toml`, which is compiled in.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

/// What `versions.toml` says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Versions {
    /// The control plane and the nodes' kubelets.
    pub(crate) kubernetes: Pin,
    /// Helm.
    pub(crate) helm: Pin,
    /// The toolchain of the eBPF programs.
    pub(crate) ebpf: Ebpf,
    /// The kernels that tests boot, oldest first.
    #[serde(rename = "kernel")]
    pub(crate) kernels: Vec<Kernel>,
    /// System packages by what needs them.
    pub(crate) packages: BTreeMap<String, Vec<String>>,
}

/// One pinned version, without a `v`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pin {
    /// The version.
    pub(crate) version: String,
}

/// The toolchain of the eBPF programs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Ebpf {
    /// The major version of LLVM.
    pub(crate) llvm: u32,
    /// The linker's version.
    pub(crate) bpf_linker: String,
}

/// A kernel that tests boot.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kernel {
    /// What it is called on the command line.
    pub(crate) name: String,
    /// The Debian suite it comes from.
    pub(crate) suite: String,
    /// The meta package that depends on it.
    pub(crate) package: String,
}

impl Versions {
    /// Reads the file that was compiled in.
    pub(crate) fn pinned() -> Result<Self> {
        toml::from_str(include_str!("../versions.toml")).context("xtask/versions.toml")
    }

    /// The kernel called `name`.
    pub(crate) fn kernel(&self, name: &str) -> Result<&Kernel> {
        let known = || self.kernels.iter().map(|kernel| kernel.name.as_str()).collect::<Vec<_>>().join(", ");
        self.kernels
            .iter()
            .find(|kernel| kernel.name == name)
            .with_context(|| format!("there is no kernel `{name}`; there are {}", known()))
    }

    /// The system packages of a group in `versions.toml`.
    pub(crate) fn packages(&self, group: &str) -> Result<&[String]> {
        let packages = self.packages.get(group);
        packages.map(Vec::as_slice).with_context(|| format!("xtask/versions.toml has no packages for `{group}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_versions_read_and_name_each_kernel_once() {
        let versions = Versions::pinned().unwrap();
        let mut names: Vec<_> = versions.kernels.iter().map(|kernel| &kernel.name).collect();
        let all = names.len();
        names.dedup();
        assert!(all > 0 && names.len() == all);
        assert!(versions.kernel("6.1").is_ok() && versions.kernel("1.0").is_err());
        assert!(versions.packages("ebpf").is_ok() && versions.packages("none").is_err());
    }
}
