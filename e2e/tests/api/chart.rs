//! The product's chart: what it renders, what it refuses, and whether the API server takes it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use stockade_e2e::{ApiServer, Output};

fn helm(server: &ApiServer, args: &[&str]) -> Output {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/stockade");
    let (verb, rest) = args.split_first().unwrap();
    let name: &[&str] = if *verb == "template" { &["stockade"] } else { &[] };
    let output = Command::new(server.rig().tool("helm")).arg(verb).args(name).arg(chart).args(rest).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Output { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// What the API server would store of the chart.
fn applied(server: &ApiServer, namespace: &str, values: &[&str]) -> Vec<Value> {
    let rendered = helm(server, &[&["template", "--namespace", namespace], values].concat()).ok().unwrap();
    let args = ["apply", "--server-side", "--dry-run=server", "--force-conflicts", "-o", "json", "-f", "-"];
    let stored = server.kubectl().run_with(&args, &rendered).unwrap().ok().unwrap();
    let list: Value = serde_json::from_str(&stored).unwrap();
    list["items"].as_array().unwrap().clone()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn container<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    &of_kind(objects, kind)[0]["spec"]["template"]["spec"]["containers"][0]
}

#[tokio::test]
async fn the_chart_is_taken_by_the_api_server_and_gives_nobody_more_than_it_says() {
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("chart").await.unwrap();
    helm(&server, &["lint", "--strict"]).ok().unwrap();
    let objects = applied(&server, namespace.name(), &[]);

    let roles = [of_kind(&objects, "ClusterRole"), of_kind(&objects, "Role")].concat();
    assert!(roles.len() >= 5, "{} roles", roles.len());
    for role in roles {
        assert!(!role["rules"].to_string().contains("\"*\""), "a wildcard in {role}");
    }
    let enforcer = &of_kind(&objects, "DaemonSet")[0]["spec"]["template"]["spec"];
    assert!(enforcer["hostNetwork"].is_null(), "{enforcer}");
    // Under a runtime's default profile neither pins nor the list of security modules can be reached.
    assert_eq!(enforcer["securityContext"]["appArmorProfile"], serde_json::json!({"type": "Unconfined"}));
    assert_eq!(enforcer["securityContext"]["seLinuxOptions"], serde_json::json!({"type": "spc_t"}));
    let security = &container(&objects, "DaemonSet")["securityContext"];
    assert_eq!(security["privileged"], false);
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
    assert!(!security["capabilities"]["add"].to_string().contains("SYS_ADMIN"), "{security}");
    assert_eq!(of_kind(&objects, "Deployment")[0]["spec"]["replicas"], 2);
    assert_eq!(of_kind(&objects, "PodDisruptionBudget").len(), 1);

    // Whatever the chart said of the bundle, an upgrade would take back what the operator wrote.
    let rendered = helm(&server, &["template", "--namespace", namespace.name()]).ok().unwrap();
    assert!(!rendered.contains("caBundle"), "the chart owns the bundle");
    assert!(rendered.contains("kind: ValidatingWebhookConfiguration"));
    namespace.delete(&server).await.unwrap();
}

#[tokio::test]
async fn values_do_what_they_say() {
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("chart").await.unwrap();
    let values = [
        "--set=enforcer.perfEvents=true",
        "--set=enforcer.events.destination=/var/log/stockade/events.json",
        "--set=admission.action=Warn",
        "--set=enforcer.image.repository=registry.example/enforcer",
        "--set=enforcer.image.tag=v9",
        "--set=operator.replicas=3",
        "--set=rbac.aggregateToAdmin=true",
        "--set=enforcer.hostKernelRuntimes={spin,wasmtime}",
    ];
    let objects = applied(&server, namespace.name(), &values);
    let enforcer = container(&objects, "DaemonSet");
    assert_eq!(enforcer["image"], "registry.example/enforcer:v9");
    assert!(enforcer["securityContext"]["capabilities"]["add"].to_string().contains("SYS_ADMIN"), "{enforcer}");
    assert!(enforcer["volumeMounts"].to_string().contains("/var/log/stockade"), "{enforcer}");
    let runtimes = r#"{"name":"STOCKADE_HOST_KERNEL_RUNTIMES","value":"spin,wasmtime"}"#;
    assert!(enforcer["env"].to_string().contains(runtimes), "{enforcer}");
    let operator = container(&objects, "Deployment");
    assert!(
        operator["env"].to_string().contains(r#"{"name":"STOCKADE_ADMISSION_ACTION","value":"Warn"}"#),
        "{operator}"
    );
    assert_eq!(of_kind(&objects, "Deployment")[0]["spec"]["replicas"], 3);
    let admin = "rbac.authorization.k8s.io/aggregate-to-admin";
    assert!(objects.iter().any(|object| object["metadata"]["labels"][admin] == "true"), "nothing for admins");
    let plain = applied(&server, namespace.name(), &[]);
    assert!(!plain.iter().any(|object| object["metadata"]["labels"][admin] == "true"), "admins got it unasked");
    namespace.delete(&server).await.unwrap();
}

#[tokio::test]
async fn with_cert_manager_the_operator_has_no_secrets_of_its_own() {
    let server = ApiServer::shared().await.unwrap();
    let values = [
        "--namespace=stockade-system",
        "--set=admission.certificates.source=certManager",
        "--set=admission.certificates.issuerRef.name=internal",
        "--set=admission.certificates.issuerRef.kind=ClusterIssuer",
    ];
    let rendered = helm(&server, &[&["template"], &values[..]].concat()).ok().unwrap();
    let of = |text: &str, start: &str| {
        text.split("\n---\n").find(|document| document.contains(start)).map(str::to_owned).unwrap_or_default()
    };
    let certificate = of(&rendered, "kind: Certificate");
    assert!(certificate.contains("name: internal") && certificate.contains("kind: ClusterIssuer"), "{certificate}");
    assert!(certificate.contains("dnsNames: [stockade-webhook.stockade-system.svc]"), "{certificate}");
    assert!(certificate.contains("secretName: stockade-webhook-certificate"), "{certificate}");
    let operator = of(&rendered, "kind: Deployment");
    assert!(operator.contains("secretName: stockade-webhook-certificate"), "{operator}");
    assert!(
        of(&rendered, "kind: ValidatingWebhookConfiguration")
            .contains("inject-ca-from: stockade-system/stockade-webhook")
    );
    assert!(!rendered.contains("resources: [secrets]"), "rights on Secrets that nobody needs");
    let plain = helm(&server, &["template"]).ok().unwrap();
    assert!(plain.contains("resources: [secrets]") && !plain.contains("cert-manager.io"));
}

#[tokio::test]
async fn a_value_that_means_nothing_is_an_error() {
    let server = ApiServer::shared().await.unwrap();
    let wrong = [
        "--set=enforcer.perfEvent=true",
        "--set=admission.action=Shrug",
        "--set=operator.replicas=0",
        "--set=enforcer.capabilities={ALL,BPF}",
        "--set=enforcer.events.destination=/etc/shadow",
        // A Certificate without an issuer is never issued, and the operator's pods never start.
        "--set=admission.certificates.source=certManager",
        // An upgrade that may stop no pod replaces none.
        "--set=enforcer.maxUnavailable=0",
        "--set=enforcer.maxUnavailable=0%",
        "--set=enforcer.maxUnavailable=many",
    ];
    for value in wrong {
        let output = helm(&server, &["template", value]);
        assert!(!output.success && output.stderr.contains("values don't meet"), "{value}: {output:?}");
    }
}
