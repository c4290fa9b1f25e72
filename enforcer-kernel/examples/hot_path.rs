//! What enforcement costs, in guest instructions, for `cargo xtask bench hot-path`. Prints one JSON row a line.
//!
//! Runs as root in a guest booted with `-icount shift=0,sleep=off` on one CPU, where a nanosecond of the guest's clock is
//! one instruction. Every figure is taken beside the bare call and an empty program in the same boot.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::let_underscore_must_use,
    reason = "a measurement that fails says where and ends"
)]

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use stockade_enforcer_kernel::btf::KernelBtf;
use stockade_enforcer_kernel::sys::{self, ProbeProgram};
use stockade_enforcer_kernel::{Engine, Options, ScopeSnapshot};
use stockade_policy::ir::ValidatedPolicy;

/// Operations in a loop.
const LOOPS: u32 = 20_000;
/// Processes in a loop.
const SPAWNS: u32 = 60;

fn main() {
    let mut rows = Rows;
    let call = rows.measure("getpgid, bare", None, getpgid);
    let empty = {
        let _link = empty_program("bpf_lsm_task_getpgid");
        rows.measure("getpgid, empty LSM program", None, getpgid) - call
    };
    rows.put("empty LSM program", empty, "instructions", None);
    let file = rows.measure("open and close, bare", None, open);
    let empty_open = {
        let _link = empty_program("bpf_lsm_file_open");
        rows.measure("open and close, empty LSM program", None, open) - file
    };
    let spawn = rows.measure("fork, exec, exit of a static program, bare", None, fork_exec);

    let object = std::fs::read(std::env::var_os("STOCKADE_EBPF_OBJECT").expect("STOCKADE_EBPF_OBJECT")).unwrap();
    let options = Options { state_dir: "/tmp/stockade-bench".into(), ..Options::new(object) };
    let mut engine = Engine::start(options).unwrap_or_else(|error| panic!("{error}"));
    let tracked = rows.measure("fork, exec, exit of a static program, tracked", None, fork_exec);
    rows.put("process tracking", tracked - spawn, "instructions", Some(Budget::of("fork, exec, exit", spawn, 0.01)));
    rows.memory("kernel memory, base", &engine, Some(4.0 * 1024.0 * 1024.0));

    for policies in [1, 100, 1_000] {
        let apart = apply(&mut engine, &many(policies, "TracingPolicyNamespaced", None));
        rows.put(&format!("apply {policies} policies"), apart, "instructions", None);
        let cost = rows.measure(&format!("getpgid, {policies} policies of other namespaces"), None, getpgid) - call;
        rows.put(
            &format!("out of scope, {policies} policies"),
            cost,
            "instructions",
            Some(Budget::of("empty LSM program", empty, 2.1)),
        );
        apply(&mut engine, &many(policies, "TracingPolicy", Some(false)));
        let cost = rows.measure(&format!("getpgid, {policies} policies that do not match"), None, getpgid) - call;
        rows.put(
            &format!("no rule matches, {policies} policies"),
            cost,
            "instructions",
            Some(Budget::of("empty LSM program", empty, 2.1)),
        );
        rows.programs(policies, &engine);
        rows.memory(&format!("kernel memory, {policies} policies"), &engine, None);
    }
    apply(&mut engine, &many(1, "TracingPolicy", Some(true)));
    let cost = rows.measure("getpgid, match and event", Some(&mut engine), getpgid) - call;
    rows.put("match and event posted", cost, "instructions", Some(Budget::of("empty LSM program", empty, 4.0)));
    apply(&mut engine, &[denying()]);
    let cost = rows.measure("getpgid, refused without event", Some(&mut engine), refused) - call;
    rows.put("deny", cost, "instructions", Some(Budget::of("empty LSM program", empty, 4.0)));
    for values in [1, 50] {
        apply(&mut engine, &[paths(values)]);
        let cost =
            rows.measure(&format!("open and close, {values} path prefixes that do not match"), Some(&mut engine), open)
                - file;
        rows.put(
            &format!("path prefix, {values} values, no match"),
            cost,
            "instructions",
            Some(Budget::of("empty LSM program", empty_open, f64::INFINITY)),
        );
    }
    rows.resident();
    engine.detach_all().unwrap();
}

struct Budget<'a> {
    ratio_to: &'a str,
    value: f64,
    most: f64,
}

impl<'a> Budget<'a> {
    fn of(ratio_to: &'a str, value: f64, most: f64) -> Self {
        Self { ratio_to, value, most }
    }
}

struct Rows;

impl Rows {
    /// Instructions of one operation, the best of three loops.
    fn measure(&mut self, name: &str, mut engine: Option<&mut Engine>, operation: fn()) -> f64 {
        let loops = if name.starts_with("fork") { SPAWNS } else { LOOPS };
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let start = Instant::now();
            for _ in 0..loops {
                operation();
            }
            best = best.min(start.elapsed().as_nanos() as f64 / f64::from(loops));
            if let Some(engine) = engine.as_deref_mut() {
                // Room for the next loop's events.
                engine.poll_events(4096);
            }
        }
        self.put(name, best, "instructions", None);
        best
    }

    fn put(&mut self, name: &str, value: f64, unit: &str, budget: Option<Budget<'_>>) {
        let rounded = |value: f64| (value * 100.0).round() / 100.0;
        let mut row = json!({"name": name, "value": rounded(value), "unit": unit});
        if let Some(Budget { ratio_to, value: base, most }) = budget {
            let ratio = value / base;
            row["ratio_to"] = ratio_to.into();
            row["ratio"] = ((ratio * 1000.0).round() / 1000.0).into();
            if most.is_finite() {
                row["budget"] = most.into();
                row["ok"] = (ratio <= most).into();
            }
        }
        println!("{row}");
    }

    /// Memory that the kernel charges for maps and programs under the pins.
    fn memory(&mut self, name: &str, _engine: &Engine, most: Option<f64>) {
        let bytes = pinned_bytes(Path::new("/sys/fs/bpf/stockade"));
        let mut row = json!({"name": name, "value": bytes, "unit": "bytes"});
        if let Some(most) = most {
            row["budget"] = most.into();
            row["ok"] = (bytes as f64 <= most).into();
        }
        println!("{row}");
    }

    fn programs(&mut self, policies: usize, _engine: &Engine) {
        for (name, info) in programs(Path::new("/sys/fs/bpf/stockade")) {
            let count = info.verified_instructions;
            println!(
                "{}",
                json!({"name": format!("verified instructions, {name}, {policies} policies"), "value": count, "unit": "instructions", "budget": 20_000, "ok": count <= 20_000})
            );
        }
    }

    fn resident(&mut self) {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        println!(
            "{}",
            json!({"name": "resident memory of the engine's process", "value": kilobytes * 1024, "unit": "bytes"})
        );
    }
}

fn pins(root: &Path) -> Vec<(String, OwnedFd)> {
    let mut found = Vec::new();
    for directory in std::fs::read_dir(root).unwrap() {
        let directory = directory.unwrap().path();
        for pin in std::fs::read_dir(&directory).unwrap() {
            let path = pin.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let c_path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
            found.push((name, sys::obj_get(&c_path).unwrap()));
        }
    }
    found
}

fn pinned_bytes(root: &Path) -> u64 {
    use std::os::fd::AsRawFd;
    let mut by_id = BTreeMap::new();
    for (name, fd) in pins(root) {
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
        let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(|text| text.trim().to_owned());
        if let Some(bytes) = field("memlock:").and_then(|text| text.parse::<u64>().ok()) {
            let id = field("map_id:")
                .map(|id| format!("map {id}"))
                .or_else(|| field("prog_id:").map(|id| format!("program {id}")));
            by_id.insert(id.unwrap_or(name), bytes);
        }
    }
    by_id.values().sum()
}

fn programs(root: &Path) -> Vec<(String, sys::ProgInfo)> {
    let pins = pins(root)
        .into_iter()
        .filter(|(name, _)| name.rsplit('/').next().is_some_and(|name| name.starts_with("program")));
    let short = |name: String| {
        let (directory, pin) = name.split_once('/').unwrap();
        let hook = directory.rsplit_once('-').map_or(directory, |(hook, _)| hook);
        if hook == "base" {
            pin.trim_start_matches("program-").to_owned()
        } else {
            hook.trim_start_matches("hook-").to_owned()
        }
    };
    pins.map(|(name, fd)| (short(name), sys::prog_info(fd.as_fd()).unwrap())).collect()
}

fn empty_program(function: &str) -> OwnedFd {
    let btf = KernelBtf::read().unwrap();
    let program = sys::load_probe_program(&ProbeProgram {
        kind: 29,
        attach_type: 27,
        attach_btf_id: btf.function_id(function).unwrap(),
        instructions: &[0xb7, 0x95],
    })
    .unwrap();
    sys::raw_tracepoint_open(program.as_fd(), None).unwrap()
}

/// This process by its number: for 0 the kernel answers without asking the hook.
fn own() -> Option<rustix::process::Pid> {
    static OWN: std::sync::OnceLock<rustix::process::Pid> = std::sync::OnceLock::new();
    Some(*OWN.get_or_init(rustix::process::getpid))
}

fn getpgid() {
    rustix::process::getpgid(own()).unwrap();
}

fn refused() {
    assert!(rustix::process::getpgid(own()).is_err());
}

fn open() {
    std::fs::File::open("/proc/self/../../etc/passwd").map(drop).unwrap();
}

fn fork_exec() {
    assert!(Command::new("/bin/busybox").arg("true").status().unwrap().success());
}

/// Instructions that applying took.
fn apply(engine: &mut Engine, policies: &[ValidatedPolicy]) -> f64 {
    let start = Instant::now();
    let report = engine.apply(policies, &ScopeSnapshot::default());
    let took = start.elapsed().as_nanos() as f64;
    for (id, entry) in &report.policies {
        assert!(
            entry.trouble.is_none() && report.trouble.is_empty(),
            "{id:?}: {:?} {:?}",
            entry.trouble,
            report.trouble
        );
    }
    took
}

fn judged(document: &Value) -> ValidatedPolicy {
    let judgement = stockade_policy::judge(document);
    judgement.policy.unwrap_or_else(|| panic!("{:#?}", judgement.faults))
}

fn document(kind: &str, name: &str, kprobe: &Value) -> ValidatedPolicy {
    let mut document = json!({
        "apiVersion": "cilium.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "generation": 1},
        "spec": {"kprobes": [kprobe]},
    });
    if kind == "TracingPolicyNamespaced" {
        document["metadata"]["namespace"] = "shop".into();
    }
    judged(&document)
}

/// Policies with 50 binaries each; this process is among them only if `matching` says so.
fn many(count: usize, kind: &str, matching: Option<bool>) -> Vec<ValidatedPolicy> {
    let own = std::env::current_exe().unwrap().display().to_string();
    let policy = |number: usize| {
        let mut values: Vec<String> = (0..50).map(|value| format!("/usr/bin/{number}-{value}")).collect();
        if matching == Some(true) {
            values.push(own.clone());
        }
        let kprobe = json!({
            "call": "security_task_getpgid",
            "syscall": false,
            "selectors": [{"matchBinaries": [{"operator": "In", "values": values}]}],
        });
        document(kind, &format!("bench-{number}"), &kprobe)
    };
    (0..count).map(policy).collect()
}

fn denying() -> ValidatedPolicy {
    let own = std::env::current_exe().unwrap().display().to_string();
    let kprobe = json!({
        "call": "security_task_getpgid",
        "syscall": false,
        "selectors": [{
            "matchBinaries": [{"operator": "In", "values": [own]}],
            "matchActions": [{"action": "Override", "argError": -1}, {"action": "NoPost"}],
        }],
    });
    document("TracingPolicy", "bench-deny", &kprobe)
}

fn paths(values: usize) -> ValidatedPolicy {
    let values: Vec<String> = (0..values).map(|value| format!("/srv/secret-{value}/")).collect();
    let kprobe = json!({
        "call": "security_file_open",
        "syscall": false,
        "args": [{"index": 0, "type": "file"}],
        "selectors": [{
            "matchArgs": [{"index": 0, "operator": "Prefix", "values": values}],
            "matchActions": [{"action": "Override", "argError": -1}],
        }],
    });
    document("TracingPolicy", "bench-paths", &kprobe)
}
