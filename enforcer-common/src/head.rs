//! The head of a hook: which generation decides, and what is constant in it.

use crate::bits::Words;
use crate::dimension::{DIMENSIONS, DimensionSet, MASK_CHUNKS, MASKED};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The class of processes outside every pod.
pub const CLASS_HOST: u32 = 0;
/// The class of a pod that is not known yet: the strictest set that could apply.
pub const CLASS_UNKNOWN_POD: u32 = 1;
/// The first class of the process with which the agent probes its own hooks: no policy applies to it.
pub const CLASS_PROBE: u32 = 2;
/// How many there are: an operation that several hooks see is refused by the first, so the others are probed in others.
pub const PROBE_CLASSES: u32 = 5;
/// Classes that [`Head::scope_any`] has a bit for.
pub const DIRECT_CLASSES: u32 = crate::bits::WORDS as u32 * 64;

/// Classes whose vectors the head itself names; those of the others are in NUM.
pub const NEAR_CLASSES: usize = 64;

/// What cannot be read: index into [`Head::needs`]. Arguments come first. This one is the process's executable.
pub const NEEDS_PROCESS: usize = 5;
/// The process's namespaces and its pid in its own namespace.
pub const NEEDS_NAMESPACES: usize = 6;
/// The process's inherited bits: they can be known where its executable is not, and the other way round.
pub const NEEDS_MARKS: usize = 7;
/// The process's first set of capabilities; the others follow.
pub const NEEDS_CAPABILITIES: usize = 8;
/// What can be unreadable, and one that never is.
pub const NEEDS: usize = 12;

/// The element of HEAD that holds the head in force.
pub const HEAD_IN_FORCE: u32 = 0;

/// The element of HEAD that holds the head of a slot.
#[inline(always)]
#[must_use]
pub const fn head_of_slot(slot: u32) -> u32 {
    1 + (slot & 1)
}

/// Elements of HEAD.
pub const HEADS: u32 = 3;

/// The one row of the inner maps of HEAD.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Head {
    /// Of the hook's rows; events carry it. Never 0.
    pub generation: u64,
    /// Of the binary tables that [`Self::binary_slot`] holds. Never 0.
    pub binary_generation: u64,
    /// Which element of NUM, STR64, STR256, LPM_STR, LPM_NET, VEC, RULES holds the rows.
    pub slot: u32,
    /// Which element of the binary tables.
    pub binary_slot: u32,
    /// Words in use, 0 to 16: the highest rule's word + 1.
    pub words: u32,
    /// Zero.
    pub reserved: u32,
    /// The dimensions that any rule uses.
    pub used: DimensionSet,
    /// By what cannot be read ([`NEEDS_PROCESS`]…; arguments by position): the vector of the rules that need it.
    pub needs: [u32; NEEDS],
    /// Bit *c*: class *c* satisfies at least one rule. Only a shortcut: classes from [`DIRECT_CLASSES`] on are looked up.
    pub scope_any: Words,
    /// Rules of fields of one rule.
    pub singles: Words,
    /// Rules of larger fields.
    pub multis: Words,
    /// Lowest rule of each larger field.
    pub lows: Words,
    /// Rules that deny.
    pub deny: Words,
    /// Rules that send a signal.
    pub signal: Words,
    /// Rules that post an event.
    pub post: Words,
    /// Rules of policies in monitor mode: what they would do is counted and reported.
    pub monitor: Words,
    /// Rules that deny when something they need cannot be read (`onFault: Deny`, enforcing).
    pub fault_deny: Words,
    /// Rules of whose equal events one in a while is posted ([`crate::limit`]).
    pub limited: Words,
    /// By class, for the first of them: the vector of the rules that apply to it.
    pub scope: [u32; NEAR_CLASSES],
    /// By dimension: the vector of a value that is in no row. Only read for dimensions in use.
    pub defaults: [u32; DIMENSIONS],
    /// By what has masks, and chunk: the masks that rules ask about, 0 where there is none.
    pub masks: [[u64; 8]; MASKED * MASK_CHUNKS],
}

const _: () = assert!(
    size_of::<Head>()
        == 16 + 16 + 16 + 4 * NEEDS + 10 * 128 + 4 * NEAR_CLASSES + 4 * DIMENSIONS + 64 * MASKED * MASK_CHUNKS
);

impl Head {
    /// A head without rules.
    pub const EMPTY: Self = Self {
        generation: 0,
        binary_generation: 0,
        slot: 0,
        binary_slot: 0,
        words: 0,
        reserved: 0,
        used: [0; 2],
        needs: [0; NEEDS],
        scope_any: [0; 16],
        singles: [0; 16],
        multis: [0; 16],
        lows: [0; 16],
        deny: [0; 16],
        signal: [0; 16],
        post: [0; 16],
        monitor: [0; 16],
        fault_deny: [0; 16],
        limited: [0; 16],
        scope: [0; NEAR_CLASSES],
        defaults: [0; DIMENSIONS],
        masks: [[0; 8]; MASKED * MASK_CHUNKS],
    };
}

/// RULES: what a rule does beyond its bits in the head; looked up only when it fires.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RuleRow {
    /// The error of a denial, 1 to 4095; 0 where the rule does not deny. Of several the lowest is returned.
    pub errno: u16,
    /// The signal, or 0. Every winning rule's is sent.
    pub signal: u8,
    /// Whose events are counted together: [`crate::limit::scope`].
    pub scope: u8,
    /// Seconds from an event that was posted to the next equal one; 0: all are posted.
    pub seconds: u32,
    /// What its windows are known by, whatever its number is in this generation.
    pub window: u64,
    /// Bit *n*: events differ for it where argument *n* does: the arguments of its own hook, by their position in the plan.
    pub args: u32,
    /// Zero.
    pub reserved: u32,
}

/// RULE_COUNTS: what a rule did. Row `slot * MAX_RULES + rule`; counted across CPUs.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RuleCounts {
    /// It was the first of its policy that matched.
    pub matched: u64,
    /// Its denial or signal was carried out.
    pub denied: u64,
    /// Its denial or signal would have been carried out, were its policy enforcing.
    pub would_deny: u64,
    /// It could not be judged because something could not be read.
    pub faults: u64,
    /// Its event was left out because an equal one had been posted shortly before.
    pub limited: u64,
}

const _: () = assert!(size_of::<RuleRow>() == 24);
const _: () = assert!(size_of::<RuleCounts>() == 40);
