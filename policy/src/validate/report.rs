//! Where the parts of the validator put what they find.

use std::collections::BTreeSet;

use self::first::First;
use crate::engine::Feature;
use crate::fault::Fault;
use crate::fault::codes;
use crate::language::limits::{MAX_FAULTS, MAX_WRITTEN_OUT};

mod first;

/// How many names all suggestions of one document together may be looked for among.
const MAX_COMPARED: usize = 100_000;

/// The faults and warnings found so far.
#[derive(Debug)]
pub(super) struct Report {
    /// How many faults are told apart.
    shown: usize,
    faults: First,
    warnings: First,
    /// What is in the language and not carried out by this release.
    unsupported: First,
    /// What is not for namespaced policies, wherever it would be carried out.
    beyond: BTreeSet<String>,
    /// The selectors and macros in which something is wrong.
    faulty_selectors: BTreeSet<String>,
    /// How many names have been compared with misspelt ones.
    compared: usize,
    /// How many values there are with lists and macros written out.
    written_out: usize,
    /// Parts of the document were not looked at, because it is refused for their number.
    passed_over: bool,
}

/// Everything that was found.
pub(super) struct Findings {
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<Fault>,
    /// How many more there are than are told apart.
    pub(super) more_warnings: usize,
    /// Nothing is wrong with the document itself, whatever this release carries out.
    pub(super) means_something: bool,
}

impl Default for Report {
    fn default() -> Self {
        Self::of(MAX_FAULTS)
    }
}

impl Report {
    /// A report that tells this many faults apart.
    pub(super) fn of(shown: usize) -> Self {
        Self {
            shown,
            faults: First::of(shown),
            warnings: First::of(shown),
            unsupported: First::of(shown),
            beyond: BTreeSet::new(),
            faulty_selectors: BTreeSet::new(),
            compared: 0,
            written_out: 0,
            passed_over: false,
        }
    }

    pub(super) fn fault(
        &mut self,
        path: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let path = path.into();
        if code.ends_with("InNamespaced") {
            self.beyond.insert(path.clone());
        }
        if let Some(selector) = selector_of(&path).filter(|_| !self.is_flooded()) {
            self.faulty_selectors.insert(selector.to_owned());
        }
        self.faults.add(Fault { path, code, message: message.into(), help: help.into() });
    }

    pub(super) fn warn(
        &mut self,
        path: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.warnings.add(Fault { path: path.into(), code, message: message.into(), help: help.into() });
    }

    /// The document needs `feature` for what it says at `path`.
    pub(super) fn needs(&mut self, path: impl Into<String>, feature: Feature) {
        self.needs_or(path, feature, "remove it, or wait for a release that does");
    }

    /// The same, where there is something else that could be written.
    pub(super) fn needs_or(&mut self, path: impl Into<String>, feature: Feature, help: impl Into<String>) {
        let path = path.into();
        // That something is not for namespaced policies says more than that it is not carried out.
        if !feature.runs() && !self.is_beyond(&path) {
            let message = format!("{} is not carried out by this release", feature.describe());
            let help = help.into();
            self.unsupported.add(Fault { path, code: codes::UNSUPPORTED, message, help });
        }
    }

    /// Whether `path`, or what it is in, is refused to namespaced policies.
    fn is_beyond(&self, path: &str) -> bool {
        let ends = path.match_indices(['.', '[']).map(|(end, _)| end).chain([path.len()]);
        !self.beyond.is_empty() && ends.filter_map(|end| path.get(..end)).any(|outer| self.beyond.contains(outer))
    }

    /// Whether anything in the selector or macro at `path` has been refused, as far as is still looked at.
    pub(super) fn is_faulty(&self, path: &str) -> bool {
        self.is_flooded() || self.faulty_selectors.contains(path)
    }

    /// How often something has been found wrong with the document so far.
    pub(super) fn count(&self) -> usize {
        self.faults.added()
    }

    /// There are so many faults already that most of them will only be counted.
    pub(super) fn is_flooded(&self) -> bool {
        self.faults.added() > 10 * MAX_FAULTS || self.warnings.added() > MAX_FAULTS
    }

    /// Whether there is still time to look among `names` for what was meant. Whether there is follows from the document alone.
    pub(super) fn may_compare(&mut self, names: usize) -> bool {
        self.compared = self.compared.saturating_add(names);
        self.compared <= MAX_COMPARED && !self.is_flooded()
    }

    /// `values` values are written out at `path`, once more than the document has them. Whether there is room for them.
    pub(super) fn write_out(&mut self, values: usize, path: &str) -> bool {
        let before = self.written_out;
        self.written_out = before.saturating_add(values);
        if self.written_out > MAX_WRITTEN_OUT {
            if before <= MAX_WRITTEN_OUT {
                let what = format!("with lists and macros written out, there are more than {MAX_WRITTEN_OUT} values");
                self.fault(path, codes::TOO_MANY, what, "list fewer, or split it into several policies");
            }
            self.pass_over();
            return false;
        }
        true
    }

    /// Something is refused for its size and was not looked at, so that nobody knows what it would have used.
    pub(super) fn pass_over(&mut self) {
        self.passed_over = true;
    }

    pub(super) fn has_passed_over(&self) -> bool {
        self.passed_over
    }

    /// All faults and all warnings, in reading order, each once; what is only not carried out comes last.
    pub(super) fn finish(self) -> Findings {
        let means_something = self.faults.added() == 0;
        let count = self.faults.count().plus(self.unsupported.count());
        let mut faults = self.faults.into_sorted();
        faults.extend(self.unsupported.into_sorted());
        if let Some(more) = count.beyond(self.shown) {
            faults.truncate(self.shown);
            faults.push(Fault {
                path: "spec".into(),
                code: codes::TOO_MANY_FAULTS,
                message: format!("{more} more faults are not shown"),
                help: "correct those that are, and ask again".into(),
            });
        }
        let count = self.warnings.count();
        let mut warnings = self.warnings.into_sorted();
        if let Some(more) = count.beyond(self.shown) {
            warnings.push(Fault {
                path: "spec".into(),
                code: codes::TOO_MANY_WARNINGS,
                message: format!("{more} more warnings are not shown"),
                help: "see to those that are, and ask again".into(),
            });
        }
        Findings { faults, warnings, more_warnings: count.more_than(self.shown), means_something }
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
