//! What tests in a guest share: an engine of their own, pods made of cgroups, programs run in them.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    missing_docs,
    unreachable_pub,
    reason = "a test that fails says where"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stockade_enforcer_kernel::event::{Event, Hook};
use stockade_enforcer_kernel::scope::{Container, Pod};
use stockade_enforcer_kernel::{ApplyReport, Engine, Options, ScopeSnapshot};
use stockade_policy::ir::ValidatedPolicy;

/// Whether this runs in a guest that was booted for it; elsewhere kernel tests do nothing.
pub fn in_guest() -> bool {
    let inside = std::env::var_os("STOCKADE_GUEST").is_some();
    if !inside {
        eprintln!("skipped: kernel tests run in guests (`cargo xtask vm test`)");
    }
    inside
}

/// The eBPF object.
pub fn object() -> Vec<u8> {
    let path = std::env::var_os("STOCKADE_EBPF_OBJECT").expect("STOCKADE_EBPF_OBJECT names the object");
    fs::read(path).unwrap()
}

pub fn options() -> Options {
    Options { state_dir: PathBuf::from("/tmp/stockade-state"), processes: 4096, ..Options::new(object()) }
}

/// An engine on a node where nothing is left of an earlier test.
pub fn fresh_engine() -> Engine {
    let mut engine = start_engine();
    if engine.found().adopted_base {
        engine.detach_all().unwrap();
        engine = start_engine();
    }
    engine
}

pub fn start_engine() -> Engine {
    Engine::start(options()).unwrap_or_else(|error| panic!("{error}"))
}

/// A pod with one container: cgroups as the kubelet makes them.
pub struct TestPod {
    pub pod: Pod,
    pub directory: PathBuf,
}

pub const KUBEPODS: &str = "/sys/fs/cgroup/kubepods";

pub fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

impl TestPod {
    pub fn new(namespace: &str, name: &str) -> Self {
        let directory = PathBuf::from(KUBEPODS).join(format!("pod-{namespace}-{name}"));
        let container = directory.join("main");
        fs::create_dir_all(&container).unwrap();
        let pod = Pod {
            uid: format!("{namespace}-{name}"),
            namespace: namespace.into(),
            name: name.into(),
            labels: BTreeMap::from([("app".into(), name.into())]),
            cgroups: vec![inode(&directory)],
            containers: vec![Container {
                id: "main".into(),
                name: "main".into(),
                repo: "busybox".into(),
                cgroups: vec![inode(&container)],
            }],
        };
        Self { pod, directory }
    }

    pub fn container(&self) -> PathBuf {
        self.directory.join("main")
    }

    /// Runs a shell script in the container.
    pub fn run(&self, script: &str) -> Output {
        run_in(&self.container(), script)
    }

    /// A shell in the container that answers line by line.
    pub fn shell(&self) -> Shell {
        Shell::start(Some(&self.container()))
    }
}

/// Who is on the node: these pods, all below one root.
pub fn snapshot(pods: &[&TestPod]) -> ScopeSnapshot {
    fs::create_dir_all(KUBEPODS).unwrap();
    ScopeSnapshot {
        pods: pods.iter().map(|pod| pod.pod.clone()).collect(),
        pod_roots: vec![inode(Path::new(KUBEPODS))],
    }
}

/// Joins the cgroup first and executes the script's shell there, so that its scope is that cgroup's.
pub fn run_in(cgroup: &Path, script: &str) -> Output {
    command_in(cgroup, script).output().unwrap()
}

pub fn command_in(cgroup: &Path, script: &str) -> Command {
    let mut command = Command::new("/bin/busybox");
    command.args(["sh", "-c", "echo $$ > $0/cgroup.procs && exec /bin/busybox sh -c \"$1\""]);
    command.arg(cgroup).arg(script);
    command
}

pub fn run_on_host(script: &str) -> Output {
    Command::new("/bin/busybox").args(["sh", "-c", script]).output().unwrap()
}

/// What a script printed.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
pub fn assert_denied(output: &Output) {
    assert!(!output.status.success(), "was allowed: {}", text(output));
    assert!(text(output).contains("Operation not permitted"), "failed for another reason: {}", text(output));
}

#[track_caller]
pub fn assert_allowed(output: &Output) {
    assert!(output.status.success(), "was refused: {}", text(output));
}

/// A shell that keeps running, and answers each command with its exit status.
pub struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Shell {
    pub fn start(cgroup: Option<&Path>) -> Self {
        let mut command = match cgroup {
            Some(cgroup) => command_in(cgroup, "exec /bin/busybox sh"),
            None => {
                let mut command = Command::new("/bin/busybox");
                command.arg("sh");
                command
            }
        };
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut shell = Self { child, input, output };
        assert_eq!(shell.status("true"), 0);
        shell
    }

    /// The exit status of a command; builtins run in the shell itself.
    pub fn status(&mut self, command: &str) -> i32 {
        writeln!(self.input, "{{ {command} ; }} 2>/dev/null >/dev/null; echo =$?").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().trim_start_matches('=').parse().unwrap_or(-1)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Judges a document; it must be accepted.
#[track_caller]
pub fn policy(document: &Value) -> ValidatedPolicy {
    let judgement = stockade_policy::judge(document);
    judgement.policy.unwrap_or_else(|| panic!("{:#?}", judgement.faults))
}

/// A namespaced policy with one kprobe hook.
pub fn namespaced(namespace: &str, name: &str, generation: i64, kprobe: &Value) -> ValidatedPolicy {
    policy(&json!({
        "apiVersion": "cilium.io/v1alpha1",
        "kind": "TracingPolicyNamespaced",
        "metadata": {"name": name, "namespace": namespace, "generation": generation},
        "spec": {"kprobes": [kprobe]},
    }))
}

/// A cluster-wide policy with one kprobe hook.
pub fn cluster(name: &str, kprobe: &Value) -> ValidatedPolicy {
    policy(&json!({
        "apiVersion": "cilium.io/v1alpha1",
        "kind": "TracingPolicy",
        "metadata": {"name": name, "generation": 1},
        "spec": {"kprobes": [kprobe]},
    }))
}

/// A hook that refuses to open what is below these paths.
pub fn guard(prefixes: &[&str]) -> Value {
    json!({
        "call": "security_file_open",
        "syscall": false,
        "args": [{"index": 0, "type": "file"}],
        "selectors": [{
            "matchArgs": [{"index": 0, "operator": "Prefix", "values": prefixes}],
            "matchActions": [{"action": "Override", "argError": -1}],
        }],
    })
}

#[track_caller]
pub fn apply(engine: &mut Engine, policies: &[ValidatedPolicy], snapshot: &ScopeSnapshot) -> ApplyReport {
    let report = engine.apply(policies, snapshot);
    assert!(report.trouble.is_empty(), "{report:#?}");
    for policy in policies {
        let entry = &report.policies[&policy.id];
        assert_eq!(entry.trouble, None, "{report:#?}");
        assert_eq!(entry.generation_in_force, Some(policy.generation), "{report:#?}");
    }
    report
}

/// Takes events until one of a hook satisfies the condition.
#[track_caller]
pub fn hook_event(engine: &mut Engine, wanted: impl Fn(&Hook) -> bool) -> Hook {
    match event(engine, |event| matches!(event, Event::Hook(hook) if wanted(hook))) {
        Event::Hook(hook) => hook,
        other => panic!("{other:?}"),
    }
}

/// Takes events until one satisfies the condition; fails after ten seconds.
#[track_caller]
pub fn event(engine: &mut Engine, wanted: impl Fn(&Event) -> bool) -> Event {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut seen = Vec::new();
    while Instant::now() < deadline {
        for event in engine.poll_events(64) {
            let event = event.unwrap();
            if wanted(&event) {
                return event;
            }
            seen.push(event);
        }
        std::thread::yield_now();
    }
    panic!("no such event among {}: {:#?}", seen.len(), seen.iter().rev().take(5).collect::<Vec<_>>());
}
