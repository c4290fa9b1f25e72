//! One rig: what runs, where its files are, and how to reach it.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::{cache::Cache, images, process::Run, step::step, workspace};

use super::{
    addresses::{NODES, Node},
    control_plane::ControlPlane,
    fixture::Fixture,
    network, node,
    node_image::NodeImage,
    pki::Pki,
    sandbox::{Leash, Sandbox},
    wait::{self, until},
};

/// How much of a cluster is brought up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Extent {
    /// etcd and the API server.
    Api,
    /// That, the controllers, a registry, and two nodes.
    Cluster,
}

/// A rig that runs.
#[derive(Debug, Clone)]
pub(crate) struct Rig {
    dir: PathBuf,
    state: State,
    fixture: Fixture,
}

/// What a later command must know of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    sandbox: Sandbox,
    extent: Extent,
}

impl Rig {
    /// Brings up a rig under the name `run`. It ends with the returned leash, or with us, unless the leash is released.
    pub(crate) fn up(cache: &Cache, run: &str, extent: Extent) -> Result<(Self, Leash)> {
        let dir = folder(run);
        let _lock = lock(&dir)?;
        if let Ok(state) = read(&dir) {
            ensure!(!state.sandbox.is_alive(), "{} is up already", dir.display());
        }
        // What ended, or was killed while it came up, has left its files.
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        let fixture = match extent {
            Extent::Api => Fixture::for_api(cache)?,
            Extent::Cluster => Fixture::whole(cache)?,
        };
        let image = match extent {
            Extent::Api => None,
            Extent::Cluster => Some(NodeImage::build(cache, &fixture)?),
        };
        fs::create_dir_all(dir.join("bin"))?;
        let (sandbox, leash) = Sandbox::start()?;
        let rig = Self { dir, state: State { sandbox, extent }, fixture };
        rig.link_tools()?;
        let pki = step("certificates", |_| Pki::create(rig.dir.join("pki")))?;
        step("network, etcd and API server", |_| {
            network::bring_up(rig.sandbox())?;
            rig.control_plane(&pki).start_api()
        })?;
        if let Some(image) = image {
            step("controllers, scheduler and registry", |_| rig.control_plane(&pki).start_controllers())?;
            images::push_basics(&rig)?;
            rig.start_nodes(&image, &pki)?;
        }
        // Last: a state is read by others only once everything is there.
        fs::write(rig.dir.join("rig.json"), serde_json::to_vec_pretty(&rig.state)?)?;
        Ok((rig, leash))
    }

    /// A rig that was brought up before.
    pub(crate) fn open(cache: &Cache, run: &str) -> Result<Self> {
        let dir = folder(run);
        let state = read(&dir).with_context(|| format!("no rig `{run}`: `cargo xtask cluster up` brings one up"))?;
        ensure!(state.sandbox.is_alive(), "the rig `{run}` has ended: `cargo xtask cluster up` brings it up again");
        let fixture = match state.extent {
            Extent::Api => Fixture::for_api(cache)?,
            Extent::Cluster => Fixture::whole(cache)?,
        };
        Ok(Self { dir, state, fixture })
    }

    /// Ends everything and removes the run's files.
    pub(crate) fn down(run: &str) -> Result<bool> {
        let dir = folder(run);
        if !dir.exists() {
            return Ok(false);
        }
        if let Ok(state) = read(&dir) {
            state.sandbox.stop()?;
        }
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        Ok(true)
    }

    /// The run's folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The programs it runs.
    pub(crate) fn fixture(&self) -> &Fixture {
        &self.fixture
    }

    /// Its namespaces.
    pub(crate) fn sandbox(&self) -> &Sandbox {
        &self.state.sandbox
    }

    /// Its certificates.
    pub(crate) fn pki(&self) -> Pki {
        Pki::at(self.dir.join("pki"))
    }

    /// A command that runs in the rig's network, as the administrator.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(Sandbox::ENTER);
        command.args(self.sandbox().enter_network()).arg(program).envs(self.environment());
        command
    }

    /// The same as a program that xtask waits for.
    pub(crate) fn run(&self, program: impl AsRef<OsStr>) -> Run {
        let run = Run::new(Sandbox::ENTER).args(self.sandbox().enter_network()).arg(program);
        self.environment().into_iter().fold(run, |run, (name, value)| run.env(name, value))
    }

    /// Who one is in the rig, and where its tools are.
    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(self.dir.join("bin")).chain(std::env::split_paths(&path));
        // helm's own files: nothing of the user's may change what a run does.
        let helm = self.dir.join("helm");
        vec![
            ("PATH", std::env::join_paths(paths).unwrap_or(path)),
            ("KUBECONFIG", self.dir.join("admin.kubeconfig").into()),
            ("STOCKADE_RIG", self.dir.clone().into()),
            // kubectl remembers by address which kinds a server has, and all rigs have one address.
            ("KUBECACHEDIR", self.dir.join("kube-cache").into()),
            ("HELM_CACHE_HOME", helm.clone().into()),
            ("HELM_CONFIG_HOME", helm.clone().into()),
            ("HELM_DATA_HOME", helm.into()),
        ]
    }

    /// Ends one of its programs, or a node, as a crash would.
    pub(crate) fn kill(&self, name: &str) -> Result<()> {
        self.sandbox().end_daemon(&self.dir, name)
    }

    /// Starts the API server again.
    pub(crate) fn start_api_server(&self) -> Result<()> {
        let pki = self.pki();
        self.control_plane(&pki).start_api_server()
    }

    /// A command on a node, outside of every pod.
    pub(crate) fn on_node(&self, node: Node, script: &str) -> Command {
        let mut ssh = self.command("ssh");
        ssh.arg(node.name()).arg(script);
        ssh
    }

    fn start_nodes(&self, image: &NodeImage, pki: &Pki) -> Result<()> {
        network::add_nodes(self.sandbox())?;
        for node in NODES {
            node::boot(node, self.sandbox(), image, pki, &self.dir)?;
        }
        step("two nodes", |progress| {
            until("both nodes are Ready", wait::NODE, || {
                let ready = self.ready_nodes()?;
                progress.say(format!("{ready} of {} Ready", NODES.len()));
                Ok(ready == NODES.len())
            })
            .with_context(|| format!("see {}", self.dir.join("node-1.log").display()))
        })
    }

    fn ready_nodes(&self) -> Result<usize> {
        let ready = r#"jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#;
        let output = self.command("kubectl").args(["get", "nodes", "-o", ready]).output()?;
        if !output.status.success() {
            bail!("kubectl get nodes: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).lines().filter(|line| *line == "True").count())
    }

    fn control_plane<'a>(&'a self, pki: &'a Pki) -> ControlPlane<'a> {
        ControlPlane { sandbox: self.sandbox(), fixture: &self.fixture, pki, dir: &self.dir }
    }

    /// `kubectl`, `helm`, an `ssh` that knows the nodes and a `rig` that ends and starts parts of it, for people and tests.
    fn link_tools(&self) -> Result<()> {
        let bin = self.dir.join("bin");
        let tools = [("kubectl", self.fixture.program("kubectl")), ("helm", self.fixture.tools().join("helm"))];
        for (name, program) in tools {
            std::os::unix::fs::symlink(program, bin.join(name))?;
        }
        write_rig(&self.dir, &bin.join("rig"))?;
        node::write_ssh(&self.dir, &bin.join("ssh"))
    }
}

/// Makes a program that is `cargo xtask cluster` for this rig.
fn write_rig(dir: &Path, program: &Path) -> Result<()> {
    let xtask = workspace::this_program()?;
    let run = dir.file_name().context("a rig without a name")?.to_string_lossy();
    fs::write(program, format!("#!/bin/sh\nexec '{}' cluster --run '{run}' \"$@\"\n", xtask.display()))?;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Keeps a second run from bringing up the same rig; the kernel releases it with the process.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.with_extension("lock");
    fs::create_dir_all(dir.parent().context("a rig without a folder")?)?;
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    ensure!(file.try_lock().is_ok(), "{} is being brought up by another run", dir.display());
    Ok(file)
}

fn folder(run: &str) -> PathBuf {
    workspace::rig().join(run)
}

fn read(dir: &Path) -> Result<State> {
    Ok(serde_json::from_slice(&fs::read(dir.join("rig.json"))?)?)
}
