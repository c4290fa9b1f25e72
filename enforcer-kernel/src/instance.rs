//! A hook instance: one program at one place, built for the arguments and dimensions that the policies there use.

use std::fmt;

use sha2::{Digest, Sha256};
use stockade_enforcer_common::name::program;
use stockade_enforcer_common::plan::Plan;
use zerocopy::IntoBytes;

use crate::object::Target;
use crate::rows::hex;

/// Where a program is attached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attach {
    /// An LSM hook, without `bpf_lsm_`.
    Lsm(String),
    /// The entry of a function.
    Kprobe(String),
    /// The return of a function, through a trampoline: its arguments are still there beside what it returned.
    Fexit(String),
    /// A tracepoint through a perf event.
    Tracepoint {
        /// For instance `syscalls`.
        subsystem: String,
        /// For instance `sys_enter_openat`.
        event: String,
    },
    /// A raw tracepoint.
    RawTracepoint(String),
    /// An instruction of a file, whoever runs it.
    Uprobe {
        /// The file, as the policy names it.
        path: String,
        /// The place in it, as a policy would.
        place: String,
        /// Where in the file.
        offset: u64,
        /// Where in the file the counter is that the program looks at; 0: there is none.
        counter: u64,
        /// What tells this file from another at the same path.
        stamp: String,
    },
}

impl fmt::Display for Attach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lsm(hook) => write!(f, "lsm/{hook}"),
            Self::Kprobe(function) => write!(f, "kprobe/{function}"),
            Self::Fexit(function) => write!(f, "fexit/{function}"),
            Self::Tracepoint { subsystem, event } => write!(f, "tracepoint/{subsystem}/{event}"),
            Self::RawTracepoint(event) => write!(f, "raw_tracepoint/{event}"),
            Self::Uprobe { path, place, .. } => write!(f, "uprobe{path}:{place}"),
        }
    }
}

impl Attach {
    /// The template in the object, and what it is loaded for.
    #[must_use]
    pub fn template(&self) -> (&'static str, Target) {
        match self {
            Self::Lsm(hook) => (program::LSM_HOOK, Target::Lsm(hook.clone())),
            // To the kernel a uprobe's program is a kprobe's: it has the registers.
            Self::Kprobe(_) | Self::Uprobe { .. } => (program::KPROBE_HOOK, Target::Kprobe),
            Self::Fexit(function) => (program::FEXIT_HOOK, Target::Fexit(function.clone())),
            Self::Tracepoint { .. } => (program::TRACEPOINT_HOOK, Target::Tracepoint),
            Self::RawTracepoint(_) => (program::RAW_TRACEPOINT_HOOK, Target::RawTracepoint),
        }
    }
}

/// What makes a program: two instances of the same specification are the same program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Specification {
    /// Where it is attached.
    pub attach: Attach,
    /// Its `.rodata`; the hook's number is [`Identity::number`].
    pub plan: Plan,
}

/// The name of an instance in pins, state and events.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// `lsm_file_open-0123456789abcdef`: also the name of its directory of pins.
    pub name: String,
    /// What its events carry.
    pub number: u32,
}

/// The number of an instance, from its name: the first four bytes of its digest.
#[must_use]
pub fn number_of(name: &str) -> u32 {
    let digest = name.rsplit_once('-').map_or("", |(_, digest)| digest);
    digest.get(..8).and_then(|digest| u32::from_str_radix(digest, 16).ok()).unwrap_or_default()
}

impl Specification {
    /// The identity: a digest over the object, what the maps share, the offsets, the attach target and the plan. An agent
    /// that finds a directory of this name can adopt what is in it.
    #[must_use]
    pub fn identity(&self, base: &[u8]) -> Identity {
        let plan = Plan { hook: 0, ..self.plan };
        let target = self.attach.to_string();
        let mut hash = Sha256::new();
        if let Attach::Uprobe { offset, counter, stamp, .. } = &self.attach {
            hash.update(format!("{offset} {counter} {stamp}"));
        }
        for part in [base, target.as_bytes(), plan.as_bytes()] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let [a, b, c, d, ..] = digest;
        let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        // File names have 255 bytes; a function's name can be as long.
        let slug: String = target.chars().map(safe).take(160).collect();
        Identity { name: format!("{slug}-{}", hex(&digest, 8)), number: u32::from_be_bytes([a, b, c, d]) }
    }

    /// The plan with its number in it.
    #[must_use]
    pub fn numbered(&self, identity: &Identity) -> Plan {
        Plan { hook: identity.number, ..self.plan }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_changes_with_everything_that_makes_the_program_and_with_nothing_else() {
        let one = Specification { attach: Attach::Lsm("file_open".into()), plan: Plan::default() };
        let identity = one.identity(b"base");
        let numbered = Specification { plan: one.numbered(&identity), ..one.clone() };
        assert_eq!(numbered.identity(b"base"), identity);
        assert_eq!(numbered.plan.hook, identity.number);
        let flags = Specification { plan: Plan { flags: 1, ..one.plan }, ..one.clone() };
        let target = Specification { attach: Attach::Lsm("file_permission".into()), ..one.clone() };
        for other in [flags.identity(b"base"), target.identity(b"base"), one.identity(b"other")] {
            assert_ne!(other.name, identity.name);
            assert_ne!(other.number, identity.number);
        }
        assert_eq!(number_of(&identity.name), identity.number);
        assert!(identity.name.starts_with("lsm_file_open-"), "{}", identity.name);
        assert!(!identity.name.contains(['.', '/']), "bpffs takes neither");
    }
}
