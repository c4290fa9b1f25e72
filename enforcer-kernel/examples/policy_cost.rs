//! What judging and compiling policies costs, in time of a CPU and in memory: a row of JSON for each figure. `cargo xtask bench
//! policy` runs it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot go on must say so and end"
)]

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use stockade_enforcer_common::plan::{ArgPlan, kind};
use stockade_enforcer_kernel::compile::{Binaries, Context, PlacedHook, compile, marks_of};
use stockade_enforcer_kernel::instance::Attach;
use stockade_enforcer_kernel::place::{Part, Placed};
use stockade_policy::ir::{Class, Hook, Strength, ValidatedPolicy};
use stockade_policy::judge;

/// How often what is short is measured; the shortest time counts.
const ROUNDS: usize = 5;
/// How often it is done in a row: the kernel tells the time of a thread in its ticks.
const REPEATED: u32 = 10_000;
/// The promise for any document that an API server would store.
const MOST_MEMORY: f64 = 67_108_864.0;
const MOST_MILLISECONDS: f64 = 1000.0;

fn main() {
    // What memory something takes can only be told of a process that has done nothing else.
    match std::env::args().nth(1).as_deref() {
        None => {
            small();
            for part in ["judge"].iter().chain(&LARGEST).chain(&["refuse"]) {
                let status = Command::new(std::env::current_exe().unwrap()).arg(part).status().unwrap();
                assert!(status.success(), "{part}: {status}");
            }
        }
        Some("judge") => judge_largest(),
        Some("refuse") => refuse(),
        Some(kind) => compile_largest(kind),
    }
}

fn small() {
    let typical = typical("typical");
    row("judging a typical policy", micros(shortest(|| drop(black_box(judge(&typical))))), "µs", None);
    let policy = judge(&typical).policy.expect("the typical policy is valid");
    let one = [policy];
    row("compiling a typical policy", micros(shortest(|| black_box(compiled(&one)))), "µs", None);

    let texts: Vec<String> = (0..1000).map(|n| self::typical(&format!("p{n}")).to_string()).collect();
    let mut policies = Vec::new();
    let took = time(|| {
        let read = |text: &String| judge(&serde_json::from_str(text).unwrap()).policy.unwrap();
        policies = texts.iter().map(read).collect();
    });
    row("reading and judging 1000 policies", millis(took), "ms", Some(MOST_MILLISECONDS));
    row("compiling 1000 policies of one hook", millis(time(|| black_box(compiled(&policies)))), "ms", None);
}

fn judge_largest() {
    let text = largest("prefixes").to_string();
    assert!(text.len() < 1 << 20 && text.len() > 1_040_000, "{} bytes", text.len());
    let (took, memory) = with_memory(|| black_box(judge(&serde_json::from_str(&text).unwrap()).policy.unwrap()));
    row("reading and judging the largest document", millis(took), "ms", Some(MOST_MILLISECONDS));
    row("reading and judging the largest document: memory", memory, "bytes", Some(MOST_MEMORY));
}

fn compile_largest(kind: &str) {
    let judged = judge(&largest(kind));
    let policies = [judged.policy.unwrap_or_else(|| panic!("{kind}: {:?}", judged.faults))];
    let (took, memory) = with_memory(|| black_box(compiled(&policies)));
    row(&format!("compiling a document full of {kind}"), millis(took), "ms", Some(MOST_MILLISECONDS));
    row(&format!("compiling a document full of {kind}: memory"), memory, "bytes", Some(MOST_MEMORY));
}

fn refuse() {
    let text = object("n", &json!({"kprobes": vec![json!({}); 340_000]})).to_string();
    let (took, memory) = with_memory(|| drop(black_box(judge(&serde_json::from_str(&text).unwrap()))));
    row("refusing 340000 empty hooks", millis(took), "ms", Some(MOST_MILLISECONDS));
    row("refusing 340000 empty hooks: memory", memory, "bytes", Some(MOST_MEMORY));
}

fn object(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": name}, "spec": spec})
}

/// Two hooks, a few filters, an action: what people write.
fn typical(name: &str) -> Value {
    let values: Vec<String> = (0..20).map(|n| format!("/etc/{name}/{n}")).collect();
    object(
        name,
        &json!({
            "podSelector": {"matchLabels": {"app": name}},
            "lsmhooks": [{
                "hook": "file_open",
                "args": [{"index": 0, "type": "file"}],
                "selectors": [{
                    "matchArgs": [{"index": 0, "operator": "Prefix", "values": values}],
                    "matchBinaries": [{"operator": "NotIn", "values": ["/usr/bin/vault", "/usr/bin/agent"]}],
                    "matchActions": [{"action": "Override", "argError": -1}],
                }],
            }],
            "kprobes": [{
                "call": "tcp_connect", "syscall": false,
                "args": [{"index": 0, "type": "sock"}],
                "selectors": [{"matchArgs": [
                    {"index": 0, "operator": "NotDAddr", "values": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]},
                    {"index": 0, "operator": "DPort", "values": ["443", "8000:9000"]},
                ]}],
            }],
        }),
    )
}

/// What a document can list so much of that nothing else fits into it, if it is compiled in a way of its own.
const LARGEST: [&str; 6] = ["prefixes", "postfixes", "names", "networks", "numbers", "binaries with their children"];

/// As many values of a kind as fit into a document, or nearly.
fn largest(kind: &str) -> Value {
    let listed = |count: u32, value: &dyn Fn(u32) -> String| (0..count).map(value).collect::<Vec<_>>();
    let texts = || listed(80_200, &|n| format!("/a/{n:07}"));
    let file = |selector: Value| {
        json!({"lsmhooks": [{
            "hook": "file_open", "args": [{"index": 0, "type": "file"}], "selectors": [selector],
        }]})
    };
    let paths = |operator| file(json!({"matchArgs": [{"index": 0, "operator": operator, "values": texts()}]}));
    let call = |ty: &str, operator: &str, values: Vec<String>| {
        json!({"kprobes": [{
            "call": "f", "syscall": false, "args": [{"index": 0, "type": ty}],
            "selectors": [{"matchArgs": [{"index": 0, "operator": operator, "values": values}]}],
        }]})
    };
    let spec = match kind {
        "prefixes" => paths("Prefix"),
        "postfixes" => paths("Postfix"),
        "names" => paths("Equal"),
        // None next to another: they would be one network.
        "networks" => {
            call("sock", "DAddr", listed(70_000, &|n| format!("10.{}.{}.{}", n >> 15, (n >> 7) & 255, (n * 2) & 255)))
        }
        "numbers" => call("int64", "Equal", listed(80_200, &|n| (1_000_000_000 + n * 3).to_string())),
        _ => file(json!({"matchBinaries": [{"operator": "In", "followChildren": true, "values": texts()}]})),
    };
    object("large", &spec)
}

fn placed(hook: &Hook) -> Placed {
    let plan = |(at, arg): (usize, &stockade_policy::ir::Arg)| ArgPlan {
        index: u32::try_from(at).unwrap(),
        kind: match arg.ty.class() {
            Class::Socket { .. } => kind::SOCK,
            Class::Number { .. } => kind::INT64,
            _ => kind::FILE,
        },
        ..ArgPlan::default()
    };
    Placed {
        attach: Attach::Lsm("file_open".into()),
        args: hook.args.iter().enumerate().map(plan).collect(),
        strength: Strength::Deny,
        why_weaker: None,
        parameters: 1,
        part: Part::Whole,
        returned: None,
    }
}

/// How much the first hooks of these policies become, all of them at one place.
fn compiled(policies: &[ValidatedPolicy]) -> usize {
    let key = |policy: &ValidatedPolicy| policy.id.name.clone();
    let context = Context {
        classes: BTreeMap::from([(0, policies.iter().map(key).collect())]),
        binaries: Binaries::of(policies),
        marks: marks_of(policies).into_iter().zip(0..).collect(),
        ..Context::default()
    };
    let hooks: Vec<PlacedHook<'_>> = policies
        .iter()
        .filter_map(|policy| {
            let hook = policy.hooks.last()?;
            Some(PlacedHook { policy, key: key(policy), hook, placed: placed(hook) })
        })
        .collect();
    let (compiled, failures) = compile(&Attach::Lsm("file_open".into()), &hooks, &context);
    assert!(failures.is_empty(), "{failures:?}");
    black_box((context.binaries.tables(), context.binaries.mark_rows(&context.marks)));
    compiled.legend.len()
}

/// How long this thread has run: what else the machine does is no part of it.
fn cpu_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn time<T>(mut what: impl FnMut() -> T) -> Duration {
    let start = cpu_time();
    black_box(what());
    cpu_time() - start
}

fn shortest<T>(mut what: impl FnMut() -> T) -> Duration {
    let mut round = || {
        for _ in 0..REPEATED {
            black_box(what());
        }
    };
    (0..ROUNDS).map(|_| time(&mut round)).min().unwrap_or_default() / REPEATED
}

/// The time, and by how much the resident memory was greater at most than before.
fn with_memory<T>(what: impl FnMut() -> T) -> (Duration, f64) {
    let of = |field: &str| -> f64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
    };
    // The highest so far is forgotten.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = of("VmRSS:");
    let took = time(what);
    (took, of("VmHWM:") - before)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn row(name: &str, value: f64, unit: &str, budget: Option<f64>) {
    println!("{}", json!({"name": name, "value": value, "unit": unit, "budget": budget}));
}
