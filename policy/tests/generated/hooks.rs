//! Hooks: where they are, what they read and what they do.

use serde_json::{Map, Value, json};
use stockade_policy::engine::Feature;
use stockade_policy::ir::{ArgType, Class};

use super::documents::{Author, Reach};

/// The strongest that a hook can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Can {
    Report,
    Signal,
    Refuse,
}

/// What selectors need to know of their hook.
pub(super) struct Place {
    pub(super) family: &'static str,
    pub(super) can: Can,
    /// `args`: index and type.
    pub(super) args: Vec<(u32, ArgType)>,
    /// `data`.
    pub(super) data: Vec<ArgType>,
    pub(super) returns: Option<ArgType>,
}

/// What is known of a hook's arguments: `None` is whatever the document says.
type Known = Option<&'static [(u32, &'static [ArgType])]>;

const FILE: Known = Some(&[(0, &[ArgType::File])]);
const CONNECT: Known = Some(&[
    (0, &[ArgType::Sock, ArgType::Socket]),
    (1, &[ArgType::Sockaddr, ArgType::SockaddrUn]),
    (2, &[ArgType::Int, ArgType::Uint32]),
]);
const CLOSE: Known = Some(&[(0, &[ArgType::Sock]), (1, &[ArgType::Int, ArgType::Int64, ArgType::SizeT])]);
const IOCTL: Known =
    Some(&[(0, &[ArgType::File]), (1, &[ArgType::Uint32, ArgType::Int]), (2, &[ArgType::SizeT, ArgType::Int64])]);
const CAPSET: Known = Some(&[
    (0, &[ArgType::CapEffective, ArgType::CapPermitted, ArgType::Cred]),
    (1, &[ArgType::CapEffective, ArgType::CapInheritable]),
    (2, &[ArgType::KernelCapT]),
    (3, &[ArgType::KernelCapT]),
]);
const MOUNT: Known = Some(&[
    (0, &[ArgType::String]),
    (1, &[ArgType::Path]),
    (2, &[ArgType::String]),
    (3, &[ArgType::SizeT, ArgType::Int64]),
]);
const EXEC: Known = Some(&[(0, &[ArgType::LinuxBinprm])]);
const KILL: Known = Some(&[(2, &[ArgType::Int, ArgType::Int8, ArgType::Uint8, ArgType::Capability])]);
const RENAME: Known = Some(&[
    (0, &[ArgType::Path]),
    (1, &[ArgType::Dentry]),
    (2, &[ArgType::Path]),
    (3, &[ArgType::Dentry]),
    (4, &[ArgType::Uint32]),
]);

fn runs(ty: ArgType) -> bool {
    Feature::Type(ty).runs()
}

impl Author {
    pub(super) fn hook(&mut self) -> (&'static str, Value) {
        let (family, mut hook, known, can) = self.place();
        let mut place = Place { family, can, args: Vec::new(), data: Vec::new(), returns: None };
        let probe = ["kprobes", "fentries", "uprobes"].contains(&family);
        // A hook of this engine that returns is at its return alone, where nothing is done about it.
        if probe && self.reach == Reach::Whole && self.dice.one_in(4) {
            let ty = *self.dice.pick(&[ArgType::Int, ArgType::Int, ArgType::SizeT, ArgType::String, ArgType::Sock]);
            hook.insert("return".into(), json!(true));
            hook.insert("returnArg".into(), json!({"index": 0, "type": self.name_of(ty)}));
            if ty == ArgType::Sock && family == "kprobes" {
                hook.insert("returnArgAction".into(), json!(self.dice.pick(&["TrackSock", "UntrackSock"])));
            }
            place.returns = Some(ty);
        }
        let args = self.args(&mut place, known, hook.get("raw").is_some());
        if !args.is_empty() {
            hook.insert("args".into(), json!(args));
        }
        if probe && self.reach == Reach::Whole && self.dice.one_in(5) && place.args.len() < 4 {
            let (datum, ty) = self.datum(family);
            hook.insert("data".into(), json!([datum]));
            place.data.push(ty);
        }
        let selectors = self.selectors(&place);
        if !selectors.is_empty() {
            hook.insert("selectors".into(), json!(selectors));
        }
        self.words(&mut hook, family);
        (family, Value::Object(hook))
    }

    fn place(&mut self) -> (&'static str, Map<String, Value>, Known, Can) {
        use Can::{Refuse, Report, Signal};
        let whole = self.reach == Reach::Whole;
        let tenant = self.namespaced;
        let families = if whole { if tenant { 11 } else { 14 } } else { 9 };
        let (family, hook, known, can): (_, Value, Known, Can) = match self.dice.roll(families) {
            0..4 => {
                let choice = self.dice.roll(if whole && !tenant { 9 } else { 7 });
                let (hook, known, can) = match choice {
                    0 | 1 => (json!({"call": "do_this", "syscall": false}), None, Signal),
                    2 => (json!({"call": "security_file_open", "syscall": false}), FILE, Refuse),
                    3 => (json!({"call": "tcp_close", "syscall": false}), CLOSE, Signal),
                    4 => (json!({"call": "security_socket_connect", "syscall": false}), CONNECT, Refuse),
                    5 => (self.syscall(), None, Refuse),
                    6 => {
                        let functions = self.dice.one_in(2);
                        let list = self.list(if functions { "functions" } else { "calls" });
                        let can = if functions { Signal } else { Refuse };
                        (json!({"call": list, "syscall": !functions}), None, can)
                    }
                    7 => (json!({"call": self.list("every"), "syscall": true}), None, Refuse),
                    _ => (json!({"call": self.list("like"), "syscall": false}), None, Signal),
                };
                ("kprobes", hook, known, can)
            }
            4..7 => {
                let hooks = [
                    ("file_open", FILE),
                    ("socket_connect", CONNECT),
                    ("file_ioctl", IOCTL),
                    ("sb_mount", MOUNT),
                    ("bprm_check_security", EXEC),
                    ("task_kill", KILL),
                    ("capset", CAPSET),
                    ("path_rename", RENAME),
                ];
                let (name, known) = *self.dice.pick(&hooks);
                ("lsmhooks", json!({"hook": name}), known, Refuse)
            }
            7 => ("tracepoints", json!({"subsystem": "raw_syscalls", "event": "sys_enter"}), None, Signal),
            8 => ("tracepoints", json!({"subsystem": "sched", "event": "x", "raw": true}), None, Signal),
            9 => ("fentries", json!({"call": "do_this", "syscall": false}), None, Report),
            10 => ("fentries", self.syscall(), None, Report),
            11 => ("uprobes", self.uprobe(), None, Signal),
            12 => ("uprobes", json!({"path": "/bin/a", "symbols": ["main", "f+0x10"]}), None, Signal),
            _ => ("usdts", json!({"path": "/bin/a", "provider": "p", "name": "n"}), None, Signal),
        };
        let Value::Object(hook) = hook else { unreachable!() };
        (family, hook, known, can)
    }

    /// `syscall: true` is what silence says.
    fn syscall(&mut self) -> Value {
        let call = *self.dice.pick(&["sys_openat", "sys_read"]);
        match self.style.roll(3) {
            0 => json!({"call": call}),
            1 => json!({"call": format!("__x64_{call}"), "syscall": true}),
            _ => json!({"call": call, "syscall": true}),
        }
    }

    fn uprobe(&mut self) -> Value {
        let mut hook = match self.dice.roll(3) {
            0 => json!({"path": "/bin/a", "offsets": [16, 32], "refCtrOffsets": [64, 96]}),
            1 => json!({"path": "/bin/a", "addrs": [4096, 8192]}),
            _ => json!({"path": "/bin/a", "btfPath": "/bin/a.btf", "symbols": ["main"]}),
        };
        if self.dice.one_in(3) {
            hook["binaryDigests"] = json!([format!("sha1:{}", "0a".repeat(20))]);
        }
        hook
    }

    /// What changes no decision: message, tags.
    fn words(&mut self, hook: &mut Map<String, Value>, family: &str) {
        if self.dice.one_in(4) {
            hook.insert("message".into(), json!(self.dice.pick(&["Something happened", "Look here"])));
        }
        if self.dice.one_in(4) {
            hook.insert("tags".into(), json!(["first", "second"]));
        }
        if family == "kprobes" && self.reach == Reach::Whole && self.dice.one_in(6) {
            hook.insert("ignore".into(), json!({"callNotFound": true}));
        }
    }

    fn name_of(&mut self, ty: ArgType) -> &'static str {
        self.style.pick::<&str>(ty.names())
    }

    fn args(&mut self, place: &mut Place, known: Known, raw: bool) -> Vec<Value> {
        let wanted = self.dice.roll(5);
        let mut written = Vec::new();
        for at in 0..wanted {
            let (index, ty) = match known {
                Some(known) => {
                    let Some((index, types)) = known.get(at) else { break };
                    (*index, *self.dice.pick(types))
                }
                None => (at as u32, self.any_type(place.family, raw)),
            };
            if self.reach == Reach::Runs && !runs(ty) {
                continue;
            }
            written.push(self.arg(index, ty, known.is_none(), place));
            place.args.push((index, ty));
        }
        written
    }

    /// A type that something can be asked of, mostly.
    fn any_type(&mut self, family: &str, raw: bool) -> ArgType {
        let field = family == "tracepoints" && !raw;
        loop {
            let ty = *self.dice.pick(ArgType::ALL);
            let possible = match ty {
                ArgType::Auto => field || family == "usdts",
                ArgType::Syscall64 => family == "tracepoints",
                ArgType::DataLoc => family == "tracepoints",
                ArgType::ConstBuf => family != "tracepoints",
                _ => true,
            };
            let opaque = matches!(ty.class(), Class::Opaque | Class::Unstated);
            if possible && (self.reach == Reach::Whole || runs(ty)) && (!opaque || self.dice.one_in(4)) {
                return ty;
            }
        }
    }

    fn arg(&mut self, index: u32, ty: ArgType, open: bool, place: &Place) -> Value {
        let mut arg = json!({"index": index, "type": self.name_of(ty)});
        if self.dice.one_in(6) {
            arg["label"] = json!("what");
        }
        let described = ["tracepoints", "usdts"].contains(&place.family);
        if ty == ArgType::CharBuf && !described {
            arg["sizeArgIndex"] = json!(3);
            if self.dice.one_in(3) {
                arg["maxData"] = json!(true);
            }
        } else if open && !described && self.reach == Reach::Whole && ty != ArgType::Nop && self.dice.one_in(8) {
            arg["resolve"] = json!(self.dice.pick(&["mm.owner.pid", "a.b[3].c"]));
            if self.dice.one_in(2) {
                arg["btfType"] = json!("task_struct");
            }
        } else if place.returns.is_some() && self.dice.one_in(6) {
            arg["returnCopy"] = json!(true);
        }
        arg
    }

    fn datum(&mut self, family: &str) -> (Value, ArgType) {
        let ty = *self.dice.pick(&[ArgType::Int, ArgType::Uint32, ArgType::SizeT, ArgType::String]);
        let mut datum =
            json!({"index": 0, "type": self.name_of(ty), "source": "current_task", "resolve": "cred.uid.val"});
        if family != "fentries" && self.dice.one_in(2) {
            datum["source"] = json!("pt_regs");
            datum["resolve"] = json!(self.dice.pick(&["rax", "8(%rsp)"]));
        }
        (datum, ty)
    }

    /// What a selector does. `last`: there is no later one that it could keep from matching.
    pub(super) fn actions(&mut self, place: &Place, last: bool, on_return: bool) -> Vec<Value> {
        let whole = self.reach == Reach::Whole;
        let mut actions = match self.dice.roll(if whole { 14 } else { 9 }) {
            0..3 => Vec::new(),
            3 => vec![self.post(place)],
            4 if !last => vec![json!({"action": "NoPost"})],
            5 | 6 if place.can >= Can::Signal => vec![json!({"action": "Sigkill"})],
            7 if place.can >= Can::Signal => vec![json!({"action": "Signal", "argSig": self.dice.pick(&[9, 15, 64])})],
            8 if place.can == Can::Refuse && !on_return => {
                vec![json!({"action": "Override", "argError": self.dice.pick(&[-1, -13, -4095])})]
            }
            choice if choice > 8 => self.effects(place, choice),
            _ => Vec::new(),
        };
        let acting = |action: &Value| ["Sigkill", "Signal", "Override"].contains(&action["action"].as_str().unwrap());
        if actions.iter().any(acting) {
            self.acts = true;
            if self.dice.one_in(4) {
                actions.push(json!({"action": "NoPost"}));
            } else if self.style.one_in(3) {
                // It is posted anyway.
                actions.push(json!({"action": "Post"}));
            }
        }
        if let Some(first) = actions.first().cloned().filter(|_| self.style.one_in(4)) {
            actions.push(first);
        }
        self.style.shuffle(&mut actions);
        actions
    }

    fn post(&mut self, place: &Place) -> Value {
        let mut post = json!({"action": "Post"});
        let limits = self.reach == Reach::Whole || Feature::Field("rateLimit").runs();
        if limits && self.dice.one_in(2) {
            let times: &[&str] = match self.dice.roll(3) {
                0 => &["60", "60s", "1m"],
                1 => &["3600", "60m", "1h"],
                _ => &["7", "7s"],
            };
            post["rateLimit"] = json!(self.style.pick(times));
            if self.dice.one_in(2) {
                post["rateLimitScope"] = json!(self.dice.pick(&["process", "global"]));
            } else if self.style.one_in(2) {
                post["rateLimitScope"] = json!("thread");
            }
        }
        if self.reach == Reach::Runs {
            return post;
        }
        if place.family != "usdts" && self.dice.one_in(3) {
            post["kernelStackTrace"] = json!(true);
        }
        if self.dice.one_in(3) {
            post["userStackTrace"] = json!(true);
        }
        post
    }

    fn effects(&mut self, place: &Place, choice: usize) -> Vec<Value> {
        let sock = place.args.iter().find(|(_, ty)| matches!(ty, ArgType::Sock | ArgType::Socket));
        match (choice, place.family) {
            (9, "kprobes" | "tracepoints" | "fentries") if !self.namespaced => {
                vec![json!({"action": "GetUrl", "argUrl": "http://canary.example.org/x"})]
            }
            (10, "kprobes" | "tracepoints" | "fentries") if !self.namespaced => {
                vec![json!({"action": "DnsLookup", "argFqdn": "canary.example.org"})]
            }
            (11, "kprobes" | "fentries" | "lsmhooks") => {
                let action = *self.dice.pick(&["TrackSock", "UntrackSock"]);
                sock.map(|(index, _)| json!({"action": action, "argSock": index})).into_iter().collect()
            }
            (12, "kprobes" | "tracepoints") if !self.namespaced && self.dice.one_in(4) => {
                vec![json!({"action": "CleanupEnforcerNotification"})]
            }
            (12, "kprobes" | "tracepoints") if !self.namespaced => {
                (self.notifies, self.acts) = (true, true);
                vec![json!({"action": "NotifyEnforcer", "argError": -1, "argSig": 9})]
            }
            (13, "usdts") if !place.args.is_empty() => {
                vec![json!({"action": "Set", "argIndex": 0, "argValue": self.dice.roll(3)})]
            }
            (13, "uprobes") => {
                self.acts = true;
                let ways = [
                    json!({"action": "Override", "argRegs": ["rax=11", "rip=8(%rsp)"]}),
                    json!({"action": "Override", "argError": -1}),
                    json!({"action": "Override", "argNewSymbol": "other"}),
                ];
                vec![self.dice.pick(&ways).clone()]
            }
            _ => Vec::new(),
        }
    }
}

/// Whether a filter of that kind is one of this engine.
pub(super) fn may(reach: Reach, filter: &'static str) -> bool {
    reach == Reach::Whole || Feature::Filter(filter).runs()
}
