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
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
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

/// An engine on a node where no hook and no event is left of an earlier test. Process tracking goes on, as it does from
/// agent to agent: loading its programs is most of a test's time.
pub fn fresh_engine() -> Engine {
    let mut engine = start_engine();
    remove_hooks(&mut engine);
    while !engine.poll_events(4096).is_empty() {}
    engine
}

fn remove_hooks(engine: &mut Engine) {
    let report = engine.apply(&[], &ScopeSnapshot::default());
    assert!(report.trouble.is_empty(), "{report:#?}");
    assert!(pinned("hook-").is_empty(), "{:?}", pinned("hook-"));
}

/// The end of a test: no hook is left.
pub fn finish(mut engine: Engine) {
    remove_hooks(&mut engine);
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

/// A process of this test binary that runs one of its ignored tests, in a cgroup if one is given.
pub struct Helper {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Helper {
    pub fn start(test: &str, cgroup: Option<&Path>, environment: &[(&str, String)]) -> Self {
        match cgroup {
            Some(cgroup) => {
                let join = "echo $$ > $0/cgroup.procs && exec \"$@\"";
                Self::start_after(&["/bin/busybox", "sh", "-c", join, cgroup.to_str().unwrap()], test, environment)
            }
            None => Self::start_after(&[], test, environment),
        }
    }

    /// The same, executed by the command before.
    pub fn start_after(before: &[&str], test: &str, environment: &[(&str, String)]) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut words = before.iter().map(std::ffi::OsString::from).chain([program.into_os_string()]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(["--ignored", "--exact", test, "--nocapture", "--test-threads=1"]);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// The rest of the next line that begins with `prefix`.
    #[track_caller]
    pub fn line(&mut self, prefix: &str) -> String {
        let Some(line) = self.line_or_end(prefix) else {
            panic!("the helper ended ({:?}) before it said {prefix}", self.child.wait());
        };
        line
    }

    /// The same; `None` when the helper ends before.
    pub fn line_or_end(&mut self, prefix: &str) -> Option<String> {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() != 0 {
            if let Some(rest) = line.trim().strip_prefix(prefix) {
                return Some(rest.trim().to_owned());
            }
            line.clear();
        }
        None
    }

    /// From now on it runs on the first CPU only.
    pub fn pin_to_first_cpu(&self) {
        let mut cpus = rustix::thread::CpuSet::new();
        cpus.set(0);
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::thread::sched_setaffinity(Some(pid), &cpus).unwrap();
    }

    /// How it ends.
    pub fn end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// As the kernel's out-of-memory killer would: no chance to clean up.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tries to open `STOCKADE_HAMMER` until `STOCKADE_CALLS` are made and the file `STOCKADE_STOP` is there, then says how
/// often it was allowed, refused, and failed otherwise.
pub fn hammer() {
    let Some(target) = std::env::var_os("STOCKADE_HAMMER") else { return };
    let stop = std::env::var_os("STOCKADE_STOP").map(PathBuf::from);
    let least: u64 = std::env::var("STOCKADE_CALLS").ok().and_then(|text| text.parse().ok()).unwrap_or_default();
    let mut counts = [0_u64; 3];
    // On a line of its own: the test harness has begun one with the test's name.
    println!("\nhammering");
    loop {
        let result = fs::File::open(&target);
        let which = match result {
            Ok(_) => 0,
            Err(error) if error.raw_os_error() == Some(1) => 1,
            Err(_) => 2,
        };
        counts[which] += 1;
        let calls: u64 = counts.iter().sum();
        if calls >= least && calls.is_multiple_of(64) && stop.as_ref().is_none_or(|stop| stop.exists()) {
            break;
        }
    }
    println!("\nhammered {} {} {}", counts[0], counts[1], counts[2]);
}

/// What a hammer has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hammered {
    pub allowed: u64,
    pub refused: u64,
    pub failed: u64,
}

impl Helper {
    pub fn hammer(target: &str, cgroup: &Path, calls: u64) -> Self {
        let environment = [
            ("STOCKADE_HAMMER", target.to_owned()),
            ("STOCKADE_STOP", STOP.to_owned()),
            ("STOCKADE_CALLS", calls.to_string()),
        ];
        let mut helper = Self::start("hammer", Some(cgroup), &environment);
        helper.line("hammering");
        helper
    }

    pub fn hammered(&mut self) -> Hammered {
        let line = self.line("hammered");
        let mut numbers = line.split(' ').map(|number| number.parse().unwrap());
        let mut next = || numbers.next().unwrap();
        Hammered { allowed: next(), refused: next(), failed: next() }
    }
}

/// The file that stops hammers.
pub const STOP: &str = "/tmp/stop";

pub fn go() {
    let _ = fs::remove_file(STOP);
}

pub fn stop() {
    fs::write(STOP, "").unwrap();
}

/// The directories of pins, by kind.
pub fn pinned(kind: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/fs/bpf/stockade") else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(kind)).collect();
    names.sort();
    names
}
