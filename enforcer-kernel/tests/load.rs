//! Every program of the object passes this kernel's verifier, far from its limit.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod guest;

use std::collections::HashMap;
use std::os::fd::AsFd;

use guest::*;
use stockade_enforcer_common::dimension::{BINARY_EXACT, Facet, PID_HOST, SCOPE, argument, insert};
use stockade_enforcer_common::name::program;
use stockade_enforcer_common::plan::{ArgPlan, Plan, flag, kind, plan_flag};
use stockade_enforcer_kernel::btf::KernelBtf;
use stockade_enforcer_kernel::object::{Object, Target, globals};
use stockade_enforcer_kernel::{offsets, sys};
use zerocopy::IntoBytes;

/// Every dimension: the largest program that a template can become.
const ALL: [u64; 2] = [u64::MAX; 2];

/// The plans under which templates are loaded: name, LSM hook, plan.
fn plans() -> Vec<(&'static str, &'static str, Plan)> {
    let arg = |index, kind, flags| ArgPlan { kind, index, flags, ..ArgPlan::default() };
    let plan = |parameters, args: &[ArgPlan]| {
        let mut plan = Plan {
            hook: 1,
            flags: plan_flag::CAN_DENY,
            dimensions: ALL,
            result_index: parameters,
            words: 1,
            ..Plan::default()
        };
        plan.args.iter_mut().zip(args).for_each(|(place, arg)| *place = *arg);
        plan
    };
    let small = |dimensions: &[u32], plan: Plan| {
        let mut set = [0; 2];
        dimensions.iter().for_each(|dimension| insert(&mut set, *dimension));
        Plan { dimensions: set, ..plan }
    };
    let limited = |plan: Plan| Plan { flags: plan.flags | plan_flag::LIMITS, ..plan };
    let file = plan(1, &[arg(0, kind::FILE, flag::NULLABLE)]);
    vec![
        ("a path's prefix", "file_open", small(&[SCOPE, argument(0, Facet::Prefix)], file)),
        ("a whole path", "file_open", small(&[SCOPE, argument(0, Facet::Whole)], file)),
        ("a path's prefix, limited", "file_open", limited(small(&[SCOPE, argument(0, Facet::Prefix)], file))),
        ("a path's postfix", "file_open", small(&[SCOPE, argument(0, Facet::Postfix)], file)),
        ("a pid", "file_open", small(&[SCOPE, PID_HOST], plan(1, &[]))),
        ("a binary", "file_open", small(&[SCOPE, BINARY_EXACT], plan(1, &[]))),
        ("no argument", "task_getpgid", plan(1, &[])),
        ("a file", "file_open", plan(1, &[arg(0, kind::FILE, flag::NULLABLE)])),
        ("a file and a number", "file_permission", plan(2, &[arg(0, kind::FILE, 0), arg(1, kind::INT, 0)])),
        ("a path", "path_mkdir", plan(3, &[arg(0, kind::PATH, 0)])),
        ("a program to execute", "bprm_check_security", plan(1, &[arg(0, kind::BINPRM, 0)])),
        (
            "a socket, an address, a number, limited",
            "socket_connect",
            limited(plan(3, &[arg(0, kind::SOCK, flag::SOCKET), arg(1, kind::SOCKADDR, 0), arg(2, kind::INT, 0)])),
        ),
        ("a string", "kernel_module_request", plan(1, &[arg(0, kind::STRING, 0)])),
        ("a dentry, a string", "inode_symlink", plan(3, &[arg(1, kind::DENTRY, 0), arg(2, kind::STRING, 0)])),
        ("a buffer", "kernel_post_load_data", plan(4, &[ArgPlan { size: 1, ..arg(0, kind::BUFFER, 0) }])),
        ("a perf event", "perf_event_alloc", plan(1, &[arg(0, kind::PERF_EVENT, 0)])),
        ("a socket and a packet", "socket_sock_rcv_skb", plan(2, &[arg(0, kind::SOCK, 0), arg(1, kind::PACKET, 0)])),
        (
            "credentials, a user namespace, a number",
            "capable",
            plan(4, &[arg(0, kind::CREDENTIALS, 0), arg(1, kind::USER_NAMESPACE, 0), arg(2, kind::INT, 0)]),
        ),
    ]
}

/// A fifth of what kernels allow, so that a change cannot come near that unnoticed. The budget, 20,000, is a row of the bench.
const LIMIT: u32 = 200_000;

#[test]
fn every_program_passes_the_verifier_far_from_its_limit() {
    if !in_guest() {
        return;
    }
    let object = Object::parse(&object()).unwrap();
    let kernel = offsets::kernel(&KernelBtf::read().unwrap());
    let empty = Plan::default();
    let lsm = |hook: &str| Target::Lsm(hook.into());
    let mut cases: Vec<(String, &str, Target, Plan)> = vec![
        ("task_alloc".into(), program::TASK_ALLOC, lsm("task_alloc"), empty),
        ("task_free".into(), program::TASK_FREE, lsm("task_free"), empty),
        ("creds_for_exec".into(), "bprm_creds_for_exec", lsm("bprm_creds_for_exec"), empty),
        ("committed".into(), program::BPRM_COMMITTED_CREDS, lsm("bprm_committed_creds"), empty),
        ("iterator".into(), program::FIND_PROCESSES, Target::TaskIterator, empty),
    ];
    for (name, hook, plan) in plans() {
        cases.push((format!("lsm/{hook} ({name})"), program::LSM_HOOK, lsm(hook), plan));
    }
    // What is a part of another is not looked at twice.
    for (name, _, plan) in plans().into_iter().filter(|(.., plan)| plan.dimensions == ALL) {
        let plan = Plan { flags: plan.flags & plan_flag::LIMITS, result_index: 0, ..plan };
        cases.push((format!("kprobe ({name})"), program::KPROBE_HOOK, Target::Kprobe, plan));
    }
    for (name, target) in
        [(program::TRACEPOINT_HOOK, Target::Tracepoint), (program::RAW_TRACEPOINT_HOOK, Target::RawTracepoint)]
    {
        cases.push((name.into(), name, target, Plan { dimensions: ALL, ..Plan::default() }));
    }
    let mut failures = Vec::new();
    let only = std::env::var("STOCKADE_LOAD").unwrap_or_default();
    for (name, program, target, plan) in cases.into_iter().filter(|(name, ..)| name.contains(&only)) {
        match object.load(program, &target, &globals(kernel.as_bytes(), Some(plan.as_bytes())), &HashMap::new()) {
            Ok(fd) => {
                let info = sys::prog_info(fd.as_fd()).unwrap();
                println!(
                    "{name}: {} instructions verified, {} bytes",
                    info.verified_instructions, info.translated_bytes
                );
                if info.verified_instructions > LIMIT {
                    failures.push(format!("{name}: {} instructions verified", info.verified_instructions));
                }
            }
            Err(error) => {
                let text = error.to_string();
                let lines: Vec<&str> = text.lines().collect();
                let end = lines.get(lines.len().saturating_sub(14)..).unwrap_or_default();
                failures.push(format!("{name}: {}\n{}", lines.first().unwrap_or(&""), end.join("\n")));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n\n"));
}
