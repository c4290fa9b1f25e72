//! Typed events → lines of JSON.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade_enforcer_common::event::{EXEC_ARGS_CUT, EXEC_FOUND, ExitEvent};
use stockade_enforcer_common::head::{CLASS_HOST, CLASS_UNKNOWN_POD};
use stockade_enforcer_common::process::ProcessId;
use stockade_enforcer_kernel::event::{Event, Exec, Fired, Hook, Verdict};
use stockade_enforcer_kernel::legend::{Family, Rule};

use super::arguments;
use super::clock::Clock;
use super::directory::{Directory, Identity, insert};
use super::processes::{Describe, Image, Processes, join_arguments};
use super::procfs;
use crate::args::EventKinds;

/// Turns what the kernel reports into what people read.
pub struct Exporter {
    node: String,
    kinds: EventKinds,
    clock: Clock,
    processes: Processes,
    /// Images in exported events whose pod was not known yet, and what of it: process and when.
    nameless: BTreeMap<ProcessId, (ProcessId, Instant)>,
    seen: Seen,
    /// Cgroups to pods.
    pub directory: Directory,
}

/// What the exporter has come across.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Executions in a pod not known yet.
    pub unknown_pod_execs: u64,
    /// Rules that fired and whose meaning is lost.
    pub unexplained: u64,
}

/// So many images wait for the name of their pod, and so long.
const NAMELESS: usize = 1024;
/// See [`NAMELESS`].
const WAIT_FOR_NAME: Duration = Duration::from_secs(60);

impl Exporter {
    /// An exporter that knows no process yet.
    #[must_use]
    pub fn new(node: String, kinds: EventKinds, directory: Directory) -> Self {
        Self {
            node,
            kinds,
            clock: Clock::now(),
            processes: Processes::default(),
            nameless: BTreeMap::new(),
            seen: Seen::default(),
            directory,
        }
    }

    /// Reads the clocks again, because the time of day can be set, and forgets processes that are gone.
    pub fn refresh(&mut self) {
        self.clock = Clock::now();
        self.processes.prune(|pid| Path::new("/proc").join(pid.to_string()).exists());
    }

    /// What was come across since the start.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// Completes events that went out before their pod had a name: an event of a kind of its own, so that nobody who counts
    /// upstream's kinds counts anything twice.
    pub fn follow_ups(&mut self) -> Vec<Json> {
        let now = Instant::now();
        let Self { nameless, processes, directory, .. } = self;
        let mut named = Vec::new();
        nameless.retain(|image, (process, since)| {
            let is_named = matches!(processes.identity(*image, directory), Some(Identity::Pod(_)));
            if is_named {
                named.push((*process, *image));
            }
            !is_named && now.duration_since(*since) < WAIT_FOR_NAME
        });
        let describe = self.describe();
        let line = |(process, image)| {
            let body = json!({"process": self.processes.describe(process, image, &describe)});
            json!({"process_identity": body, "node_name": self.node, "time": self.clock.time_of_day()})
        };
        named.into_iter().map(line).collect()
    }

    /// Remembers that an event of `image` goes out; when its pod has no name yet, a follow-up is due.
    fn exported(&mut self, process: ProcessId, image: ProcessId) {
        let unknown = matches!(self.processes.identity(image, &self.directory), Some(Identity::Unknown(_)));
        if unknown && self.directory.names_pods() && self.nameless.len() < NAMELESS {
            self.nameless.entry(image).or_insert((process, Instant::now()));
        }
    }

    /// The lines that `event` makes: none, one, or one for each policy that it concerns.
    pub fn lines(&mut self, event: Event) -> Vec<Json> {
        let all = self.kinds == EventKinds::All;
        match event {
            Event::Exec(exec) => {
                let found = exec.record.header.flags & EXEC_FOUND != 0;
                let process = exec.record.process;
                if !found && exec.record.class == CLASS_UNKNOWN_POD {
                    self.seen.unknown_pod_execs += 1;
                }
                let line = self.exec(&exec);
                if all && !found {
                    self.exported(process, process);
                    vec![line]
                } else {
                    Vec::new()
                }
            }
            Event::Exit(exit) => {
                // That it was the host's nobody says.
                let cgroup = if self.directory.knows(exit.cgroup) { exit.cgroup } else { 0 };
                self.processes.learn(exit.process, exit.image, cgroup, cgroup);
                let line = self.exit(&exit);
                if all { vec![line] } else { Vec::new() }
            }
            Event::Hook(hook) => {
                let record = &hook.record;
                let scope = if record.class == CLASS_HOST { 0 } else { record.cgroup };
                self.processes.learn(record.process, record.image, record.cgroup, scope);
                self.processes.learn(record.parent, record.parent_image, 0, 0);
                if hook.unexplained > 0 {
                    self.seen.unexplained += hook.unexplained as u64;
                    tracing::error!(
                        hook = record.hook,
                        generation = record.generation,
                        "rules fired whose meaning is lost"
                    );
                }
                let lines = self.hook(&hook);
                if !lines.is_empty() {
                    self.exported(record.process, record.image);
                }
                lines
            }
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
        let mut image = Image {
            exec: record,
            binary: String::from_utf8_lossy(&exec.path).into_owned(),
            arguments: join_arguments(&raw, cut),
            from_proc: false,
        };
        // The iterator over older processes has no arguments.
        if record.header.flags & EXEC_FOUND != 0
            && let Some(found) = procfs::look_up(Path::new("/proc"), record.process)
        {
            (image.arguments, image.from_proc) = (found.arguments, true);
        }
        self.processes.exec(image);
        self.processes.learn(record.parent, record.parent_image, 0, 0);
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
            if let Some(returned) = &rule.returned {
                insert(&mut body, "return", arguments::argument(returned, &hook.args));
            }
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
        Family::Uprobe => {
            let (path, place) = rule.function.rsplit_once(':').unwrap_or((&rule.function, ""));
            insert(body, "path", json!(path));
            insert(body, "symbol", json!(place));
            "process_uprobe"
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

#[cfg(test)]
mod tests {
    use stockade_enforcer_common::event::{EventHeader, ExecEvent, HOOK_DENIED, HookEvent};

    use super::*;
    use crate::cgroups::{CgroupTree, PodCgroup};
    use crate::pods::PodInfo;

    fn exporter() -> Exporter {
        Exporter::new("n1".into(), EventKinds::All, Directory::new(true))
    }

    fn id(start_ns: u64, tgid: u32) -> ProcessId {
        ProcessId { start_ns, tgid, reserved: 0 }
    }

    fn exec(process: ProcessId, cgroup: u64, class: u32) -> Event {
        let record = ExecEvent { process, cgroup, scope_cgroup: 5, class, argc: 2, ..ExecEvent::default() };
        Event::Exec(Exec { record, path: b"/bin/sh".to_vec(), args: vec![b"sh".to_vec(), b"-c".to_vec()] })
    }

    fn rule() -> Rule {
        Rule {
            namespaced: true,
            namespace: "shop".into(),
            policy: "p".into(),
            uid: String::new(),
            generation: 1,
            family: Family::Lsm,
            function: "file_open".into(),
            hook_index: 0,
            selector: 1,
            message: "no".into(),
            tags: vec!["t".into()],
            monitor: false,
            deny: Some(1),
            signal: Some(9),
            post: true,
            args: Vec::new(),
            returned: None,
        }
    }

    fn hook(process: ProcessId, class: u32) -> Hook {
        Hook {
            record: HookEvent {
                header: EventHeader { flags: HOOK_DENIED, ..EventHeader::default() },
                process,
                image: process,
                cgroup: 11,
                tid: 8,
                class,
                errno: 1,
                ..HookEvent::default()
            },
            attach: "lsm/file_open".into(),
            fired: vec![Fired { rule: rule(), verdict: Verdict::Denied }],
            faulted: Vec::new(),
            args: Vec::new(),
            unexplained: 0,
        }
    }

    #[test]
    fn an_event_before_its_pods_name_is_completed_once_by_a_follow_up() {
        let mut exporter = exporter();
        let lines = exporter.lines(exec(id(5, u32::MAX), 11, CLASS_UNKNOWN_POD));
        let process = &lines[0]["process_exec"]["process"];
        assert_eq!((&process["identity"], &process["arguments"]), (&json!("unknown"), &json!("-c")));
        assert!(process["identity_reason"].is_string());
        assert_eq!(exporter.seen().unknown_pod_execs, 1);
        assert!(exporter.follow_ups().is_empty());
        let mut tree = CgroupTree::default();
        tree.pods.insert(11, PodCgroup { id: 11, pod_uid: "u1".into(), container_id: Some("c".into()) });
        exporter.directory.set_cgroups(&tree);
        let pod = PodInfo { uid: "u1".into(), namespace: "shop".into(), name: "web".into(), ..PodInfo::default() };
        exporter.directory.set_pods(&BTreeMap::from([("u1".into(), pod)]));
        let lines = exporter.follow_ups();
        let named = &lines[0]["process_identity"]["process"];
        assert_eq!((&named["pod"]["namespace"], &named["exec_id"]), (&json!("shop"), &process["exec_id"]));
        assert!(exporter.follow_ups().is_empty(), "once is enough");
    }

    #[test]
    fn a_denial_has_upstreams_fields_and_ours() {
        let mut exporter = exporter();
        exporter.lines(exec(id(5, 7), 11, 2));
        let lines = exporter.lines(Event::Hook(hook(id(5, 7), 2)));
        let body = &lines[0]["process_lsm"];
        for (field, value) in [
            ("function_name", json!("file_open")),
            ("action", json!("KPROBE_ACTION_SIGKILL")),
            ("policy_name", json!("p")),
            ("policy_namespace", json!("shop")),
            ("hook_index", json!(0)),
            ("selector", json!(1)),
            ("verdict", json!("denied")),
            ("strength", json!("Deny")),
            ("message", json!("no")),
            ("tags", json!(["t"])),
        ] {
            assert_eq!(body[field], value, "{field}");
        }
        assert_eq!((&body["process"]["tid"], &lines[0]["node_name"]), (&json!(8), &json!("n1")));
        assert!(body["parent"].is_object() && lines[0]["time"].is_string());
    }

    #[test]
    fn a_process_older_than_the_agent_is_the_hosts_only_when_the_kernel_says_so() {
        let this = id(u64::MAX, std::process::id());
        for (class, identity) in [(CLASS_HOST, "host"), (2, "unknown")] {
            let mut exporter = exporter();
            let lines = exporter.lines(Event::Hook(hook(this, class)));
            let process = &lines[0]["process_lsm"]["process"];
            assert_eq!(process["identity"], identity);
            assert_eq!(process["flags"], "execve procFS");
        }
    }

    #[test]
    fn rules_whose_meaning_is_lost_are_counted() {
        let mut exporter = exporter();
        let lost = Hook { fired: Vec::new(), unexplained: 2, ..hook(id(5, 7), 2) };
        assert!(exporter.lines(Event::Hook(lost)).is_empty());
        assert_eq!(exporter.seen().unexplained, 2);
    }
}
