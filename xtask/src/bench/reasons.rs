//! Why a budget is missed: beside the figure, in the table and in the JSON.

/// By the beginning of a row's name. A row that misses its budget and is not here says so.
const REASONS: &[(&str, &str)] = &[
    (
        "kernel memory: base",
        "the tables of processes, executables and cgroups and the ring are 3 MB of it; the rest is programs, what each keeps of \
         type information, and what the kernel rounds up. The whole kernel's memory is compared, so it varies by 5 per cent",
    ),
    (
        "out of scope",
        "before the scope is known, the head (two look-ups in arrays), the task's leader and the process's record (one in a hash) \
         have to be found: about 280 instructions beside the empty program's",
    ),
    (
        "no rule matches",
        "as out of scope, and then the scratch of the CPU is taken and what is kept of the executable is asked",
    ),
    (
        "match and event posted",
        "an event is written into the scratch, copied into the ring and carries the process, its parent and their images; rules \
         are counted one by one in their own look-ups. Far from the budget: not looked into yet",
    ),
    (
        "deny",
        "the rules that fire are concluded, counted and asked for their errors in functions of their own, each of which finds the \
         head and the scratch again. Not looked into yet",
    ),
    (
        "kernel memory: each further policy",
        "two rows of hash tables for each listed executable: its path in the node's table (120 bytes and its bucket), and its \
         rules in the hook's (72 bytes and its bucket)",
    ),
    (
        "verified",
        "the verifier of this kernel forgets less of what it has seen, and follows each of the ways that look-ups can end; a \
         twentieth of what it allows",
    ),
];

/// The reason of a row.
pub(super) fn of(name: &str) -> Option<&'static str> {
    REASONS.iter().find(|(beginning, _)| name.starts_with(beginning)).map(|(_, reason)| *reason)
}
