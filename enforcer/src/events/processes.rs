//! Binaries and arguments of running processes: for people's eyes. Verdicts never ask it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use base64::Engine;
use serde_json::{Value, json};
use stockade_enforcer_common::event::{EXEC_ARGS_CUT, EXEC_FORKED, EXEC_PATH_UNKNOWN, ExecEvent};
use stockade_enforcer_common::process::ProcessId;

use super::clock::Clock;
use super::directory::{Directory, Identity, insert};
use super::procfs;

/// An image of a process: what an exec made of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// The kernel's record.
    pub exec: ExecEvent,
    /// The executable's path; empty when it could not be built.
    pub binary: String,
    /// Its arguments without the first, joined by blanks, those with blanks in quotes.
    pub arguments: String,
    /// Binary or arguments are what `/proc` said later.
    pub from_proc: bool,
}

impl Image {
    /// Upstream's words for how the image was learnt of.
    fn flags(&self, process: ProcessId) -> String {
        let has = |flag: u16| self.exec.header.flags & flag != 0;
        let words = [
            (true, if self.exec.process == process && !has(EXEC_FORKED) { "execve" } else { "clone" }),
            (self.from_proc, "procFS"),
            (has(EXEC_ARGS_CUT), "truncArgs"),
            (has(EXEC_PATH_UNKNOWN), "errorFilename"),
        ];
        words.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect::<Vec<_>>().join(" ")
    }
}

/// Images by their id; those that ended are kept for a while, because events refer to parents.
#[derive(Debug, Default)]
pub struct Processes {
    images: BTreeMap<ProcessId, Image>,
    ended: VecDeque<ProcessId>,
}

/// So many images of ended processes are remembered.
const REMEMBERED: usize = 8192;
/// Beyond so many more it is asked whether they live.
const LIVE: usize = 16_384;

impl Processes {
    /// Takes in an exec.
    pub fn exec(&mut self, image: Image) {
        // The process that made the exec is this one now.
        let previous = image.exec.previous;
        if previous != image.exec.process {
            self.end(previous);
        }
        self.images.insert(image.exec.process, image);
    }

    /// Takes in that a process, or an image of it, has ended.
    pub fn end(&mut self, id: ProcessId) {
        if !self.images.contains_key(&id) {
            return;
        }
        self.ended.push_back(id);
        while self.ended.len() > REMEMBERED {
            if let Some(oldest) = self.ended.pop_front() {
                self.images.remove(&oldest);
            }
        }
    }

    /// Looks up in `/proc` what `image` is, unless it is known: `process` runs it, in `cgroup`, which is registered below
    /// `scope_cgroup`.
    pub fn learn(&mut self, process: ProcessId, image: ProcessId, cgroup: u64, scope_cgroup: u64) {
        if self.images.contains_key(&image) {
            return;
        }
        let proc = Path::new("/proc");
        let Some(found) = procfs::look_up(proc, image).or_else(|| procfs::look_up(proc, process)) else { return };
        let exec = ExecEvent { process: image, cgroup, scope_cgroup, uid: found.uid, ..ExecEvent::default() };
        self.images.insert(image, Image { exec, binary: found.binary, arguments: found.arguments, from_proc: true });
    }

    /// Whose process `image` is; `None` when the image is not known.
    #[must_use]
    pub fn identity(&self, image: ProcessId, directory: &Directory) -> Option<Identity> {
        let image = self.images.get(&image)?;
        Some(directory.identify(image.exec.cgroup, image.exec.scope_cgroup))
    }

    /// Forgets images whose end was not seen because events were lost, when there are many; `lives` says whether a pid is
    /// somebody's.
    pub fn prune(&mut self, lives: impl Fn(u32) -> bool) {
        if self.images.len() <= LIVE + REMEMBERED {
            return;
        }
        let ended = &self.ended;
        let kept: BTreeSet<ProcessId> = ended.iter().copied().collect();
        self.images.retain(|id, _| kept.contains(id) || lives(id.tgid));
        while self.images.len() > 2 * (LIVE + REMEMBERED) {
            self.images.pop_first();
        }
    }

    /// How many images are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// The JSON of a process: `process` runs what `image` executed.
    #[must_use]
    pub fn describe(&self, process: ProcessId, image: ProcessId, describe: &Describe) -> Value {
        let mut described = json!({
            "exec_id": exec_id(describe.node, process),
            "pid": process.tgid,
            "start_time": describe.clock.at(process.start_ns),
        });
        let Some(image) = self.images.get(&image) else {
            insert(&mut described, "identity", json!("unknown"));
            insert(&mut described, "identity_reason", json!("its exec was not seen: events were lost or no agent ran"));
            return described;
        };
        insert(&mut described, "uid", json!(image.exec.uid));
        insert(&mut described, "binary", json!(image.binary));
        insert(&mut described, "arguments", json!(image.arguments));
        insert(&mut described, "flags", json!(image.flags(process)));
        if image.exec.parent != ProcessId::default() {
            insert(&mut described, "parent_exec_id", json!(exec_id(describe.node, image.exec.parent)));
        }
        identify(&mut described, describe.directory.identify(image.exec.cgroup, image.exec.scope_cgroup));
        described
    }
}

/// What descriptions are made with.
pub struct Describe<'a> {
    /// The node's name.
    pub node: &'a str,
    /// Boot time to time of day.
    pub clock: Clock,
    /// Cgroups to pods.
    pub directory: &'a Directory,
}

fn identify(described: &mut Value, identity: Identity) {
    match identity {
        Identity::Host => insert(described, "identity", json!("host")),
        Identity::Pod(pod) => {
            insert(described, "identity", json!("pod"));
            if let Some(id) = pod.pointer("/container/id").and_then(Value::as_str) {
                let short: String = id.rsplit('/').next().unwrap_or_default().chars().take(31).collect();
                insert(described, "docker", json!(short));
            }
            insert(described, "pod", pod);
        }
        Identity::Unknown(why) => {
            insert(described, "identity", json!("unknown"));
            insert(described, "identity_reason", json!(why));
        }
    }
}

/// Unique in a cluster: node, start and pid, in base64 as upstream writes it.
fn exec_id(node: &str, process: ProcessId) -> String {
    let id = format!("{node}:{}:{}", process.start_ns, process.tgid);
    base64::engine::general_purpose::STANDARD.encode(id)
}

/// Arguments as the kernel hands them over (each ended by a zero, the program's name first) as one readable text.
#[must_use]
pub fn join_arguments(raw: &[u8], cut: bool) -> String {
    let raw = raw.strip_suffix(&[0]).unwrap_or(raw);
    let arguments = raw.split(|byte| *byte == 0).skip(1).map(String::from_utf8_lossy);
    let mut joined: Vec<String> =
        arguments.map(|a| if a.contains(' ') { format!("\"{a}\"") } else { a.into() }).collect();
    if cut {
        joined.push("…".into());
    }
    joined.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(start_ns: u64, tgid: u32) -> ProcessId {
        ProcessId { start_ns, tgid, reserved: 0 }
    }

    fn image(process: ProcessId, previous: ProcessId, binary: &str) -> Image {
        let exec = ExecEvent { process, previous, cgroup: 1, ..ExecEvent::default() };
        Image { exec, binary: binary.into(), arguments: String::new(), from_proc: false }
    }

    #[test]
    fn a_forked_child_is_described_by_the_image_it_runs() {
        let mut processes = Processes::default();
        processes.exec(image(id(5, 7), id(1, 7), "/bin/sh"));
        let directory = Directory::default();
        let describe = Describe { node: "n1", clock: Clock::now(), directory: &directory };
        let child = processes.describe(id(9, 8), id(5, 7), &describe);
        assert_eq!((&child["binary"], &child["flags"], &child["pid"]), (&json!("/bin/sh"), &json!("clone"), &json!(8)));
        assert_eq!(child["identity"], "host");
        let unknown = processes.describe(id(9, 9), id(9, 9), &describe);
        assert_eq!(unknown["identity"], "unknown");
        assert!(unknown["identity_reason"].is_string());
    }

    #[test]
    fn what_is_remembered_of_ended_processes_is_bounded() {
        let mut processes = Processes::default();
        for n in 0..(REMEMBERED as u64 + 100) {
            processes.exec(image(id(n, 1), id(n, 1), "/bin/true"));
            processes.end(id(n, 1));
        }
        assert_eq!(processes.len(), REMEMBERED);
    }

    #[test]
    fn images_whose_end_was_lost_do_not_pile_up() {
        let mut processes = Processes::default();
        for n in 0..(LIVE + REMEMBERED + 100) as u64 {
            processes.exec(image(id(n + 1, u32::try_from(n).unwrap() + 1), ProcessId::default(), "/bin/true"));
        }
        processes.prune(|tgid| tgid <= 10);
        assert_eq!(processes.len(), 10);
    }

    #[test]
    fn an_image_whose_exec_was_not_seen_is_looked_up() {
        let mut processes = Processes::default();
        let this = id(u64::MAX, std::process::id());
        processes.learn(this, this, 7, 0);
        let directory = Directory::default();
        let described =
            processes.describe(this, this, &Describe { node: "n1", clock: Clock::now(), directory: &directory });
        assert_eq!(described["flags"], "execve procFS");
        assert_eq!(described["binary"], std::env::current_exe().unwrap().to_string_lossy().into_owned());
        assert!(described.get("parent_exec_id").is_none());
    }

    #[test]
    fn what_is_cut_says_so() {
        let mut processes = Processes::default();
        let mut cut = image(id(5, 7), id(1, 7), "");
        cut.exec.header.flags = EXEC_ARGS_CUT | EXEC_PATH_UNKNOWN;
        processes.exec(cut);
        let directory = Directory::default();
        let describe = Describe { node: "n1", clock: Clock::now(), directory: &directory };
        assert_eq!(processes.describe(id(5, 7), id(5, 7), &describe)["flags"], "execve truncArgs errorFilename");
    }

    #[test]
    fn arguments_are_joined_as_a_person_would_type_them() {
        assert_eq!(join_arguments(b"sh\0-c\0echo hi\0", false), "-c \"echo hi\"");
        assert_eq!(join_arguments(b"sh\0-c\0", true), "-c …");
        assert_eq!(join_arguments(b"sh\0", false), "");
    }
}
