//! The programs of the control plane, as they are started for a rig.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use super::{
    addresses::{API_SERVER, PODS, REGISTRY, SERVICES},
    fixture::Fixture,
    pki::Pki,
    sandbox::Sandbox,
    wait::{self, until},
};

/// What is needed to start a program of the control plane.
#[derive(Debug)]
pub(crate) struct ControlPlane<'a> {
    /// Where it runs.
    pub(crate) sandbox: &'a Sandbox,
    /// The programs.
    pub(crate) fixture: &'a Fixture,
    /// Their certificates.
    pub(crate) pki: &'a Pki,
    /// The run's folder: data, logs and kubeconfigs.
    pub(crate) dir: &'a Path,
}

impl ControlPlane<'_> {
    /// Starts etcd and the API server and waits until the latter is ready.
    pub(crate) fn start_api(&self) -> Result<()> {
        self.start_etcd()?;
        self.start_api_server()?;
        fs::write(self.kubeconfig("admin"), self.pki.kubeconfig("admin")?)?;
        until("the API server is ready", wait::API_SERVER, || self.is_ready())
            .with_context(|| format!("see {}", self.log("kube-apiserver").display()))
    }

    /// Starts what makes a cluster of an API server: controllers, the scheduler, and a registry of images.
    pub(crate) fn start_controllers(&self) -> Result<()> {
        for name in ["kube-controller-manager", "kube-scheduler"] {
            fs::write(self.kubeconfig(name), self.pki.kubeconfig(name)?)?;
        }
        let mut command = self.program("kube-controller-manager");
        command
            .arg(flag("kubeconfig", self.kubeconfig("kube-controller-manager")))
            .arg(flag("service-account-private-key-file", self.pki.key("service-accounts")))
            .arg(flag("root-ca-file", self.pki.ca()))
            // Each controller with its own account: as one user they would have no rights at all.
            .args(["--use-service-account-credentials=true", "--leader-elect=false", "--secure-port=0"])
            // Pod addresses are fixed for each node.
            .arg("--controllers=*,-nodeipam")
            .arg(flag("cluster-cidr", PODS));
        self.start("kube-controller-manager", &mut command)?;

        let mut command = self.program("kube-scheduler");
        command
            .arg(flag("kubeconfig", self.kubeconfig("kube-scheduler")))
            .args(["--leader-elect=false", "--secure-port=0"]);
        self.start("kube-scheduler", &mut command)?;
        self.start_registry()
    }

    /// Starts etcd. It is asked for nothing after the rig's end, so it need not wait for the disk.
    fn start_etcd(&self) -> Result<()> {
        let mut command = self.program("etcd");
        command
            .args(["--name=rig", "--unsafe-no-fsync"])
            .arg(flag("data-dir", self.dir.join("etcd")))
            .args(["--listen-client-urls=https://127.0.0.1:2379", "--advertise-client-urls=https://127.0.0.1:2379"])
            .args(["--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380"])
            .arg("--initial-cluster=rig=http://127.0.0.1:2380")
            .arg(flag("cert-file", self.pki.cert("etcd")))
            .arg(flag("key-file", self.pki.key("etcd")))
            .arg("--client-cert-auth")
            .arg(flag("trusted-ca-file", self.pki.ca()));
        self.start("etcd", &mut command)
    }

    /// Starts the API server. Tests stop and start it again, with etcd left as it is.
    pub(crate) fn start_api_server(&self) -> Result<()> {
        let audited = self.dir.join("audit.yaml");
        fs::write(&audited, AUDITED)?;
        let mut command = self.program("kube-apiserver");
        command
            .arg("--etcd-servers=https://127.0.0.1:2379")
            .arg(flag("etcd-cafile", self.pki.ca()))
            .arg(flag("etcd-certfile", self.pki.cert("etcd-client")))
            .arg(flag("etcd-keyfile", self.pki.key("etcd-client")))
            .arg(flag("tls-cert-file", self.pki.cert("kube-apiserver")))
            .arg(flag("tls-private-key-file", self.pki.key("kube-apiserver")))
            .arg(flag("client-ca-file", self.pki.ca()))
            .arg(flag("kubelet-certificate-authority", self.pki.ca()))
            .arg(flag("kubelet-client-certificate", self.pki.cert("kubelet-client")))
            .arg(flag("kubelet-client-key", self.pki.key("kubelet-client")))
            .arg("--kubelet-preferred-address-types=InternalIP")
            .arg(flag("advertise-address", API_SERVER))
            .arg(flag("service-cluster-ip-range", SERVICES))
            .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
            .arg(flag("service-account-key-file", self.pki.key("service-accounts")))
            .arg(flag("service-account-signing-key-file", self.pki.key("service-accounts")))
            .args(["--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"])
            .arg("--allow-privileged=true")
            .arg(flag("audit-policy-file", audited))
            .arg(flag("audit-log-path", self.log("audit")))
            // Services have no addresses on this side of the network: webhooks are called at their pods.
            .arg("--enable-aggregator-routing=true");
        self.start("kube-apiserver", &mut command)
    }

    fn start_registry(&self) -> Result<()> {
        let mut command = self.sandbox.command(self.fixture.registry());
        command
            .args(["serve", "--address", REGISTRY, "--cert"])
            .arg(self.pki.cert("registry"))
            .arg("--key")
            .arg(self.pki.key("registry"));
        self.start("registry", &mut command)?;
        until("the registry listens", wait::REGISTRY, || {
            Ok(fs::read_to_string(self.log("registry"))?.contains("listening"))
        })
    }

    fn is_ready(&self) -> Result<bool> {
        let output = self
            .program("kubectl")
            .arg("--kubeconfig")
            .arg(self.kubeconfig("admin"))
            .args(["get", "--raw", "/readyz", "--request-timeout=5s"])
            .output()?;
        Ok(output.status.success())
    }

    fn program(&self, name: &str) -> Command {
        self.sandbox.command(self.fixture.program(name))
    }

    fn start(&self, name: &str, command: &mut Command) -> Result<()> {
        self.sandbox.daemon(command, self.dir, name)
    }

    fn kubeconfig(&self, user: &str) -> std::path::PathBuf {
        self.dir.join(format!("{user}.kubeconfig"))
    }

    fn log(&self, name: &str) -> std::path::PathBuf {
        self.dir.join(format!("{name}.log"))
    }
}

/// Who writes statuses of policies is in the audit log: the objects do not say which replica of the operator it was.
const AUDITED: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    verbs: [create, update, patch]
    resources: [{group: cilium.io, resources: [tracingpolicies/status, tracingpoliciesnamespaced/status]}]
  - level: None
";

/// `--NAME=VALUE`, for values that are paths too.
fn flag(name: &str, value: impl AsRef<std::ffi::OsStr>) -> std::ffi::OsString {
    let mut flag = std::ffi::OsString::from(format!("--{name}="));
    flag.push(value);
    flag
}
