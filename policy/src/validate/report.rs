//! Where the parts of the validator put what they find.

use crate::fault::Fault;
use crate::fault::codes;

/// How many faults are shown before they are only counted.
pub(super) const MAX_FAULTS: usize = 100;

/// The faults and warnings found so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl Report {
    pub(super) fn fault(
        &mut self,
        path: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.faults.push(Fault { path: path.into(), code, message: message.into(), help: help.into() });
    }

    /// Reports a fault in place of a more general one at the same path.
    pub(super) fn fault_instead_of(
        &mut self,
        general: &'static str,
        path: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let path = path.into();
        self.faults.retain(|fault| fault.path != path || fault.code != general);
        self.fault(path, code, message, help);
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

    /// How many faults there are so far.
    pub(super) fn count(&self) -> usize {
        self.faults.len()
    }

    /// All faults and all warnings, in reading order, each once.
    pub(super) fn finish(self) -> (Vec<Fault>, Vec<Fault>) {
        let mut faults = in_order(self.faults);
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

fn in_order(mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.sort_by(Fault::reading_order);
    faults.dedup();
    faults
}
