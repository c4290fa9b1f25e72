//! Typed events → lines of JSON.

use serde_json::{Value as Json, json};
use stockade_enforcer_common::event::{EXEC_ARGS_CUT, EXEC_FOUND, ExitEvent};
use stockade_enforcer_kernel::event::{Event, Exec, Fired, Hook, Verdict};
use stockade_enforcer_kernel::legend::{Family, Rule};

use super::arguments;
use super::clock::Clock;
use super::directory::{Directory, insert};
use super::processes::{Describe, Image, Processes, join_arguments};
use crate::args::EventKinds;

/// Turns what the kernel reports into what people read.
pub struct Exporter {
    node: String,
    kinds: EventKinds,
    clock: Clock,
    processes: Processes,
    /// Cgroups to pods.
    pub directory: Directory,
}

impl Exporter {
    /// An exporter that knows no process yet.
    #[must_use]
    pub fn new(node: String, kinds: EventKinds, directory: Directory) -> Self {
        Self { node, kinds, clock: Clock::now(), processes: Processes::default(), directory }
    }

    /// Reads the clocks again: the time of day can be set.
    pub fn set_clock(&mut self) {
        self.clock = Clock::now();
    }

    /// The lines that `event` makes: none, one, or one for each policy that it concerns.
    pub fn lines(&mut self, event: Event) -> Vec<Json> {
        let all = self.kinds == EventKinds::All;
        match event {
            Event::Exec(exec) => {
                let found = exec.record.header.flags & EXEC_FOUND != 0;
                let line = self.exec(&exec);
                if all && !found { vec![line] } else { Vec::new() }
            }
            Event::Exit(exit) => {
                let line = self.exit(&exit);
                if all { vec![line] } else { Vec::new() }
            }
            Event::Hook(hook) => self.hook(&hook),
        }
    }

    fn describe(&self) -> Describe<'_> {
        Describe { node: &self.node, clock: self.clock, directory: &self.directory }
    }

    fn stamp(&self, kind: &str, body: &Json, time_ns: u64) -> Json {
        json!({kind: body, "node_name": self.node, "time": self.clock.at(time_ns)})
    }

    fn exec(&mut self, exec: &Exec) -> Json {
        let record = exec.record;
        let raw: Vec<u8> = exec.args.join(&0);
        let cut = record.header.flags & EXEC_ARGS_CUT != 0;
        let image = Image {
            exec: record,
            binary: String::from_utf8_lossy(&exec.path).into_owned(),
            arguments: join_arguments(&raw, cut),
        };
        self.processes.exec(image);
        let describe = self.describe();
        let body = json!({
            "process": self.processes.describe(record.process, record.process, &describe),
            "parent": self.processes.describe(record.parent, record.parent_image, &describe),
        });
        self.stamp("process_exec", &body, record.header.time_ns)
    }

    fn exit(&mut self, exit: &ExitEvent) -> Json {
        let describe = self.describe();
        let mut body = json!({
            "process": self.processes.describe(exit.process, exit.image, &describe),
            "parent": self.processes.describe(exit.parent, exit.parent, &describe),
            "time": self.clock.at(exit.header.time_ns),
        });
        let (signal, status) = (exit.code & 0x7f, exit.code >> 8 & 0xff);
        if signal == 0 {
            insert(&mut body, "status", json!(status));
        } else {
            insert(&mut body, "signal", json!(signal_name(signal)));
        }
        self.processes.end(exit.process);
        self.stamp("process_exit", &body, exit.header.time_ns)
    }

    fn hook(&self, hook: &Hook) -> Vec<Json> {
        let record = &hook.record;
        let describe = self.describe();
        let mut process = self.processes.describe(record.process, record.image, &describe);
        insert(&mut process, "tid", json!(record.tid));
        let parent = self.processes.describe(record.parent, record.parent_image, &describe);
        let line = |rule: &Rule, verdict: Verdict, fault: bool| {
            let mut body = json!({
                "process": process,
                "parent": parent,
                "args": arguments::describe(&rule.args, &hook.args),
                "action": action(rule, verdict),
                "policy_name": rule.policy,
                "policy_namespace": rule.namespace,
                "hook_index": rule.hook_index,
                "selector": rule.selector,
                "verdict": if fault { "fault" } else { verdict_name(verdict) },
                "strength": strength(hook, verdict),
                "message": rule.message,
                "tags": rule.tags,
            });
            let kind = name_function(&mut body, rule);
            self.stamp(kind, &body, record.header.time_ns)
        };
        let fired = hook.fired.iter().filter(|fired| posts(fired)).map(|fired| line(&fired.rule, fired.verdict, false));
        let faulted = hook.faulted.iter().map(|rule| {
            let verdict = if record.errno != 0 { Verdict::Denied } else { Verdict::Observed };
            line(rule, verdict, true)
        });
        fired.chain(faulted).collect()
    }
}

fn posts(fired: &Fired) -> bool {
    fired.rule.post
}

/// Names what was hooked as upstream does; returns the kind of the event.
fn name_function(body: &mut Json, rule: &Rule) -> &'static str {
    match rule.family {
        Family::Kprobe => {
            insert(body, "function_name", json!(rule.function));
            "process_kprobe"
        }
        Family::Lsm => {
            insert(body, "function_name", json!(rule.function));
            "process_lsm"
        }
        Family::Tracepoint => {
            let (subsystem, event) = rule.function.split_once('/').unwrap_or(("", &rule.function));
            insert(body, "subsys", json!(subsystem));
            insert(body, "event", json!(event));
            "process_tracepoint"
        }
    }
}

fn action(rule: &Rule, verdict: Verdict) -> &'static str {
    match (verdict, rule.signal) {
        (Verdict::Denied | Verdict::Signalled, Some(9)) => "KPROBE_ACTION_SIGKILL",
        (Verdict::Denied | Verdict::Signalled, Some(_)) => "KPROBE_ACTION_SIGNAL",
        (Verdict::Denied, None) => "KPROBE_ACTION_OVERRIDE",
        _ => "KPROBE_ACTION_POST",
    }
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Observed => "observed",
        Verdict::Denied => "denied",
        Verdict::Signalled => "signalled",
        Verdict::WouldDeny => "would_deny",
    }
}

/// How certainly this hook, as it is attached on this node, prevents what it forbids.
fn strength(hook: &Hook, verdict: Verdict) -> &'static str {
    match verdict {
        _ if hook.attach.starts_with("lsm/") => "Deny",
        Verdict::Observed => "Observe",
        Verdict::Denied | Verdict::Signalled | Verdict::WouldDeny => "Signal",
    }
}

fn signal_name(number: u32) -> String {
    const NAMES: [(u32, &str); 12] = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (3, "SIGQUIT"),
        (4, "SIGILL"),
        (5, "SIGTRAP"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (13, "SIGPIPE"),
        (15, "SIGTERM"),
    ];
    NAMES.iter().find(|(known, _)| *known == number).map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}
