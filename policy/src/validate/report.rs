//! Where the parts of the validator put what they find.

use std::collections::BTreeSet;

use crate::engine::Feature;
use crate::fault::Fault;
use crate::fault::codes;

/// How many faults are shown before they are only counted.
pub(super) const MAX_FAULTS: usize = 100;

/// The faults and warnings found so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
    /// What is in the language and not carried out by this release.
    unsupported: Vec<Fault>,
    /// The selectors and macros in which something is wrong.
    faulty_selectors: BTreeSet<String>,
}

/// Everything that was found.
pub(super) struct Findings {
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<Fault>,
    /// Nothing is wrong with the document itself, whatever this release carries out.
    pub(super) means_something: bool,
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

    /// The document needs `feature` for what it says at `path`.
    pub(super) fn needs(&mut self, path: impl Into<String>, feature: Feature) {
        self.needs_or(path, feature, "remove it, or wait for a release that does");
    }

    /// The same, where there is something else that could be written.
    pub(super) fn needs_or(&mut self, path: impl Into<String>, feature: Feature, help: impl Into<String>) {
        if !feature.runs() {
            let message = format!("{} is not carried out by this release", feature.describe());
            let help = help.into();
            self.unsupported.push(Fault { path: path.into(), code: codes::UNSUPPORTED, message, help });
        }
    }

    /// Whether anything in the selector or macro at `path` has been refused.
    pub(super) fn is_faulty(&self, path: &str) -> bool {
        self.faulty_selectors.contains(path)
    }

    /// How much has been found wrong with the document so far.
    pub(super) fn count(&self) -> usize {
        self.faults.len()
    }

    /// There are so many faults already that most of them will only be counted.
    pub(super) fn is_flooded(&self) -> bool {
        self.faults.len() > 10 * MAX_FAULTS || self.warnings.len() > MAX_FAULTS
    }

    /// All faults and all warnings, in reading order, each once; what is only not carried out comes last.
    pub(super) fn finish(self) -> Findings {
        self.finish_with(MAX_FAULTS)
    }

    /// The same, with at most `shown` faults told apart.
    pub(super) fn finish_with(self, shown: usize) -> Findings {
        let means_something = self.faults.is_empty();
        let mut faults = in_order(self.faults);
        // That something is not for namespaced policies says more than that it is not carried out.
        let beyond: BTreeSet<&str> = faults
            .iter()
            .filter(|fault| fault.code.ends_with("InNamespaced"))
            .map(|fault| fault.path.as_str())
            .collect();
        let mut unsupported = in_order(self.unsupported);
        unsupported.retain(|fault| !beyond.iter().any(|path| fault.path.starts_with(path)));
        faults.extend(unsupported);
        if faults.len() > shown {
            let more = faults.len() - shown;
            faults.truncate(shown);
            faults.push(Fault {
                path: "spec".into(),
                code: codes::TOO_MANY_FAULTS,
                message: format!("{more} more faults are not shown"),
                help: "correct those that are, and ask again".into(),
            });
        }
        Findings { faults, warnings: in_order(self.warnings), means_something }
    }
}

/// The selector that a path is in (everything up to `selectors[2]`), or the macro.
fn selector_of(path: &str) -> Option<&str> {
    let list = [".selectors[", ".selectorsMacros["].into_iter().find(|list| path.contains(list))?;
    let start = path.find(list)? + list.len();
    // The names of macros may contain brackets; what ends them is followed by a field or nothing.
    let rest = path.get(start..)?;
    let end = rest.find("].").or_else(|| rest.strip_suffix(']').map(str::len))?;
    path.get(..start + end + 1)
}

fn in_order(mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.sort_by(Fault::reading_order);
    faults.dedup();
    faults
}
