//! Every limit of the language that is ours and not the kernel's, once: the validator, the texts of its faults and the
//! documentation have them from here.

/// How many bytes of compact JSON a document may have.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// How many hooks a policy can have, those of lists counted one by one.
pub const MAX_HOOKS: usize = 4096;

/// How many selectors a hook can have: they share one word of the kernel's rule table.
pub const MAX_SELECTORS: usize = 63;

/// How many entries one filter of a selector can have.
pub const MAX_ENTRIES: usize = 64;

/// How many arguments one hook can read.
pub const MAX_ARGS: usize = stockade_enforcer_common::plan::MAX_ARGS;

/// The highest index of an argument that can be read: what registers carry.
pub const MAX_ARG_INDEX: u32 = 5;

/// The highest field number of a tracepoint.
pub const MAX_FIELD: u32 = 31;

/// How many steps `resolve` can have.
pub const MAX_STEPS: usize = 10;

/// How many bytes a string or path that is compared may have: what the kernel's tables compare.
pub const MAX_VALUE_BYTES: usize = stockade_enforcer_common::key::MAX_TEXT;

/// How many parts of a string one filter can look for.
pub const MAX_PARTS: usize = 100;

/// How many requirements a selector of labels can have.
pub const MAX_LABELS: usize = 4096;

/// How many values a policy may have where lists and macros are written out: the values of a hook's selectors for each
/// function of its list, those of a macro for each selector that uses it, and those of a list for each filter that names it.
/// The schema names the number too.
pub const MAX_WRITTEN_OUT: usize = 1 << 17;

/// In [`MAX_WRITTEN_OUT`] a longer text counts once more for each of these bytes.
pub const TEXT_UNIT: usize = 64;

/// How many numbers the ranges beside a named list may have.
pub const MAX_BESIDE_LIST: u128 = 4096;

/// How many bytes an expression (`CelExpr`) may have.
pub const MAX_EXPRESSION_BYTES: usize = 4096;

/// How many faults are shown before they are only counted.
pub const MAX_FAULTS: usize = 100;

/// The limits that a person meets, for the documentation: what, and at most how much.
pub const LIMITS: [(&str, u128); 15] = [
    ("bytes of a document, as compact JSON", MAX_DOCUMENT_BYTES as u128),
    ("hooks of a policy, those of lists counted one by one", MAX_HOOKS as u128),
    ("arguments of a hook, what it returned included", MAX_ARGS as u128),
    ("the index of an argument", MAX_ARG_INDEX as u128),
    ("the number of a tracepoint's field", MAX_FIELD as u128),
    ("steps of `resolve`", MAX_STEPS as u128),
    ("selectors of a hook", MAX_SELECTORS as u128),
    ("entries of one filter in a selector", MAX_ENTRIES as u128),
    ("bytes of a string or path that is compared", MAX_VALUE_BYTES as u128),
    ("values of one `SubString` filter; those of other filters have no limit of their own", MAX_PARTS as u128),
    ("requirements of a label selector", MAX_LABELS as u128),
    (
        "values of a policy where lists and macros are written out: those of a hook for each function of its list, those of a macro or list for each place that names it; a longer text counts once more for each 64 bytes",
        MAX_WRITTEN_OUT as u128,
    ),
    ("numbers in the ranges of a filter that also names a list", MAX_BESIDE_LIST),
    ("bytes of a `CelExpr`", MAX_EXPRESSION_BYTES as u128),
    ("faults that are shown; beyond that they are counted", MAX_FAULTS as u128),
];
