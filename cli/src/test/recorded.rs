//! What policies would have done about events that an enforcer has recorded, and where that differs from what was done.

mod stream;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Value, json};
use stockade_policy::ir::Hook;
use stockade_policy::point::{self, key};

use self::stream::{By, Line, Recorded, Stream};
use crate::Outcome;
use crate::args::TestFormat;
use crate::event::trial::{self, Told};
use crate::event::verdict::Shown;
use crate::event::{Event, Given};
use crate::policies::{Policies, Policy};
use crate::snippet::count;
use crate::source;

/// What the policies would do about one event.
#[derive(Debug, Serialize)]
struct Judged {
    line: usize,
    hook: String,
    binary: Option<String>,
    pid: Option<u32>,
    policies: Vec<Would>,
}

/// What one of a policy's hooks would do.
#[derive(Debug, Serialize)]
struct Would {
    policy: String,
    hook: String,
    /// `None`: the event does not say enough.
    would: Option<Shown>,
    unsaid: Vec<String>,
    recorded: Option<Was>,
    differs: bool,
    why: Vec<Told>,
}

/// What it did.
#[derive(Debug, Serialize)]
struct Was {
    verdict: String,
    selector: Option<usize>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    events: usize,
    /// At hooks that none of the policies has.
    not_hooked: usize,
    differing: usize,
    unsaid: usize,
    other_lines: usize,
    nonsense: usize,
}

/// Judges the events of a file, or of standard input.
pub(super) fn run(events: &Path, files: &[PathBuf], format: TestFormat) -> anyhow::Result<Outcome> {
    anyhow::ensure!(!files.is_empty(), "no policy is named: stockade test --events FILE POLICY…");
    let mut policies = Policies::default();
    for source in source::read_all(files, false) {
        policies.add(&source.map_err(|error| anyhow::anyhow!("{} {}", error.file(), error.reason()))?);
    }
    anyhow::ensure!(policies.troubles.is_empty(), "{}", policies.troubles.join("\n"));
    anyhow::ensure!(!policies.list.is_empty(), "there is no policy in what is named");
    let reader: Box<dyn BufRead> = match events.to_str() {
        Some("-") => Box::new(BufReader::new(io::stdin())),
        _ => Box::new(BufReader::new(File::open(events).with_context(|| format!("reading {}", events.display()))?)),
    };
    let mut out = anstream::stdout().lock();
    let mut printer = Printer { file: events.display().to_string(), format, summary: Summary::default(), list: vec![] };
    let mut stream = Stream::default();
    for (number, line) in (1..).zip(reader.split(b'\n')) {
        let line = line.with_context(|| format!("reading {}", events.display()))?;
        let line = String::from_utf8_lossy(&line);
        if line.trim().is_empty() {
            continue;
        }
        match stream.line(number, &line) {
            Line::Finished(recorded) => printer.event(&recorded, &policies.list, &mut out)?,
            Line::More => {}
            Line::Other => printer.summary.other_lines += 1,
            Line::Nonsense(why) => {
                anstream::eprintln!("error: {}:{number}: {why}", printer.file);
                printer.summary.nonsense += 1;
            }
        }
    }
    if let Some(recorded) = stream.end() {
        printer.event(&recorded, &policies.list, &mut out)?;
    }
    printer.end(&mut out)
}

struct Printer {
    file: String,
    format: TestFormat,
    summary: Summary,
    list: Vec<Judged>,
}

impl Printer {
    fn event(&mut self, recorded: &Recorded, policies: &[Policy], out: &mut impl Write) -> anyhow::Result<()> {
        self.summary.events += 1;
        let judged = judge(recorded, policies);
        if judged.policies.is_empty() {
            self.summary.not_hooked += 1;
            return Ok(());
        }
        self.summary.differing += usize::from(judged.policies.iter().any(|would| would.differs));
        self.summary.unsaid += usize::from(judged.policies.iter().any(|would| would.would.is_none()));
        match self.format {
            TestFormat::Json => self.list.push(judged),
            TestFormat::Text => judged.write(&self.file, out)?,
        }
        Ok(())
    }

    fn end(self, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let Summary { events, not_hooked, differing, unsaid, other_lines, nonsense } = self.summary;
        if self.format == TestFormat::Json {
            let object = json!({"version": 1, "events": self.list, "summary": self.summary});
            writeln!(out, "{object:#}")?;
        } else {
            let mut text = format!("{}: {differing} judged differently", count(events, "event", "events"));
            let lines = |number: usize| count(number, "line", "lines");
            for (number, what) in [
                (unsaid, format!("{unsaid} that do not say enough")),
                (not_hooked, format!("{not_hooked} at hooks that no policy has")),
                (other_lines, format!("{} of other kinds", lines(other_lines))),
                (nonsense, format!("{} that cannot be read", lines(nonsense))),
            ] {
                if number > 0 {
                    text += &format!(", {what}");
                }
            }
            writeln!(out, "{text}")?;
        }
        Ok(match (unsaid + nonsense, differing) {
            (0, 0) => Outcome::Fine,
            (0, _) => Outcome::Refused,
            _ => Outcome::Unknown,
        })
    }
}

impl Judged {
    fn write(&self, file: &str, out: &mut impl Write) -> io::Result<()> {
        let Self { line, hook, binary, pid, policies } = self;
        let who = binary.as_deref().unwrap_or("an unknown program");
        let pid = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
        writeln!(out, "{file}:{line}: {hook} by {who}{pid}")?;
        for Would { policy, hook, would, unsaid, recorded, differs, why } in policies {
            let would = would.as_ref().map_or_else(
                || format!("cannot be said: the event does not have {}", unsaid.join(", ")),
                Shown::sentence,
            );
            writeln!(out, "  {policy}, {hook}: {would}")?;
            if let Some(Was { verdict, selector }) = recorded.as_ref().filter(|_| *differs) {
                let by = selector.map_or_else(String::new, |at| format!(" by selectors[{at}]"));
                writeln!(out, "    recorded: {verdict}{by}")?;
                for told in why {
                    writeln!(out, "    {}", told.what)?;
                    told.because.iter().try_for_each(|line| writeln!(out, "      {line}"))?;
                }
            }
        }
        Ok(())
    }
}

fn judge(recorded: &Recorded, policies: &[Policy]) -> Judged {
    let own = recorded.subject.process.lineage.first();
    let mut judged = Judged {
        line: recorded.line,
        hook: recorded.function.clone(),
        binary: own.and_then(|own| own.binary.clone()),
        pid: own.map(|own| own.pid).filter(|pid| *pid != 0),
        policies: Vec::new(),
    };
    // What the policies that recorded it say about where its arguments are.
    let sources: Vec<(&By, &Hook)> = recorded.by.iter().filter_map(|by| Some((by, hook_of(by, policies)?))).collect();
    let name = sources.first().map_or_else(|| recorded.function.clone(), |(_, hook)| point::name(&hook.point));
    let mut arguments = BTreeMap::new();
    for (by, hook) in &sources {
        for (arg, value) in hook.args.iter().zip(&by.args) {
            arguments.extend(argument(value).map(|value| (key(arg), Given { value, path: String::new() })));
        }
    }
    for value in recorded.by.iter().flat_map(|by| &by.args) {
        let label = value.get("label").and_then(Value::as_str);
        if let (Some(label), Some(value)) = (label, argument(value)) {
            arguments.entry(label.to_owned()).or_insert(Given { value, path: String::new() });
        }
    }
    let event = Event { hook: name, arguments, returned: None, subject: recorded.subject.clone() };
    for policy in policies {
        let hooks = policy.meaning.hooks.iter().filter(|hook| point::is_at(&hook.point, &event.hook));
        judged.policies.extend(hooks.map(|hook| would(recorded, policy, hook, &event)));
    }
    judged
}

fn would(recorded: &Recorded, policy: &Policy, hook: &Hook, event: &Event) -> Would {
    let by = recorded.by.iter().find(|by| by.policy == policy.name() && is_hook(by, hook));
    let was = by.and_then(|by| Some(Was { verdict: by.verdict.clone()?, selector: by.selector }));
    let (would, unsaid, why) = match trial::run(&policy.meaning, hook, event) {
        Ok(trial) => match trial.verdict {
            Ok(verdict) => (Some(Shown::from(verdict)), Vec::new(), trial.why),
            Err(unsaid) => (None, unsaid, trial.why),
        },
        Err(faults) => (None, faults.into_iter().map(|fault| fault.message).collect(), Vec::new()),
    };
    let differs = match (&would, &was) {
        (Some(would), Some(was)) => would.verdict != was.verdict || would.selector != was.selector,
        _ => false,
    };
    let path = format!("spec.{}[{}]", hook.point.family(), hook.index);
    Would { policy: policy.name(), hook: path, would, unsaid, recorded: was, differs, why }
}

/// The hook that wrote a line, if its policy is at hand and reads as many arguments.
fn hook_of<'p>(by: &By, policies: &'p [Policy]) -> Option<&'p Hook> {
    let policy = policies.iter().find(|policy| policy.name() == by.policy)?;
    let hook = policy.meaning.hooks.iter().find(|hook| is_hook(by, hook))?;
    (hook.args.len() == by.args.len()).then_some(hook)
}

/// A list of functions is a hook for each, and all of them have its place in the document.
fn is_hook(by: &By, hook: &Hook) -> bool {
    let is_there = hook.point.family() == by.family && Some(u64::from(hook.index)) == by.hook_index;
    is_there && hook.point.name() == by.function
}

/// An argument as a test would write it; `None`: nothing is known of it.
fn argument(value: &Value) -> Option<Value> {
    if value.get("truncated").is_some() {
        return None;
    }
    let (kind, value) = value.as_object()?.iter().find(|(kind, _)| kind.ends_with("_arg"))?;
    match kind.as_str() {
        "error_arg" => {
            let is_unreadable = value.get("message").and_then(Value::as_str) == Some("could not be read");
            is_unreadable.then(|| json!({"unreadable": true}))
        }
        "file_arg" | "path_arg" | "linux_binprm_arg" => value.get("path").cloned(),
        "capability_arg" => value.get("value").cloned(),
        // Bits in hexadecimal, without a prefix that says so.
        "kernel_cap_t_arg" | "cap_inheritable_arg" | "cap_permitted_arg" | "cap_effective_arg" => {
            Some(json!(format!("0x{}", value.as_str()?)))
        }
        "skb_arg" => {
            let mut fields = value.as_object()?.clone();
            fields.retain(|name, _| !["proto", "len"].contains(&name.as_str()));
            Some(Value::Object(fields))
        }
        _ => Some(value.clone()),
    }
}
