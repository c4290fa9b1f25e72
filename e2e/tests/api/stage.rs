//! An operator beside the API server, with the webhook configuration of the chart. One at a time: the configuration is the
//! cluster's. Each stage has a release namespace of its own, so that elections and Secrets never meet.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stockade_e2e::{ApiServer, Kubectl, Operator, OperatorOptions, eventually};
use tokio::sync::{Mutex, MutexGuard};

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// One running operator, and where it listens.
pub(crate) struct Replica {
    /// Dropping it kills it.
    pub(crate) operator: Operator,
    ports: Ports,
}

/// Of the webhook; of health and metrics.
type Ports = (u16, u16);

pub(crate) struct Stage {
    pub(crate) server: ApiServer,
    pub(crate) kubectl: Kubectl,
    /// The release namespace.
    pub(crate) release: String,
    ports: Ports,
    operator: Option<Replica>,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    /// Everything but the operator and its webhook.
    pub(crate) async fn set() -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        let server = ApiServer::shared().await.unwrap();
        let kubectl = server.kubectl();
        let release = server.namespace("release").await.unwrap().name().to_owned();
        let delete = ["delete", "validatingwebhookconfigurations", "stockade-tracingpolicies", "--ignore-not-found"];
        kubectl.run(&delete).unwrap().ok().unwrap();
        Self { server, kubectl, release, ports: (free_port(), free_port()), operator: None, _turn: turn }
    }

    /// With a running operator whose webhook answers.
    pub(crate) async fn with_operator() -> Self {
        let mut stage = Self::set().await;
        stage.configure_webhook();
        stage.start_operator();
        stage.wait_until_ready().await;
        stage
    }

    /// Applies the chart's webhook configuration; only where it is called differs, and there is no Service here.
    pub(crate) fn configure_webhook(&self) {
        self.configure_webhook_at(self.ports);
    }

    /// From now on the API server asks this replica.
    pub(crate) fn ask(&self, replica: &Replica) {
        self.configure_webhook_at(replica.ports);
    }

    fn configure_webhook_at(&self, (webhook, _): Ports) {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/stockade/templates/webhook.yaml");
        let template = std::fs::read_to_string(chart).unwrap();
        let mut configuration = self.json_of(&render(&template, &self.release));
        let url = format!("https://127.0.0.1:{webhook}/validate");
        configuration["webhooks"][0]["clientConfig"] = json!({"url": url});
        self.apply(&configuration).unwrap();
    }

    pub(crate) fn start_operator(&mut self) {
        self.operator = Some(self.start("operator-a", self.ports, None));
    }

    /// A further replica of the release, which is somebody of its own to the API server.
    pub(crate) fn start_replica(&self, name: &str, kubeconfig: PathBuf) -> Replica {
        self.start(name, (free_port(), free_port()), Some(kubeconfig))
    }

    fn start(&self, name: &str, ports: Ports, kubeconfig: Option<PathBuf>) -> Replica {
        let listen = |port| format!("127.0.0.1:{port}");
        let env = [
            ("POD_NAMESPACE", self.release.clone()),
            ("POD_NAME", name.into()),
            ("STOCKADE_WEBHOOK_LISTEN", listen(ports.0)),
            ("STOCKADE_LISTEN", listen(ports.1)),
            ("STOCKADE_WEBHOOK_NAMES", "127.0.0.1".into()),
            ("STOCKADE_REMOVE_STARTUP_TAINT", "true".into()),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let options = OperatorOptions { args: Vec::new(), env, kubeconfig };
        Replica { operator: Operator::start(&self.server, &options).unwrap(), ports }
    }

    pub(crate) fn stop_operator(&mut self) {
        self.operator.take().unwrap().operator.terminate().unwrap();
    }

    /// The operator that [`Stage::with_operator`] has started.
    pub(crate) fn operator(&mut self) -> &mut Replica {
        self.operator.as_mut().unwrap()
    }

    /// Until the API server gets answers from the webhook: a policy that must be refused is.
    pub(crate) async fn wait_until_ready(&self) {
        let wrong = policy("probe", &json!({"nonsense": true}));
        eventually("the webhook answers", || async {
            let output = self.kubectl.run_with(&["create", "--dry-run=server", "-f", "-"], &wrong.to_string())?;
            anyhow::ensure!(output.stderr.contains("UnknownField"), "{}\n{}", output.stderr, self.log());
            Ok(Some(()))
        })
        .await
        .unwrap();
    }

    /// A service account of the release that may do everything.
    pub(crate) fn account(&self, name: &str) {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": self.release}});
        self.apply(&account).unwrap();
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": self.server.unique(name)},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.release}]});
        self.apply(&binding).unwrap();
    }

    /// How one reaches the cluster who has nothing but a token of this account, made with these further arguments.
    pub(crate) fn kubeconfig(&self, account: &str, args: &[&str]) -> tempfile::NamedTempFile {
        let token = [&["create", "token", account, "-n", &self.release], args].concat();
        let token = self.kubectl.run(&token).unwrap().ok().unwrap();
        let view = ["config", "view", "--raw", "--minify", "-o", "json"];
        let mut config: Value = serde_json::from_str(&self.kubectl.run(&view).unwrap().ok().unwrap()).unwrap();
        // The administrator's certificate would win over the token.
        config["users"][0]["user"] = json!({"token": token.trim()});
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config.to_string()).unwrap();
        file
    }

    pub(crate) fn log(&self) -> String {
        let log = self.operator.as_ref().map(|replica| replica.operator.log().unwrap_or_default()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(15).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn apply(&self, object: &Value) -> Result<String, String> {
        self.run(&["apply", "--server-side", "--force-conflicts", "-f", "-"], object)
    }

    pub(crate) fn run(&self, args: &[&str], object: &Value) -> Result<String, String> {
        let output = self.kubectl.run_with(args, &object.to_string()).unwrap();
        if output.success { Ok(format!("{}{}", output.stdout, output.stderr)) } else { Err(output.stderr) }
    }

    pub(crate) fn get(&self, args: &[&str]) -> Option<Value> {
        let args = [&["get", "-o", "json"], args].concat();
        let output = self.kubectl.run(&args).unwrap();
        output.success.then(|| serde_json::from_str(&output.stdout).unwrap())
    }

    /// Until `look` finds something in the object.
    pub(crate) async fn until<T>(&self, what: &str, args: &[&str], look: impl Fn(&Value) -> Option<T>) -> T {
        eventually(what, || async {
            let object = self.get(args).unwrap_or_default();
            match look(&object) {
                Some(found) => Ok(Some(found)),
                None => anyhow::bail!("{}\n{}", object.get("status").unwrap_or(&object), self.log()),
            }
        })
        .await
        .unwrap()
    }

    /// YAML to JSON, by kubectl.
    fn json_of(&self, yaml: &str) -> Value {
        let args = ["create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-"];
        let output = self.kubectl.run_with(&args, yaml).unwrap();
        serde_json::from_str(&output.ok().unwrap()).unwrap()
    }

    /// A document of the chart's template, as JSON.
    pub(crate) fn chart_objects(&self, name: &str) -> Vec<Value> {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/stockade/templates").join(name);
        let template = std::fs::read_to_string(chart).unwrap();
        render(&template, &self.release).split("\n---\n").map(|yaml| self.json_of(yaml)).collect()
    }
}

impl Replica {
    /// Where its webhook listens.
    pub(crate) fn webhook(&self) -> (&'static str, u16) {
        ("127.0.0.1", self.ports.0)
    }

    /// What it answers to a GET of its health and metrics; empty while it does not listen.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.ports.1)) {
            write!(stream, "GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n").unwrap();
            stream.read_to_string(&mut answer).unwrap();
        }
        answer
    }
}

/// What Helm makes of the template with the chart's values, as far as these templates need it.
fn render(template: &str, namespace: &str) -> String {
    let mut skipping = false;
    let mut lines = Vec::new();
    for line in template.lines() {
        if line.contains("{{- if ") {
            skipping = true;
        } else if line.contains("{{- end }}") {
            skipping = false;
        } else if !skipping && !line.contains("include \"stockade.labels\"") {
            lines.push(
                line.replace("{{ .Release.Namespace }}", namespace)
                    .replace("{{ .Values.admission.failurePolicy }}", "Fail")
                    .replace("{{ .Values.admission.timeoutSeconds }}", "5"),
            );
        }
    }
    lines.join("\n")
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn policy(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": name}, "spec": spec})
}

/// A policy that denies, and that every kernel can run.
pub(crate) fn good() -> Value {
    json!({"lsmhooks": [{"hook": "file_open", "args": [{"index": 0, "type": "file"}], "selectors": [{
        "matchArgs": [{"index": 0, "operator": "Prefix", "values": ["/srv/ledger/"]}],
        "matchActions": [{"action": "Override", "argError": -1}]}]}]})
}

/// A policy with one fault.
pub(crate) fn with_pid_zero() -> Value {
    json!({"lsmhooks": [{"hook": "file_open", "args": [{"index": 0, "type": "file"}], "selectors": [{
        "matchPIDs": [{"operator": "In", "followForks": true, "values": [0, 1]}]}]}]})
}

pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object.pointer("/status/conditions")?.as_array()?.iter().find(|condition| condition["type"] == kind)
}
