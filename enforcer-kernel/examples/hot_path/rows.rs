//! Rows of the bench: one JSON object a line. Ratios and verdicts are calculated by who reads them.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use serde_json::{Value, json};
use stockade_enforcer_kernel::sys;

/// Most instructions that the verifier may look at.
const VERIFIED: f64 = 20_000.0;

/// A figure.
pub struct Row(Value);

impl Row {
    pub fn new(name: &str, value: f64, unit: &str) -> Self {
        Self(json!({"name": name, "value": value.round(), "unit": unit}))
    }

    /// The value's budget.
    pub fn at_most(mut self, budget: f64) -> Self {
        self.0["budget"] = budget.into();
        self
    }

    /// The budget of its ratio to another row.
    pub fn of(mut self, other: &str, budget: f64) -> Self {
        self.0["ratio_to"] = other.into();
        self.at_most(budget)
    }

    /// Only the ratio, for comparison.
    pub fn without_budget(mut self) -> Self {
        self.0.as_object_mut().unwrap().remove("budget");
        self
    }

    pub fn print(self) {
        println!("{}", self.0);
    }
}

/// What the verifier looked at in each program that is pinned: in the hooks', and in those of process tracking if `base`.
pub fn programs(of: &str, root: &Path, base: bool) {
    for (name, program) in pinned_programs(root) {
        let is_hook = name.starts_with("lsm_");
        let count = f64::from(sys::prog_info(program.as_fd()).unwrap().verified_instructions);
        if is_hook {
            let name = name.replacen("lsm_", "lsm/", 1);
            Row::print(Row::new(&format!("verified: {name}, {of}"), count, "instructions").at_most(VERIFIED));
        } else if base {
            Row::print(Row::new(&format!("verified: {name}"), count, "instructions").at_most(VERIFIED));
        }
    }
}

fn pinned_programs(root: &Path) -> Vec<(String, OwnedFd)> {
    let mut found = Vec::new();
    for directory in std::fs::read_dir(root).unwrap() {
        let directory = directory.unwrap();
        let hook = directory.file_name().into_string().unwrap();
        let hook = hook.strip_prefix("hook-").unwrap_or(&hook);
        let hook = hook.rsplit_once('-').map_or(hook, |(hook, _)| hook).to_owned();
        for pin in std::fs::read_dir(directory.path()).unwrap() {
            let pin = pin.unwrap();
            let file = pin.file_name().into_string().unwrap();
            if let Some(rest) = file.strip_prefix("program") {
                let name = if rest.is_empty() { hook.clone() } else { rest.trim_start_matches('-').to_owned() };
                let path = CString::new(pin.path().to_str().unwrap()).unwrap();
                found.push((name, sys::obj_get(&path).unwrap()));
            }
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found
}
