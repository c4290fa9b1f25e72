//! The real binary alone with a folder, on whatever kernel runs the tests. Where that kernel cannot be used, the reason must
//! be told everywhere; where it can, the pins would be in a folder that is on no BPF file system, which is a reason too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// No step takes nearly as long, on a busy machine neither.
const LONG: Duration = Duration::from_secs(60);

struct Agent {
    child: Child,
    listen: SocketAddr,
    lines: Receiver<Value>,
    dir: tempfile::TempDir,
}

impl Agent {
    fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    fn start_in(dir: tempfile::TempDir) -> Self {
        let policies = dir.path().join("policies");
        std::fs::create_dir_all(&policies).unwrap();
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_stockade-enforcer"))
            .arg("--policy-dir")
            .arg(&policies)
            .args(["--node-name", "n1", "--listen", &listen.to_string()])
            .arg("--state-dir")
            .arg(dir.path().join("state"))
            .arg("--pin-root")
            .arg(dir.path().join("pins"))
            .env_remove("KUBERNETES_SERVICE_HOST")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, listen, lines, dir }
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.policies().join(file), text).unwrap();
    }

    fn policies(&self) -> PathBuf {
        self.dir.path().join("policies")
    }

    /// The next status on stdout that is as `wanted`.
    fn status(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + LONG;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).expect("no such status was shown");
            let status = &line["node_policy_state"];
            if status.is_object() && wanted(status) {
                return status.clone();
            }
        }
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.listen).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Ends it as Kubernetes does; returns the exit code.
    fn end(mut self) -> (Option<i32>, tempfile::TempDir) {
        let pid = i32::try_from(self.child.id()).unwrap();
        assert!(Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap().success());
        let until = Instant::now() + LONG;
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        };
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        (code, dir)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn policy(name: &str) -> String {
    format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}}}\nspec:\n  lsmhooks:\n  - hook: file_open\n    args: [{{index: 0, type: file}}]\n"
    )
}

fn names(status: &Value) -> Vec<&str> {
    status["policies"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect()
}

fn reason(status: &Value) -> String {
    let conditions = status["conditions"].as_array().unwrap();
    let supported = conditions.iter().find(|condition| condition["type"] == "KernelSupported").unwrap();
    assert_eq!(supported["status"], "False", "{supported}");
    supported["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_node_that_cannot_enforce_says_why_everywhere_and_goes_on() {
    let agent = Agent::start();
    agent.write("a.yaml", &policy("a"));
    let status = agent.status(|status| names(status) == ["a"]);
    let why = reason(&status);
    let named = ["BtfMissing", "BpfLsmMissing", "CapabilityMissing", "BpffsMissing"];
    assert!(named.contains(&why.as_str()), "{why}");
    let entry = &status["policies"][0];
    assert_eq!((entry["reason"].as_str(), entry["state"].as_str()), (Some(why.as_str()), Some("Retrying")));
    assert!(entry["message"].as_str().is_some_and(|message| !message.is_empty()));
    assert!(entry.get("generationInForce").is_none(), "nothing is in force");

    let file = std::fs::read(agent.dir.path().join("state/status.json")).unwrap();
    let file: Value = serde_json::from_slice(&file).unwrap();
    assert_eq!(file["node_name"], "n1");
    assert_eq!(reason(&file["node_policy_state"]), why);
    assert!(file["node_policy_state"]["facts"]["kernelRelease"].is_string());

    // Reported as failed, so the agent is ready; what is wrong stands beside it.
    let (code, text) = agent.get("/readyz");
    assert_eq!(code, 200);
    assert!(text.starts_with(&format!("ok\nkernel: {why}: ")), "{text}");
    assert_eq!(agent.get("/livez").0, 200);
    let (_, metrics) = agent.get("/metrics");
    for line in [
        format!(
            "stockade_enforcer_node_condition{{condition=\"KernelSupported\",status=\"False\",reason=\"{why}\"}} 1"
        ),
        format!("policy=\"a\",state=\"Retrying\",reason=\"{why}\"}} 1"),
    ] {
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    assert_eq!(agent.end().0, Some(0));
}

#[test]
fn the_folder_is_followed_and_a_damaged_file_is_named_and_takes_nothing_away() {
    let agent = Agent::start();
    agent.write("a.yaml", &policy("a"));
    agent.status(|status| names(status) == ["a"]);
    agent.write("b.yaml", &policy("b"));
    agent.status(|status| names(status) == ["a", "b"]);
    agent.write("b.yaml", "kind: [");
    let status = agent.status(|status| names(status).contains(&"b.yaml"));
    assert_eq!(names(&status), ["b.yaml", "a", "b"]);
    assert_eq!((&status["policies"][0]["kind"], &status["policies"][0]["reason"]), (&"File".into(), &"Invalid".into()));

    // Not even when the agent starts anew with it.
    let (code, dir) = agent.end();
    assert_eq!(code, Some(0));
    let agent = Agent::start_in(dir);
    let status = agent.status(|status| !names(status).is_empty());
    assert_eq!(names(&status), ["b.yaml", "a", "b"]);
    std::fs::remove_file(agent.policies().join("b.yaml")).unwrap();
    agent.status(|status| names(status) == ["a"]);
}

#[test]
fn events_that_cannot_be_written_are_an_error_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_stockade-enforcer"))
        .args(["--listen", "127.0.0.1:0", "--policy-dir"])
        .arg(dir.path())
        .arg("--state-dir")
        .arg(dir.path().join("state"))
        .arg("--events")
        .arg(dir.path().join("file/events.json"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("events cannot be written to"), "{text}");
}
