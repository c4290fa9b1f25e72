//! One API server for all tests of a binary; each test has a namespace of its own.

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace as CoreNamespace;
use kube::{
    Api, Client, Config,
    api::{DeleteParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::{Kubectl, Rig};

/// How long a CRD may take to be served on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A real API server: etcd and kube-apiserver, with certificates, RBAC and nothing else.
#[derive(Debug, Clone)]
pub struct ApiServer {
    rig: Rig,
}

/// A namespace that one test has for itself.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

static CRDS: OnceCell<()> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(0);

impl ApiServer {
    /// The one of this test binary, with the project's CRDs established.
    pub async fn shared() -> Result<Self> {
        let server = Self::bare()?;
        CRDS.get_or_try_init(|| async { server.install_crds() }).await?;
        Ok(server)
    }

    /// The same without CRDs, for tests of the CRDs themselves.
    pub fn bare() -> Result<Self> {
        Ok(Self { rig: Rig::from_env()? })
    }

    /// The rig it is part of.
    pub fn rig(&self) -> &Rig {
        &self.rig
    }

    /// A client with the administrator's rights. One for each test: a client belongs to its test's runtime.
    pub async fn client(&self) -> Result<Client> {
        // Another library of the process may have chosen already.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let kubeconfig = Kubeconfig::read_from(self.rig.kubeconfig())?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Client::try_from(config).context("cannot make a client")
    }

    /// `kubectl`.
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(&self.rig)
    }

    /// Makes a namespace whose name begins with `prefix`.
    pub async fn namespace(&self, prefix: &str) -> Result<Namespace> {
        let name = self.unique(prefix);
        let client = self.client().await?;
        let object = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        Api::<CoreNamespace>::all(client).create(&PostParams::default(), &object).await?;
        Ok(Namespace { name })
    }

    /// A name for something without a namespace that no other test has.
    pub fn unique(&self, prefix: &str) -> String {
        format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Applies the generated CRDs and waits until they are served.
    fn install_crds(&self) -> Result<()> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");
        let kubectl = self.kubectl();
        for entry in std::fs::read_dir(&dir).context("the folder of CRDs")? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let path = path.to_string_lossy();
                kubectl.run(&["apply", "--server-side", "--force-conflicts", "-f", &path])?.ok()?;
                wait_until_served(&kubectl, &path)?;
            }
        }
        Ok(())
    }
}

/// `kubectl wait` gives up at once on an object that nobody has given conditions yet.
fn wait_until_served(kubectl: &Kubectl, path: &str) -> Result<()> {
    let started = Instant::now();
    loop {
        let output = kubectl.run(&["wait", "--for=condition=Established", "--timeout=60s", "-f", path])?;
        if output.success || !output.stderr.contains(".status.conditions") || started.elapsed() > PATIENCE {
            return output.ok().map(drop);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

impl Namespace {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Deletes it, without waiting for what is in it: nobody finishes that on a server without controllers.
    pub async fn delete(self, server: &ApiServer) -> Result<()> {
        let api = Api::<CoreNamespace>::all(server.client().await?);
        api.delete(&self.name, &DeleteParams::default()).await.map(drop).context("cannot delete the namespace")
    }
}
