//! Where the parts of the validator put what they find.

use std::collections::BTreeSet;

use crate::fault::Fault;
use crate::fault::codes;

/// How many faults are shown before they are only counted.
const MAX_FAULTS: usize = 100;

/// The faults and warnings found so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
    /// The selectors in which something is wrong.
    faulty_selectors: BTreeSet<String>,
}

impl Report {
    pub(super) fn fault(
        &mut self,
        path: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let path = path.into();
        if let Some(selector) = selector_of(&path) {
            self.faulty_selectors.insert(selector.to_owned());
        }
        self.faults.push(Fault { path, code, message: message.into(), help: help.into() });
    }

    pub(super) fn warn(
        &mut self,
        path: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.warnings.push(Fault { path: path.into(), code, message: message.into(), help: help.into() });
    }

    /// Whether anything in the selector at `path` has been refused.
    pub(super) fn is_faulty(&self, path: &str) -> bool {
        self.faulty_selectors.contains(path)
    }

    /// There are so many faults already that most of them will only be counted.
    pub(super) fn is_flooded(&self) -> bool {
        self.faults.len() > 10 * MAX_FAULTS
    }

    /// All faults and all warnings, in reading order, each once.
    pub(super) fn finish(self) -> (Vec<Fault>, Vec<Fault>) {
        let mut faults = in_order(self.faults);
        // That something is not for namespaced policies says more than that it is not built.
        let beyond: BTreeSet<String> = faults
            .iter()
            .filter(|fault| fault.code.ends_with("InNamespaced"))
            .map(|fault| fault.path.clone())
            .collect();
        faults.retain(|fault| fault.code != codes::UNSUPPORTED || !beyond.contains(&fault.path));
        if faults.len() > MAX_FAULTS {
            let more = faults.len() - MAX_FAULTS;
            faults.truncate(MAX_FAULTS);
            faults.push(Fault {
                path: "spec".into(),
                code: codes::TOO_MANY_FAULTS,
                message: format!("{more} more faults are not shown"),
                help: "correct those that are, and ask again".into(),
            });
        }
        (faults, in_order(self.warnings))
    }
}

/// The selector that a path is in: everything up to `selectors[2]`.
fn selector_of(path: &str) -> Option<&str> {
    let (before, after) = path.split_once(".selectors[")?;
    let end = after.find(']')?;
    path.get(..before.len() + ".selectors[".len() + end + 1)
}

fn in_order(mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.sort_by(Fault::reading_order);
    faults.dedup();
    faults
}
