//! The programs of the fixture: built once from `e2e/controlplane` and `e2e/tools`, and kept in the cache.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use anyhow::{Context, Result};

use crate::{
    cache::{Build, Cache, Inputs},
    process::Run,
    workspace,
};

/// The programs that one binary is; each gets a link of its own.
const CONTROL_PLANE: [&str; 7] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"];

/// Where the programs are.
#[derive(Debug, Clone)]
pub(crate) struct Fixture {
    control_plane: PathBuf,
    tools: PathBuf,
    /// `KUBEBUILDER_ASSETS`: somebody's own etcd, kube-apiserver and kubectl, preferred where it has the program.
    assets: Option<PathBuf>,
}

impl Fixture {
    /// What an API server alone needs. Builds nothing when `KUBEBUILDER_ASSETS` has it all.
    pub(crate) fn for_api(cache: &Cache) -> Result<Self> {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        if let Some(dir) = &assets
            && ["etcd", "kube-apiserver", "kubectl"].iter().all(|program| dir.join(program).is_file())
        {
            return Ok(Self { control_plane: dir.clone(), tools: tools(cache)?, assets });
        }
        Self::whole(cache)
    }

    /// What a whole cluster needs. Always of one version: a kubelet must not be newer than its API server.
    pub(crate) fn whole(cache: &Cache) -> Result<Self> {
        Ok(Self { control_plane: control_plane(cache)?, tools: tools(cache)?, assets: None })
    }

    /// A program of Kubernetes.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.assets
            .as_ref()
            .map(|dir| dir.join(name))
            .filter(|file| file.is_file())
            .unwrap_or_else(|| self.control_plane.join(name))
    }

    /// The folder of the control plane's binary and its links.
    pub(crate) fn control_plane(&self) -> &std::path::Path {
        &self.control_plane
    }

    /// The folder with `helm` and `registry`.
    pub(crate) fn tools(&self) -> &std::path::Path {
        &self.tools
    }

    /// The registry and its pusher.
    pub(crate) fn registry(&self) -> PathBuf {
        self.tools.join("registry")
    }
}

fn control_plane(cache: &Cache) -> Result<PathBuf> {
    let source = workspace::root().join("e2e/controlplane");
    let version = required(&fs::read_to_string(source.join("go.mod"))?, "k8s.io/kubernetes")?;
    let minor = version.split('.').nth(1).context("a version without a minor number")?;
    let package = "k8s.io/component-base/version";
    // kubectl and helm parse the server's version, which is empty unless the linker sets it.
    let flags =
        format!("-s -w -X {package}.gitVersion={version} -X {package}.gitMajor=1 -X {package}.gitMinor={minor}");
    let inputs = Inputs::new().folder(&source)?.text("flags", &flags).text("links", CONTROL_PLANE.join(" "));
    cache.artifact("controlplane", "Kubernetes' programs (6 minutes the first time)", inputs, |build| {
        go_build(build, &source, ".", "controlplane", &flags)?;
        for program in CONTROL_PLANE {
            symlink("controlplane", build.folder.join(program))?;
        }
        Ok(())
    })
}

fn tools(cache: &Cache) -> Result<PathBuf> {
    let source = workspace::root().join("e2e/tools");
    let version = required(&fs::read_to_string(source.join("go.mod"))?, "helm.sh/helm/v4")?;
    let flags = format!("-s -w -X helm.sh/helm/v4/internal/version.version={version}");
    let inputs = Inputs::new().folder(&source)?.text("flags", &flags);
    cache.artifact("tools", "helm and a registry (3 minutes the first time)", inputs, |build| {
        go_build(build, &source, "helm.sh/helm/v4/cmd/helm", "helm", &flags)?;
        go_build(build, &source, "./registry", "registry", "-s -w")
    })
}

fn go_build(build: &Build<'_>, source: &std::path::Path, package: &str, name: &str, flags: &str) -> Result<()> {
    build.progress.say(format!("go build {name}"));
    Run::new("go")
        .args(["build", "-trimpath", "-ldflags", flags, "-o"])
        .arg(build.folder.join(name))
        .arg(package)
        // Static, so that the same file runs on the nodes.
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-buildvcs=false -mod=readonly")
        .current_dir(source)
        .log(build.log)
        .run()
}

/// The version that a `go.mod` requires of a module.
fn required(go_mod: &str, module: &str) -> Result<String> {
    go_mod
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("require ").split_once(' '))
        .find(|(name, version)| *name == module && version.starts_with('v'))
        .map(|(_, version)| version.split_whitespace().next().unwrap_or_default().to_owned())
        .with_context(|| format!("go.mod requires no {module}"))
}

#[cfg(test)]
mod tests {
    use super::required;

    #[test]
    fn a_version_is_read_from_requirements_and_not_from_replacements() {
        let text = "require (\n\tk8s.io/kubernetes v1.36.3\n\ta.b/c v1 // indirect\n)\nreplace k8s.io/api => k8s.io/api v0.36.3\n";
        assert_eq!(required(text, "k8s.io/kubernetes").unwrap(), "v1.36.3");
        assert_eq!(required(text, "a.b/c").unwrap(), "v1");
        assert!(required(text, "k8s.io/api").is_err());
    }
}
