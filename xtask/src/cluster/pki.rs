//! The rig's certificates: one authority, and a certificate for every program that serves or calls.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context, Result};
use base64::prelude::{BASE64_STANDARD as STANDARD, Engine as _};

use crate::process::Run;

use super::addresses::{API_SERVER, FIRST_SERVICE_ADDRESS, NODES};

/// Who someone is: a certificate's subject.
struct Subject<'a> {
    name: &'a str,
    group: Option<&'a str>,
}

/// A folder of certificates, each as `NAME.crt` and `NAME.key`.
#[derive(Debug, Clone)]
pub(crate) struct Pki {
    dir: PathBuf,
}

impl Pki {
    /// The certificates in `dir`, which [`Pki::create`] made.
    pub(crate) fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Makes the authority and all certificates that a cluster needs.
    pub(crate) fn create(dir: impl Into<PathBuf>) -> Result<Self> {
        let pki = Self::at(dir);
        fs::create_dir_all(&pki.dir)?;
        pki.authority()?;
        pki.service_account_key()?;
        pki.serving("kube-apiserver", &api_server_names())?;
        pki.serving("etcd", "DNS:localhost,IP:127.0.0.1")?;
        pki.serving("registry", &format!("IP:{API_SERVER}"))?;
        for (file, name, group) in [
            ("etcd-client", "kube-apiserver", None),
            ("kubelet-client", "kube-apiserver-kubelet-client", Some("system:masters")),
            ("admin", "admin", Some("system:masters")),
            ("kube-controller-manager", "system:kube-controller-manager", None),
            ("kube-scheduler", "system:kube-scheduler", None),
            ("kube-proxy", "system:kube-proxy", None),
        ] {
            pki.client(file, &Subject { name, group })?;
        }
        for node in NODES {
            let (name, user) = (node.name(), format!("system:node:{}", node.name()));
            pki.client(&format!("{name}-client"), &Subject { name: &user, group: Some("system:nodes") })?;
            pki.serving(&format!("{name}-serving"), &format!("DNS:{name},IP:{}", node.address()))?;
        }
        Ok(pki)
    }

    /// The file of a certificate.
    pub(crate) fn cert(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.crt"))
    }

    /// The file of a private key.
    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.key"))
    }

    /// The authority's certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.cert("ca")
    }

    /// A kubeconfig for the client certificate `user`, whole in one file so that it can be carried elsewhere.
    pub(crate) fn kubeconfig(&self, user: &str) -> Result<String> {
        let data = |path: PathBuf| -> Result<String> {
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(STANDARD.encode(bytes))
        };
        let (ca, cert, key) = (data(self.ca())?, data(self.cert(user))?, data(self.key(user))?);
        Ok(format!(
            "apiVersion: v1\nkind: Config\n\
             clusters:\n- name: rig\n  cluster:\n    server: https://{API_SERVER}:6443\n    certificate-authority-data: {ca}\n\
             users:\n- name: {user}\n  user:\n    client-certificate-data: {cert}\n    client-key-data: {key}\n\
             contexts:\n- name: rig\n  context:\n    cluster: rig\n    user: {user}\n\
             current-context: rig\n"
        ))
    }

    fn authority(&self) -> Result<()> {
        self.request("ca", "/CN=stockade-rig")
            .args(["-addext", "basicConstraints=critical,CA:TRUE"])
            .args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"])
            .output()
            .map(drop)
    }

    /// Service account tokens are signed with a bare key. RSA, because every client can verify it.
    fn service_account_key(&self) -> Result<()> {
        let (private, public) = (self.key("service-accounts"), self.dir.join("service-accounts.pub"));
        Run::new("openssl").args(["genrsa", "-out"]).arg(&private).arg("2048").output()?;
        Run::new("openssl").args(["rsa", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public).output()?;
        Ok(())
    }

    fn serving(&self, file: &str, names: &str) -> Result<()> {
        self.signed(file, &format!("/CN={file}"))
            .args(["-addext", &format!("subjectAltName={names}")])
            .args(["-addext", "extendedKeyUsage=serverAuth"])
            .output()
            .map(drop)
    }

    fn client(&self, file: &str, subject: &Subject<'_>) -> Result<()> {
        let mut text = String::new();
        if let Some(group) = subject.group {
            write!(text, "/O={group}")?;
        }
        write!(text, "/CN={}", subject.name)?;
        self.signed(file, &text).args(["-addext", "extendedKeyUsage=clientAuth"]).output().map(drop)
    }

    fn signed(&self, file: &str, subject: &str) -> Run {
        self.request(file, subject)
            .arg("-CA")
            .arg(self.ca())
            .arg("-CAkey")
            .arg(self.key("ca"))
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
    }

    /// Elliptic curves: a key takes milliseconds instead of a second, and there are fifteen of them.
    fn request(&self, file: &str, subject: &str) -> Run {
        Run::new("openssl")
            // Without the machine's configuration, whose defaults would be added to what is asked for here.
            .env("OPENSSL_CONF", "/dev/null")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "365"])
            .args(["-subj", subject])
            .arg("-keyout")
            .arg(self.key(file))
            .arg("-out")
            .arg(self.cert(file))
    }
}

fn api_server_names() -> String {
    let dns = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ]
    .map(|name| format!("DNS:{name}"))
    .join(",");
    format!("{dns},IP:127.0.0.1,IP:{API_SERVER},IP:{FIRST_SERVICE_ADDRESS}")
}
