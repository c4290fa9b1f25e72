//! Liveness: an operation of the agent's own, in a scope made for it, that a hook must see, count and report, and refuse
//! where it can refuse.
//!
//! Each hook instance has one more rule, which applies to the class of the probe's process alone and asks nothing of an
//! event. So a probe goes the whole way of a verdict (attachment, head, scope, rows, effect, ring) and touches no policy. The
//! process is put into that class by its record; in no other way can anybody come into it.

mod operations;
mod process;

use std::collections::BTreeSet;

use stockade_enforcer_common::head::{CLASS_PROBE, PROBE_CLASSES};
use stockade_enforcer_common::name::shared_map;
use stockade_enforcer_common::process::ProcessRecord;
use stockade_policy::ir::PolicyId;
use zerocopy::{FromBytes, IntoBytes};

use crate::event::{DecodeError, Event};
use crate::instance::Attach;
use crate::kernel::Kernel;
use crate::ops::OpError;
use crate::scope::probe_cgroup;
use operations::Operation;
use process::Process;

/// What probes are refused with: an error that none of their operations has for another reason.
pub const PROBE_ERRNO: u16 = 55;

/// What is known of a hook instance that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Liveness {
    /// Which.
    pub hook: String,
    /// Where it is attached.
    pub attach: String,
    /// Whose rules are there.
    pub policies: BTreeSet<PolicyId>,
    /// How it was checked.
    pub checked: Checked,
    /// What the check found; `None`: it works.
    pub wrong: Option<String>,
}

/// How a hook instance was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// By an operation of the agent's own.
    Probed,
    /// By reading back its link, program and rows, because of this.
    ReadBack(String),
}

/// The class in which a place is probed; `None`: it cannot be.
pub(crate) fn class_of(attach: &Attach) -> Option<u32> {
    Operation::seen_by(attach).map(|(_, group)| CLASS_PROBE + group)
}

/// The probe's process, and what was seen of it.
#[derive(Debug, Default)]
pub(crate) struct Prober {
    process: Option<Placed>,
    /// Hooks whose probe has come back as an event, by number.
    reported: BTreeSet<u32>,
}

/// The process and where it is.
#[derive(Debug)]
struct Placed {
    process: Process,
    /// The key of its record.
    record: Vec<u8>,
    /// The class that it is in.
    class: Option<u32>,
    /// Operations that the agent may not do, whatever hooks say (seccomp, for instance): they say nothing of hooks.
    forbidden: Vec<Operation>,
}

impl Placed {
    /// Starts the process and tries every operation where no probe's rule applies.
    fn start(kernel: &Kernel) -> Result<Self, String> {
        let failed = |error| format!("the probe's process: {error}");
        let process = Process::start().map_err(failed)?;
        let record = record_of(kernel, process.id()).map_err(|error| error.to_string())?;
        let record = record.ok_or("the probe's process has no record (without the host's pids it cannot be found)")?;
        let mut forbidden = Vec::new();
        for operation in Operation::ALL {
            if matches!(process.ask(*operation).map_err(failed)?, libc::EPERM | libc::EACCES | libc::ENOSYS) {
                forbidden.push(*operation);
            }
        }
        Ok(Self { process, record, class: None, forbidden })
    }
}

/// What an operation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probe {
    /// It was refused by a probe's rule.
    pub(crate) refused: bool,
    /// What it ended with.
    pub(crate) errno: i32,
}

impl Prober {
    /// Why there is no probe for a place, if there is none.
    pub(crate) fn why_not(attach: &Attach) -> Option<String> {
        Operation::seen_by(attach).is_none().then(|| format!("no harmless operation is known for {attach}"))
    }

    /// Has the operation of a place done.
    pub(crate) fn probe(&mut self, attach: &Attach, kernel: &Kernel) -> Result<Probe, String> {
        let (operation, group) = Operation::seen_by(attach).ok_or_else(|| format!("no operation for {attach}"))?;
        let class = CLASS_PROBE + group;
        let placed = match &mut self.process {
            Some(placed) => placed,
            None => self.process.insert(Placed::start(kernel)?),
        };
        if placed.forbidden.contains(&operation) {
            return Err(format!("the agent may not do its operation ({})", operation.call()));
        }
        if placed.class != Some(class) {
            enter_class(kernel, &placed.record, class).map_err(|error| error.to_string())?;
            placed.class = Some(class);
        }
        match placed.process.ask(operation) {
            Ok(errno) => Ok(Probe { refused: errno == i32::from(PROBE_ERRNO), errno }),
            Err(error) => {
                // The next one gets another.
                self.process = None;
                Err(format!("the probe's process does not answer: {error}"))
            }
        }
    }

    /// Forgets what has come back.
    pub(crate) fn forget(&mut self) {
        self.reported.clear();
    }

    /// Whether a probe of this hook has come back as an event.
    pub(crate) fn has_reported(&self, hook: u32) -> bool {
        self.reported.contains(&hook)
    }

    /// Keeps a probe's event to itself; returns any other.
    pub(crate) fn take(&mut self, event: Result<Event, DecodeError>) -> Option<Result<Event, DecodeError>> {
        match &event {
            Ok(Event::Hook(hook)) if (CLASS_PROBE..CLASS_PROBE + PROBE_CLASSES).contains(&hook.record.class) => {
                self.reported.insert(hook.record.hook);
                None
            }
            _ => Some(event),
        }
    }
}

/// The key of the process's record.
fn record_of(kernel: &Kernel, pid: u32) -> Result<Option<Vec<u8>>, OpError> {
    let table = kernel.shared(shared_map::PROCESSES)?;
    let failed = || OpError::io("looking for the record of the probe's process");
    for key in table.keys().map_err(failed())? {
        let record = table.get(&key).map_err(failed())?;
        let Some(record) = record.and_then(|bytes| ProcessRecord::read_from_bytes(&bytes).ok()) else { continue };
        if record.id.tgid == pid && record.parent.tgid == std::process::id() {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// Puts the process, which waits and so writes nothing of its record, into a class.
fn enter_class(kernel: &Kernel, key: &[u8], class: u32) -> Result<(), OpError> {
    let table = kernel.shared(shared_map::PROCESSES)?;
    let failed = || OpError::io("putting the probe's process into its scope");
    let record = table.get(key).map_err(failed())?;
    let record = record.and_then(|bytes| ProcessRecord::read_from_bytes(&bytes).ok());
    let record = record.ok_or_else(|| OpError::Unknown("the record of the probe's process".into()))?;
    let cgroup = probe_cgroup(class);
    // Looked up again at its next operation.
    let record = ProcessRecord { cgroup, scope_cgroup: cgroup, scope: 0, ..record };
    table.set(key, record.as_bytes()).map_err(failed())
}
