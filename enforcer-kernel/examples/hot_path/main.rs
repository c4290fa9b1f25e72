//! What enforcement costs, in guest instructions, for `cargo xtask bench hot-path`. Prints one JSON row a line.
//!
//! Runs as root in a guest booted with `-icount shift=0,sleep=off` on one CPU, where a nanosecond of the guest's clock is
//! one instruction. Every figure is taken beside the bare call and an empty program in the same boot.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    missing_docs,
    unreachable_pub,
    reason = "a measurement that fails says where and ends"
)]

mod memory;
mod policies;
mod rows;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use memory::KernelMemory;
use rows::Row;
use stockade_enforcer_kernel::btf::KernelBtf;
use stockade_enforcer_kernel::sys::{self, ProbeProgram};
use stockade_enforcer_kernel::{Engine, Options, ScopeSnapshot};
use stockade_policy::ir::ValidatedPolicy;

/// Operations in a loop: as many as the ring has room for events.
const LOOPS: u32 = 2_000;
/// Loops, of which the best counts.
const TRIES: u32 = 5;
/// Processes of a shell that does nothing else.
const SPAWNS: u32 = 200;
/// Where the engine of this process pins things.
const PINS: &str = "/sys/fs/bpf/stockade";

fn main() {
    let bare = Bare::measure();
    let before = KernelMemory::now();
    let mut engine = start();
    Row::print(Row::new("kernel memory: base", before.until_now().total, "bytes").at_most(4.0 * 1024.0 * 1024.0));
    bare.tracking(&mut engine);
    number_of_policies(&mut engine, &bare);
    what_fires(&mut engine, &bare);
    paths(&mut engine, &bare);
    every_dimension(&mut engine);
    engine.detach_all().unwrap();
    resident();
}

/// What operations cost without us.
struct Bare {
    call: f64,
    open: f64,
    spawn: f64,
}

impl Bare {
    fn measure() -> Self {
        let call = instructions(getpgid);
        Row::print(Row::new("getpgid: bare call", call, "instructions"));
        let with_empty = {
            let _link = empty_program("bpf_lsm_task_getpgid");
            instructions(getpgid)
        };
        Row::print(Row::new("getpgid: empty LSM program", with_empty - call, "instructions"));
        let open = instructions(open);
        Row::print(Row::new("open and close: bare call", open, "instructions"));
        let spawn = spawning();
        Row::print(Row::new("fork, exec, exit: bare", spawn, "instructions"));
        Self { call, open, spawn }
    }

    fn tracking(&self, engine: &mut Engine) {
        let spawn = spawning();
        let events = drain(engine);
        assert!(events >= 2 * SPAWNS as usize, "{events} events of {SPAWNS} processes");
        let cost = Row::new("fork, exec, exit: process tracking", spawn - self.spawn, "instructions");
        Row::print(cost.of("fork, exec, exit: bare", 0.01));
    }

    /// What a policy adds to the call.
    fn put(&self, name: &str, measured: f64) -> Row {
        Row::new(name, measured - self.call, "instructions")
    }
}

fn start() -> Engine {
    let object = std::fs::read(std::env::var_os("STOCKADE_EBPF_OBJECT").expect("STOCKADE_EBPF_OBJECT")).unwrap();
    let options = Options { state_dir: "/tmp/stockade-bench".into(), ..Options::new(object) };
    let mut engine = Engine::start(options).unwrap_or_else(|error| panic!("{error}"));
    drain(&mut engine);
    engine
}

fn number_of_policies(engine: &mut Engine, bare: &Bare) {
    const ONE: &str = "no rule matches: 1 policy";
    let mut memory = Vec::new();
    for count in [1, 100, 1_000] {
        apply(engine, &policies::elsewhere(count));
        let out_of_scope = bare.put(&format!("out of scope: {}", policies(count)), instructions(getpgid));
        Row::print(out_of_scope.of("getpgid: empty LSM program", 2.1));
        let took = apply(engine, &policies::listing_binaries(count, false));
        let name = format!("no rule matches: {}", policies(count));
        let row = bare.put(&name, instructions(getpgid));
        Row::print(if name == ONE { row.of("getpgid: empty LSM program", 2.1) } else { row.of(ONE, 1.05) });
        memory.push((count, KernelMemory::now()));
        rows::programs(&format!("{} listing binaries", policies(count)), Path::new(PINS), count == 1);
        Row::print(Row::new(&format!("applying {}", policies(count)), took, "instructions"));
    }
    let [(few, less), .., (many, more)] = memory.as_slice() else { return };
    let grown = less.until(more);
    let each = |bytes: f64| (bytes / (many - few) as f64).max(0.0);
    Row::print(
        Row::new("kernel memory: each further policy with 50 values", each(grown.total), "bytes").at_most(8_192.0),
    );
    Row::print(Row::new("per-CPU memory: each further policy", each(grown.per_cpu), "bytes").at_most(0.0));
}

fn policies(count: usize) -> String {
    if count == 1 { "1 policy".into() } else { format!("{count} policies") }
}

fn what_fires(engine: &mut Engine, bare: &Bare) {
    apply(engine, &policies::listing_binaries(1, true));
    let cost = draining(engine, getpgid);
    Row::print(bare.put("match and event posted", cost).of("getpgid: empty LSM program", 4.0));
    apply(engine, &[policies::denying(false)]);
    let cost = instructions(refused);
    Row::print(bare.put("deny", cost).of("getpgid: empty LSM program", 4.0));
    apply(engine, &[policies::denying(true)]);
    let cost = draining(engine, refused);
    Row::print(bare.put("deny and event posted", cost).of("getpgid: empty LSM program", 5.0).without_budget());
}

fn paths(engine: &mut Engine, bare: &Bare) {
    for values in [1, 50] {
        apply(engine, &[policies::path_prefixes(values)]);
        let cost = instructions(open) - bare.open;
        let name = format!("open: {values} path {} no match", if values == 1 { "prefix," } else { "prefixes," });
        Row::print(Row::new(&name, cost, "instructions").of("getpgid: empty LSM program", 1.0).without_budget());
    }
    rows::programs("a path's prefix", Path::new(PINS), false);
}

/// The largest programs: policies that use all there is.
fn every_dimension(engine: &mut Engine) {
    apply(engine, &policies::everything());
    rows::programs("policies that use every filter", Path::new(PINS), false);
}

/// Instructions of one operation.
fn instructions(operation: fn()) -> f64 {
    best_of(|| {}, operation)
}

/// Instructions of one operation that posts an event, none of which is lost.
fn draining(engine: &mut Engine, operation: fn()) -> f64 {
    drain(engine);
    let mut events = 0;
    let best = best_of(|| events += drain(engine), operation);
    assert_eq!(events, (TRIES * LOOPS) as usize, "events of {TRIES} times {LOOPS} operations");
    best
}

fn best_of(mut between: impl FnMut(), operation: fn()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..TRIES {
        let start = Instant::now();
        for _ in 0..LOOPS {
            operation();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(LOOPS));
        between();
    }
    best
}

/// Takes all events that are there.
fn drain(engine: &mut Engine) -> usize {
    let mut events = 0;
    loop {
        let taken = engine.poll_events(1024);
        if taken.is_empty() {
            return events;
        }
        events += taken.len();
        taken.into_iter().for_each(|event| drop(event.unwrap()));
    }
}

/// Instructions of a fork, an exec of a static program and its exit: those of a small shell, which grows no larger with us.
fn spawning() -> f64 {
    let shell = |times: u32| {
        let script =
            format!("i=0; while [ $i -lt {SPAWNS} ]; do i=$((i+1)); [ $i -le {times} ] && /bin/busybox true; done");
        let start = Instant::now();
        Command::new("/bin/busybox").args(["sh", "-c", &script]).status().unwrap();
        start.elapsed().as_nanos() as f64
    };
    let best = |times| (0..TRIES).map(|_| shell(times)).fold(f64::INFINITY, f64::min);
    (best(SPAWNS) - best(0)) / f64::from(SPAWNS)
}

/// Resident memory of the agent itself, alone on its node.
fn resident() {
    let agent = Path::new("/stockade-enforcer");
    if !agent.is_file() {
        return;
    }
    for count in [1, 1_000] {
        let resident = memory::of_agent(agent, &policies::documents(count));
        Row::print(Row::new(&format!("agent: resident memory, {}", policies(count)), resident, "bytes"));
    }
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

/// Instructions that applying took. Afterwards the kernel has had time to free what was in force before.
fn apply(engine: &mut Engine, policies: &[ValidatedPolicy]) -> f64 {
    let start = Instant::now();
    let report = engine.apply(policies, &ScopeSnapshot::default());
    let took = start.elapsed().as_nanos() as f64;
    for (id, entry) in &report.policies {
        let trouble = (&entry.trouble, &report.trouble);
        assert!(entry.trouble.is_none() && report.trouble.is_empty(), "{id:?}: {trouble:?}");
    }
    std::thread::sleep(Duration::from_millis(200));
    took
}
