//! A test file: which policies, which events, what is expected.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use stockade_policy::Fault;

use super::expect::{self, Expected};
use super::process::Written;
use super::shape::{Shape, below};
use crate::event::{Event, Given};

/// What a test file says.
#[derive(Debug)]
pub(super) struct TestFile {
    /// As they are written, relative to the file's folder, each with its place.
    pub(super) policies: Vec<(PathBuf, String)>,
    pub(super) tests: Vec<Test>,
}

/// One test: an event, or several one after the other.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) steps: Vec<Step>,
}

/// An event and what is expected.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) path: String,
    pub(super) event: Event,
    /// Seconds, for rate limits.
    pub(super) time: u64,
    pub(super) expected: Vec<Expected>,
}

const FIELDS: [&str; 3] = ["policies", "process", "tests"];
const OF_STEP: [&str; 6] = ["hook", "args", "returns", "process", "time", "expect"];
const OF_TEST: [&str; 8] = ["name", "hook", "args", "returns", "process", "time", "expect", "steps"];

/// Reads a test file that is called `file`.
pub(super) fn read(value: &Value, file: &Path) -> Result<TestFile, Vec<Fault>> {
    let mut shape = Shape::default();
    let found = of_file(&mut shape, value, file);
    match found {
        Some(found) if shape.faults.is_empty() => Ok(found),
        _ => Err(shape.faults),
    }
}

fn of_file(shape: &mut Shape, value: &Value, file: &Path) -> Option<TestFile> {
    let fields = shape.fields(value, "", &FIELDS)?;
    let policies = match fields.get("policies") {
        Some(value) => named(shape, value),
        None => beside(shape, file),
    };
    let process = fields.get("process").map(|value| Written::read(shape, value, "process")).unwrap_or_default();
    let Some(tests) = fields.get("tests") else {
        shape.wrong("", "Required", "there are no tests", "write tests: and a list of events with what is expected");
        return None;
    };
    let tests = shape.list(tests, "tests", "events with what is expected");
    if tests.is_empty() && shape.faults.is_empty() {
        shape.wrong("tests", "Required", "there are no tests", "write a list of events with what is expected");
    }
    let tests = tests.iter().enumerate();
    let tests = tests.filter_map(|(at, value)| of_test(shape, value, &format!("tests[{at}]"), &process)).collect();
    Some(TestFile { policies, tests })
}

fn named(shape: &mut Shape, value: &Value) -> Vec<(PathBuf, String)> {
    let what = "files, or folders, with policies";
    let one = value.is_string();
    let list = match value {
        Value::String(_) => std::slice::from_ref(value),
        _ => shape.list(value, "policies", what),
    };
    let mut found = Vec::new();
    for (at, value) in list.iter().enumerate() {
        let path = if one { "policies".to_owned() } else { format!("policies[{at}]") };
        found.extend(shape.text(value, &path, "the name of a file").map(|name| (PathBuf::from(name), path)));
    }
    if list.is_empty() && shape.faults.is_empty() {
        shape.wrong("policies", "Required", "no policy is named", format!("write a list of {what}"));
    }
    found
}

/// `deny.yaml` for `deny.test.yaml`.
fn beside(shape: &mut Shape, file: &Path) -> Vec<(PathBuf, String)> {
    let stem = file.file_stem().map(Path::new).and_then(Path::file_stem);
    let folder = file.parent().unwrap_or(Path::new(""));
    let candidates = stem.into_iter().flat_map(|stem| {
        ["yaml", "yml", "json"].map(|ending| PathBuf::from(format!("{}.{ending}", stem.to_string_lossy())))
    });
    let candidates: Vec<PathBuf> = candidates.collect();
    if let Some(found) = candidates.iter().find(|name| folder.join(name).is_file()) {
        return vec![(found.clone(), String::new())];
    }
    let name = candidates.first().map_or_else(String::new, |name| name.display().to_string());
    shape.wrong(
        "",
        "Required",
        format!("it names no policy, and there is no {name} beside it"),
        "write policies: [FILE]",
    );
    Vec::new()
}

fn of_test(shape: &mut Shape, value: &Value, path: &str, process: &Written) -> Option<Test> {
    let fields = shape.fields(value, path, &OF_TEST)?;
    let name = match fields.get("name") {
        Some(name) => shape.text(name, &below(path, "name"), "what is tested, in a few words").unwrap_or_default(),
        None => fields
            .get("hook")
            .and_then(Value::as_str)
            .map_or_else(|| path.to_owned(), |hook| format!("{hook} ({path})")),
    };
    let base = Base::default().with(shape, value, path, process);
    let Some(steps) = fields.get("steps") else {
        let step = base.step(shape, path)?;
        return Some(Test { name, path: path.to_owned(), steps: vec![step] });
    };
    let at = below(path, "steps");
    if fields.contains_key("expect") {
        let help = "write what is expected of each step";
        shape.wrong(&below(path, "expect"), "Duplicate", "a test with steps expects nothing by itself", help);
    }
    let mut all = Vec::new();
    for (number, value) in shape.list(steps, &at, "events, one after the other").iter().enumerate() {
        let path = format!("{at}[{number}]");
        if shape.fields(value, &path, &OF_STEP).is_some() {
            let process = base.process.clone();
            all.extend(base.clone().with(shape, value, &path, &process).step(shape, &path));
        }
    }
    if all.windows(2).any(|pair| matches!(pair, [earlier, later] if later.time < earlier.time)) {
        shape.wrong(&at, "ValueInvalid", "time goes backwards", "write the steps in the order of their time");
    }
    Some(Test { name, path: path.to_owned(), steps: all })
}

/// What is said so far: by the test for all of its steps, then by the step.
#[derive(Debug, Clone, Default)]
struct Base {
    hook: Option<String>,
    arguments: BTreeMap<String, Given>,
    returned: Option<Given>,
    process: Written,
    time: u64,
    expected: Option<Vec<Expected>>,
}

impl Base {
    /// With what `value` says, too.
    fn with(mut self, shape: &mut Shape, value: &Value, path: &str, process: &Written) -> Self {
        let at = |name: &str| below(path, name);
        self.process = process.clone();
        if let Some(value) = value.get("hook") {
            self.hook = shape.text(value, &at("hook"), "what is hooked, as the policy names it");
        }
        if let Some(value) = value.get("args") {
            self.arguments.extend(arguments(shape, value, &at("args")));
        }
        if let Some(value) = value.get("returns") {
            self.returned = Some(Given { value: value.clone(), path: at("returns") });
        }
        if let Some(value) = value.get("process") {
            self.process = Written::read(shape, value, &at("process")).over(process.clone());
        }
        if let Some(value) = value.get("time") {
            self.time = shape.number(value, &at("time"), [0, i64::MAX.into()]).unwrap_or(self.time);
        }
        if let Some(value) = value.get("expect") {
            self.expected = Some(expect::read(shape, value, &at("expect")));
        }
        self
    }

    fn step(self, shape: &mut Shape, path: &str) -> Option<Step> {
        let Self { hook, arguments, returned, process, time, expected } = self;
        if hook.is_none() {
            let help = "write hook: and what is hooked, as the policy names it";
            shape.wrong(path, "Required", "it does not say what is called", help);
        }
        if expected.is_none() {
            let help = "write expect: denied, or another verdict";
            shape.wrong(path, "Required", "it does not say what is expected", help);
        }
        let event = Event { hook: hook?, arguments, returned, subject: process.subject() };
        Some(Step { path: path.to_owned(), event, time, expected: expected? })
    }
}

/// A list is the arguments by number; of one that is null nothing is said.
fn arguments(shape: &mut Shape, value: &Value, path: &str) -> BTreeMap<String, Given> {
    let given = |value: &Value, path: String| Given { value: value.clone(), path };
    match value {
        Value::Array(list) => {
            let said = list.iter().enumerate().filter(|(_, value)| !value.is_null());
            said.map(|(at, value)| (at.to_string(), given(value, format!("{path}[{at}]")))).collect()
        }
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), given(value, below(path, name)))).collect()
        }
        _ => {
            let help = "write a list of the arguments from 0 on, or an object by number or label";
            shape.wrong(path, "WrongType", "these are no arguments", help);
            BTreeMap::new()
        }
    }
}
