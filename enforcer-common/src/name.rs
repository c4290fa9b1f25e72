//! Names of maps, programs and pins.

/// Maps that every program shares: the loader pins them by name and reuses the pins.
pub mod shared_map {
    /// Hash: leader's address → `ProcessRecord`.
    pub const PROCESSES: &str = "PROCESSES";
    /// Hash: path hash → `BinaryRow`.
    pub const BINARIES: &str = "BINARIES";
    /// Hash: cgroup id → `CgroupRow`.
    pub const CGROUPS: &str = "CGROUPS";
    /// Hash: `MarkKey` → `MarkRow`.
    pub const MARKS: &str = "MARKS";
    /// Hash: as PROCESSES → `MarkChange`: written for, and emptied after, each run of the iterator `change_marks`.
    pub const MARK_CHANGES: &str = "MARK_CHANGES";
    /// Array with one row: `Shared`.
    pub const SHARED: &str = "SHARED";
    /// Ring buffer.
    pub const EVENTS: &str = "EVENTS";
    /// Array: working spaces, each held by one run of a program at a time. The object's size is that for one CPU.
    pub const SCRATCH: &str = "SCRATCH";
    /// Array of maps, two slots: whole paths of at most 63 bytes → id (`u64`).
    pub const BINARY_STR64: &str = "BINARY_STR64";
    /// Array of maps, two slots: longer whole paths → id (`u64`).
    pub const BINARY_STR256: &str = "BINARY_STR256";
    /// Array of maps, two slots: prefixes and postfixes of paths → id (`u64`).
    pub const BINARY_LPM: &str = "BINARY_LPM";

    /// All of them.
    pub const ALL: &[&str] = &[
        PROCESSES,
        BINARIES,
        CGROUPS,
        MARKS,
        MARK_CHANGES,
        SHARED,
        EVENTS,
        SCRATCH,
        BINARY_STR64,
        BINARY_STR256,
        BINARY_LPM,
    ];
}

/// Maps that each hook instance (and, of these, COUNTERS the base programs) has for itself.
pub mod hook_map {
    /// Array of maps, each an array with one row, `Head`: the one in force, then each slot's. Parts of a program that run
    /// later find the head that the run began with by its slot, whatever is in force by then.
    pub const HEAD: &str = "HEAD";
    /// Array of maps, two slots: hash `NumKey` → vector.
    pub const NUM: &str = "NUM";
    /// Array of maps, two slots: hash `StrKey64` → vector.
    pub const STR64: &str = "STR64";
    /// Array of maps, two slots: hash `StrKey256` → vector.
    pub const STR256: &str = "STR256";
    /// Array of maps, two slots: LPM trie `LpmStrKey` → vector.
    pub const LPM_STR: &str = "LPM_STR";
    /// Array of maps, two slots: LPM trie `LpmNetKey` → vector.
    pub const LPM_NET: &str = "LPM_NET";
    /// Array of maps, two slots: array of `Vector`.
    pub const VEC: &str = "VEC";
    /// Array of maps, two slots: array of `RuleRow`.
    pub const RULES: &str = "RULES";
    /// Array of `RuleCounts`.
    pub const RULE_COUNTS: &str = "RULE_COUNTS";
    /// LRU hash: `LimitKey` → boot time. One element where no rule of the instance is limited.
    pub const LIMITS: &str = "LIMITS";
    /// Per-CPU array of `Counter`.
    pub const COUNTERS: &str = "COUNTERS";

    /// All of them.
    pub const ALL: &[&str] = &[HEAD, NUM, STR64, STR256, LPM_STR, LPM_NET, VEC, RULES, RULE_COUNTS, LIMITS, COUNTERS];
}

/// Read-only globals.
pub mod global {
    /// `offset::Kernel`; in every load.
    pub const KERNEL: &str = "KERNEL";
    /// `plan::Plan`; for each hook instance.
    pub const PLAN: &str = "PLAN";
}

/// Programs.
pub mod program {
    /// LSM `task_alloc`.
    pub const TASK_ALLOC: &str = "task_alloc";
    /// LSM `task_free`.
    pub const TASK_FREE: &str = "task_free";
    /// LSM `bprm_creds_for_exec`: carries a record over when a thread other than the leader executes.
    pub const BPRM_CREDS_FOR_EXEC: &str = "bprm_creds_for_exec";
    /// LSM `bprm_committed_creds`: the exec.
    pub const BPRM_COMMITTED_CREDS: &str = "bprm_committed";
    /// Iterator `task`: processes older than the agent.
    pub const FIND_PROCESSES: &str = "find_processes";
    /// Iterator `task`: changes the marks of running processes.
    pub const CHANGE_MARKS: &str = "change_marks";
    /// Template of LSM hooks; its attach target is chosen at load.
    pub const LSM_HOOK: &str = "lsm_hook";
    /// Template of kprobes.
    pub const KPROBE_HOOK: &str = "kprobe_hook";
    /// Template of returns of functions; its function is chosen at load.
    pub const FEXIT_HOOK: &str = "fexit_hook";
    /// Template of perf tracepoints.
    pub const TRACEPOINT_HOOK: &str = "tracepoint_hook";
    /// Template of raw tracepoints.
    pub const RAW_TRACEPOINT_HOOK: &str = "raw_tracepoint_hook";

    /// The programs that track processes.
    pub const BASE: &[&str] = &[TASK_ALLOC, TASK_FREE, BPRM_CREDS_FOR_EXEC, BPRM_COMMITTED_CREDS];
}
