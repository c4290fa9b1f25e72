//! The lines that an enforcer writes → what happened. One event of the kernel is a line for each policy that it concerned;
//! they are put together again.

use std::collections::BTreeMap;

use serde_json::Value;
use stockade_policy::ir::image_repository;
use stockade_policy::model::{Ancestor, Place, Process};

use crate::event::{Said, Subject};

/// An event of a hook, with what each policy did.
#[derive(Debug)]
pub(super) struct Recorded {
    /// Of its first line, from 1.
    pub(super) line: usize,
    /// As the enforcer names it: a function, or `subsystem/event`.
    pub(super) function: String,
    pub(super) subject: Subject,
    pub(super) by: Vec<By>,
    /// What makes it one event.
    same: Same,
}

/// The moment, the process, the thread, and the function.
type Same = (String, String, Option<u64>, String);

/// What one policy did, and the arguments that it asked for, in its own order.
#[derive(Debug)]
pub(super) struct By {
    pub(super) policy: String,
    pub(super) family: &'static str,
    pub(super) function: String,
    pub(super) hook_index: Option<u64>,
    pub(super) verdict: Option<String>,
    pub(super) selector: Option<usize>,
    pub(super) args: Vec<Value>,
}

/// What a line is.
pub(super) enum Line {
    /// The last event is finished, and another has begun.
    Finished(Box<Recorded>),
    /// It belongs to the event that has begun, or begins the first one.
    More,
    /// It is about something else than a hook.
    Other,
    /// It is no event.
    Nonsense(String),
}

/// Reads lines one after the other.
#[derive(Debug, Default)]
pub(super) struct Stream {
    images: BTreeMap<String, Image>,
    open: Option<Recorded>,
}

#[derive(Debug)]
struct Image {
    pid: Option<u32>,
    binary: Option<String>,
    parent: Option<String>,
}

/// So many parents are followed; more are a loop.
const GENERATIONS: usize = 256;

const KINDS: [(&str, &str); 3] =
    [("process_kprobe", "kprobes"), ("process_lsm", "lsmhooks"), ("process_tracepoint", "tracepoints")];

impl Stream {
    pub(super) fn line(&mut self, number: usize, line: &str) -> Line {
        let event: Value = match serde_json::from_str(line) {
            Ok(Value::Object(event)) => Value::Object(event),
            Ok(_) => return Line::Nonsense("this is no JSON object".into()),
            Err(error) => return Line::Nonsense(error.to_string()),
        };
        if ["level", "fields"].iter().all(|field| event.get(field).is_some()) {
            // The agent's own log, which `kubectl logs` mixes in.
            return Line::Other;
        }
        let Some((kind, body)) = event.as_object().into_iter().flatten().find(|(kind, _)| kind.starts_with("process_"))
        else {
            return Line::Nonsense("this is no event: it has no process_… in it".into());
        };
        self.learn(body);
        let Some((_, family)) = KINDS.iter().find(|(known, _)| known == kind) else { return Line::Other };
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let function = match *family {
            "tracepoints" => format!("{}/{}", text("subsys"), text("event")),
            _ => text("function_name"),
        };
        let process = body.get("process").unwrap_or(&Value::Null);
        let exec_id = process.get("exec_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let time = event.get("time").and_then(Value::as_str).unwrap_or_default().to_owned();
        let same = (time, exec_id, process.get("tid").and_then(Value::as_u64), function.clone());
        let by = by(body, family, &function, &text);
        match &mut self.open {
            Some(open) if open.same == same => {
                open.by.push(by);
                Line::More
            }
            _ => {
                let subject = self.subject(process);
                let begun = Recorded { line: number, function, subject, by: vec![by], same };
                self.open.replace(begun).map_or(Line::More, |finished| Line::Finished(Box::new(finished)))
            }
        }
    }

    /// The event that no line follows.
    pub(super) fn end(self) -> Option<Recorded> {
        self.open
    }

    fn learn(&mut self, body: &Value) {
        for process in [body.get("process"), body.get("parent")].into_iter().flatten() {
            let text = |name: &str| process.get(name).and_then(Value::as_str).map(str::to_owned);
            let Some(exec_id) = text("exec_id") else { continue };
            let known = self.images.remove(&exec_id);
            let known = known.unwrap_or(Image { pid: None, binary: None, parent: None });
            let image = Image {
                pid: pid(process).or(known.pid),
                binary: text("binary").or(known.binary),
                parent: text("parent_exec_id").or(known.parent),
            };
            self.images.insert(exec_id, image);
        }
    }

    fn subject(&self, process: &Value) -> Subject {
        let (mut lineage, mut said) = (Vec::new(), Vec::new());
        let mut next = process.get("exec_id").and_then(Value::as_str);
        while let Some(image) = next.and_then(|id| self.images.get(id)).filter(|_| lineage.len() < GENERATIONS) {
            said.push(Said { pid: image.pid.is_some(), binary: image.binary.is_some() });
            lineage.push(Ancestor {
                pid: image.pid.unwrap_or(0),
                own_pid: None,
                // It could not be built.
                binary: image.binary.clone().filter(|binary| !binary.is_empty()),
            });
            next = image.parent.as_deref();
        }
        // Nobody is the parent of the first process.
        let has_more_parents = lineage.last().is_none_or(|last| last.pid != 1);
        let place = place(process);
        let place_is_said = place.is_some();
        let process = Process { lineage, place: place.unwrap_or_default(), ..Process::default() };
        Subject { process, said, has_more_parents, place_is_said }
    }
}

fn by(body: &Value, family: &'static str, function: &str, text: &impl Fn(&str) -> String) -> By {
    let (namespace, name) = (text("policy_namespace"), text("policy_name"));
    let number = |name: &str| body.get(name).and_then(Value::as_u64);
    By {
        policy: if namespace.is_empty() { name } else { format!("{namespace}/{name}") },
        family,
        function: function.to_owned(),
        hook_index: number("hook_index"),
        verdict: body.get("verdict").and_then(Value::as_str).map(str::to_owned),
        selector: number("selector").and_then(|at| usize::try_from(at).ok()),
        args: body.get("args").and_then(Value::as_array).cloned().unwrap_or_default(),
    }
}

fn pid(process: &Value) -> Option<u32> {
    process.get("pid").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok())
}

/// `None`: it is not known.
fn place(process: &Value) -> Option<Place> {
    let text = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let Some(pod) = process.get("pod") else {
        return (process.get("identity").and_then(Value::as_str) == Some("host")).then_some(Place::Host);
    };
    let labels = pod.get("pod_labels").and_then(Value::as_object).into_iter().flatten();
    let labels = labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
    let container = text(pod, "/container/name")
        .and_then(|name| Some((name, image_repository(&text(pod, "/container/image/name")?).to_owned())));
    Some(Place::Pod { namespace: text(pod, "/namespace")?, labels, container })
}
