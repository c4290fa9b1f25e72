//! Dimension numbers: what of an event a table row is about.

use crate::plan::MAX_ARGS;

/// The class of the process's container.
pub const SCOPE: u32 = 0;
/// The listed binary that the executable's path equals.
pub const BINARY_EXACT: u32 = 1;
/// The longest listed prefix of the executable's path.
pub const BINARY_PREFIX: u32 = 2;
/// The longest listed postfix of the executable's path.
pub const BINARY_POSTFIX: u32 = 3;
/// The thread group's id in the host's pid namespace.
pub const PID_HOST: u32 = 4;
/// The thread group's id in its own pid namespace.
pub const PID_OWN: u32 = 5;
/// The first namespace kind; the others follow in the order of [`NamespaceKind`].
pub const NAMESPACES: u32 = 6;
/// The first chunk of eight marks.
pub const MARKS: u32 = 16;
/// The first facet of the first argument.
pub const ARGUMENTS: u32 = 32;
/// Dimension numbers from one argument to the next.
pub const ARGUMENT_STRIDE: u32 = 16;
/// The first chunk of masks of the process's first set of capabilities.
pub const CAPABILITIES: u32 = ARGUMENTS + MAX_ARGS as u32 * ARGUMENT_STRIDE;
/// Dimension numbers in all.
pub const DIMENSIONS: usize = CAPABILITIES as usize + CAPABILITY_SETS * MASK_CHUNKS;

// A set has a bit for each.
const _: () = assert!(DIMENSIONS <= 128);
const _: () = assert!(NAMESPACES as usize + NAMESPACE_KINDS <= MARKS as usize);
const _: () = assert!(MARKS as usize + MARK_CHUNKS <= ARGUMENTS as usize);
const _: () = assert!(Facet::Masks as usize + MASK_CHUNKS <= ARGUMENT_STRIDE as usize);

/// Mark slots.
pub const MARK_SLOTS: usize = 128;
/// Chunks of eight marks.
pub const MARK_CHUNKS: usize = MARK_SLOTS / 8;
/// Values of a chunk of marks beyond its eight bits, in NUM. The row of this one is no vector but the bits that any rule of
/// the hook asks about: the others are masked before the chunk is looked up.
pub const CHUNK_MASK: u64 = 0x400;
/// Added to a chunk of a process of whose ancestors an executable is unknown: the rules that may hold all the same. Such
/// rows are there only where rules ask about executables.
pub const CHUNK_MAY: u64 = 0x100;
/// The same: those rules of which it cannot be known.
pub const CHUNK_DOUBT: u64 = 0x200;
/// Sets of capabilities that are looked at: effective, inheritable, permitted.
pub const CAPABILITY_SETS: usize = 3;
/// What has masks: arguments, then sets of capabilities.
pub const MASKED: usize = MAX_ARGS + CAPABILITY_SETS;
/// Different masks that the rules of a hook can have for one of them.
pub const MASKS: usize = 32;
/// Chunks of eight of them.
pub const MASK_CHUNKS: usize = MASKS / 8;
/// Kinds of namespace.
pub const NAMESPACE_KINDS: usize = 10;

/// The kinds of namespace, as numbered in tables.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the kernel's own names")]
pub enum NamespaceKind {
    Uts = 0,
    Ipc = 1,
    Mnt = 2,
    Pid = 3,
    PidForChildren = 4,
    Net = 5,
    Time = 6,
    TimeForChildren = 7,
    Cgroup = 8,
    User = 9,
}

/// What is looked at in an argument.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Facet {
    /// A number, sign-extended to 64 bits (NUM).
    Number = 0,
    /// The socket's address family (NUM).
    Family = 1,
    /// The socket's protocol (NUM).
    Protocol = 2,
    /// The whole text (STR).
    Whole = 3,
    /// The text's beginning (LPM_STR).
    Prefix = 4,
    /// The text's end, its bytes reversed (LPM_STR).
    Postfix = 5,
    /// The local address, 128 bits (LPM_NET).
    SourceAddress = 6,
    /// The remote address, 128 bits (LPM_NET).
    DestinationAddress = 7,
    /// The local port, 16 bits (LPM_NET).
    SourcePort = 8,
    /// The remote port, 16 bits (LPM_NET).
    DestinationPort = 9,
    /// A number, 64 bits: the ranges that it is in (LPM_NET).
    Range = 10,
    /// Which of eight masks have a bit of a number (NUM). The others of [`MASK_CHUNKS`] follow.
    Masks = 11,
}

/// The dimension of a namespace kind.
#[inline(always)]
#[must_use]
pub const fn namespace(kind: NamespaceKind) -> u32 {
    NAMESPACES + kind as u32
}

/// The dimension of a chunk of marks: slots `8 * chunk` to `8 * chunk + 7`, lowest slot in the value's lowest bit.
#[inline(always)]
#[must_use]
pub const fn marks(chunk: u32) -> u32 {
    MARKS + chunk
}

/// The dimension of a facet of an argument (its position in the plan, not the function's index).
#[inline(always)]
#[must_use]
pub const fn argument(arg: u32, facet: Facet) -> u32 {
    ARGUMENTS + arg * ARGUMENT_STRIDE + facet as u32
}

/// The dimension of a chunk of masks of an argument, or of a set of capabilities ([`capabilities`]).
#[inline(always)]
#[must_use]
pub const fn masks(of: u32, chunk: u32) -> u32 {
    if of < MAX_ARGS as u32 {
        return argument(of, Facet::Masks) + chunk;
    }
    CAPABILITIES + (of - MAX_ARGS as u32) * MASK_CHUNKS as u32 + chunk
}

/// What a set of capabilities is among what has masks.
#[inline(always)]
#[must_use]
pub const fn capabilities(set: u32) -> u32 {
    MAX_ARGS as u32 + set
}

/// A set of dimensions.
pub type DimensionSet = [u64; 2];

/// The dimensions that are asked about with [`crate::decide::keep_number`]: masks, and an argument's ranges.
#[inline(always)]
#[must_use]
pub const fn more_of_number(of: u32) -> DimensionSet {
    let mut set = [0; 2];
    if of < MAX_ARGS as u32 {
        insert(&mut set, argument(of, Facet::Range));
    }
    let mut chunk = 0;
    while chunk < MASK_CHUNKS as u32 {
        insert(&mut set, masks(of, chunk));
        chunk += 1;
    }
    set
}

/// Whether two sets have a dimension in common.
#[inline(always)]
#[must_use]
pub const fn intersects(one: &DimensionSet, other: &DimensionSet) -> bool {
    let ([one_low, one_high], [other_low, other_high]) = (*one, *other);
    (one_low & other_low) | (one_high & other_high) != 0
}

/// Whether `set` contains `dimension`.
#[inline(always)]
#[must_use]
pub const fn contains(set: &DimensionSet, dimension: u32) -> bool {
    let [low, high] = *set;
    let word = if dimension < 64 { low } else { high };
    word >> (dimension & 63) & 1 == 1
}

/// Adds `dimension` to `set`.
#[inline(always)]
pub const fn insert(set: &mut DimensionSet, dimension: u32) {
    let [low, high] = set;
    let word = if dimension < 64 { low } else { high };
    *word |= 1 << (dimension & 63);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dimension_has_its_own_number() {
        let mut all = vec![SCOPE, BINARY_EXACT, BINARY_PREFIX, BINARY_POSTFIX, PID_HOST, PID_OWN];
        all.extend((0..NAMESPACE_KINDS as u32).map(|kind| NAMESPACES + kind));
        all.extend((0..MARK_CHUNKS as u32).map(marks));
        for arg in 0..MAX_ARGS as u32 {
            all.extend((0..11).map(|facet| argument(arg, Facet::Number) + facet));
            all.extend((0..MASK_CHUNKS as u32).map(|chunk| masks(arg, chunk)));
        }
        for set in 0..CAPABILITY_SETS as u32 {
            all.extend((0..MASK_CHUNKS as u32).map(|chunk| masks(capabilities(set), chunk)));
        }
        let mut set = [0; 2];
        for &dimension in &all {
            assert!((dimension as usize) < DIMENSIONS);
            assert!(!contains(&set, dimension), "{dimension} twice");
            insert(&mut set, dimension);
            assert!(contains(&set, dimension));
        }
        assert_eq!(namespace(NamespaceKind::User), 15);
        assert_eq!(argument(4, Facet::DestinationPort), 105);
    }
}
