//! Where a policy hooks, and what it reads there.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{ArgType, Selector, is_default};

/// One entry of `kprobes`, `lsmhooks`, `tracepoints`, `fentries`, `uprobes` or `usdts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hook {
    /// Where it attaches.
    pub point: HookPoint,
    /// Its position in the list of its family in the document.
    pub index: u32,
    /// `message`.
    pub message: String,
    /// `tags`.
    pub tags: Vec<String>,
    /// What is read: `args`, then `data`, in written order.
    pub args: Vec<Arg>,
    /// `return: true`: the return value is reported, and read as this type.
    pub returns: Option<ArgType>,
    /// What else is said about the return value.
    #[serde(skip_serializing_if = "is_default")]
    pub returned: Returned,
    /// `ignore.callNotFound`: a kernel without the function is no failure; `ignore.digestVerificationFailure`: a file with
    /// another digest is none.
    #[serde(skip_serializing_if = "is_default")]
    pub may_be_missing: bool,
    /// Alternatives in written order; the first that matches decides. Empty: every event matches and is posted.
    pub selectors: Vec<Selector>,
}

impl Hook {
    /// Whether something is done about a call, beside reporting it.
    #[must_use]
    pub fn acts(&self) -> bool {
        self.selectors.iter().any(|selector| selector.actions.acts())
    }

    /// Whether all it does is to report a call when it returns: then it is hooked there alone.
    #[must_use]
    pub fn only_reports_a_return(&self) -> bool {
        self.returns.is_some() && !self.acts()
    }
}

/// What is said about a return value beside its type.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Returned {
    /// `label`.
    pub label: String,
    /// How it is read.
    pub reading: Reading,
    /// `returnArgAction`.
    pub action: Option<SockAction>,
}

/// What is remembered about a socket, so that its later packets are known to be the process's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum SockAction {
    /// The socket is the process's.
    Track,
    /// It no longer is.
    Untrack,
}

/// What the document names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum HookPoint {
    /// `kprobes[].call`.
    Kprobe {
        /// The function, or the system call (`sys_openat`, `i386/sys_openat`) when `syscall` is set.
        call: String,
        /// Arguments are those of a system call.
        syscall: bool,
    },
    /// `lsmhooks[].hook`.
    Lsm {
        /// Without the `bpf_lsm_` prefix.
        hook: String,
    },
    /// `tracepoints[]`.
    Tracepoint {
        /// For instance `syscalls`.
        subsystem: String,
        /// For instance `sys_enter_openat`.
        event: String,
        /// Attached as a raw tracepoint: indices are raw arguments.
        raw: bool,
    },
    /// `fentries[].call`.
    Fentry {
        /// As of a kprobe.
        call: String,
        /// As of a kprobe.
        syscall: bool,
    },
    /// `call: list:NAME` of a list that only a kernel can write out.
    Generated {
        /// Which functions.
        functions: Generated,
        /// In `fentries`.
        fentry: bool,
    },
    /// `uprobes[]`.
    Uprobe {
        /// The program or library on the node.
        path: String,
        /// Where in it.
        places: BinaryPlaces,
        /// `binaryDigests`, `algorithm:hex`: empty is any file.
        digests: BTreeSet<String>,
        /// `btfPath`.
        btf: String,
    },
    /// `usdts[]`.
    Usdt {
        /// The program or library on the node.
        path: String,
        /// The provider of the probe.
        provider: String,
        /// Its name.
        name: String,
        /// `btfPath`.
        btf: String,
    },
}

/// A list of functions that depends on the kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Generated {
    /// Every system call.
    Syscalls,
    /// Every function that can be traced and whose name matches.
    Functions {
        /// A regular expression.
        pattern: String,
    },
}

/// Where in a file a uprobe is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum BinaryPlaces {
    /// Functions and bytes after their beginnings, with the offset of a counter that the program looks at.
    Symbols(BTreeSet<(String, u64, Option<u64>)>),
    /// Offsets in the file, with the same.
    Offsets(BTreeSet<(u64, Option<u64>)>),
    /// Virtual addresses.
    Addresses(BTreeSet<u64>),
}

/// A kernel's ways to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Abi {
    /// x86-64.
    X64,
    /// 32 bits on x86-64.
    I386,
    /// Arm, 64 bits.
    Arm64,
}

/// An argument that is read and reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Arg {
    /// Position in the function, or field number of the tracepoint; for `data`, what the document says.
    pub index: u32,
    /// How it is read.
    pub ty: ArgType,
    /// `label`.
    pub label: String,
    /// Where it is found; [`Reading::default`] for a plain argument.
    #[serde(skip_serializing_if = "is_default")]
    pub reading: Reading,
}

/// Where an argument is found, when it is not simply what the function is called with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Reading {
    /// What is read from.
    pub source: Source,
    /// `resolve`: what is followed from there.
    pub path: Vec<Step>,
    /// `btfType` and `btfTypeModule`: what the pointer is taken for.
    pub pointer: Option<(String, String)>,
    /// How many bytes there are.
    pub size: Size,
    /// `returnCopy`: read when the function returns.
    pub on_return: bool,
}

/// Where a reading begins.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub enum Source {
    /// At the argument.
    #[default]
    Argument,
    /// At the `task_struct` of the process.
    Task,
    /// In a register, or where one points to: `rax`, `8(%rsp)`.
    Register(String),
}

/// One step of `resolve`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Step {
    /// A field of a structure.
    Field(String),
    /// An element of an array.
    Element(u32),
}

/// How many bytes a buffer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Size {
    /// The function's argument that says it, counted from 0.
    pub argument: Option<u32>,
    /// `maxData`: up to 327360 bytes are read instead of 4096.
    pub large: bool,
}

impl Hook {
    /// A hook that reads nothing and reports everything.
    #[must_use]
    pub fn at(point: HookPoint) -> Self {
        Self {
            point,
            index: 0,
            message: String::new(),
            tags: Vec::new(),
            args: Vec::new(),
            returns: None,
            returned: Returned::default(),
            may_be_missing: false,
            selectors: Vec::new(),
        }
    }
}

impl HookPoint {
    /// The list of the document that it is in.
    #[must_use]
    pub const fn family(&self) -> &'static str {
        match self {
            Self::Kprobe { .. } | Self::Generated { fentry: false, .. } => "kprobes",
            Self::Fentry { .. } | Self::Generated { fentry: true, .. } => "fentries",
            Self::Lsm { .. } => "lsmhooks",
            Self::Tracepoint { .. } => "tracepoints",
            Self::Uprobe { .. } => "uprobes",
            Self::Usdt { .. } => "usdts",
        }
    }

    /// The name that a person knows it by.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Kprobe { call, .. } | Self::Fentry { call, .. } => call.clone(),
            Self::Lsm { hook } => hook.clone(),
            Self::Tracepoint { subsystem, event, .. } => format!("{subsystem}/{event}"),
            Self::Generated { functions: Generated::Syscalls, .. } => "every system call".into(),
            Self::Generated { functions: Generated::Functions { pattern }, .. } => format!("functions like {pattern}"),
            Self::Uprobe { path, places, .. } => match places {
                BinaryPlaces::Symbols(symbols) => {
                    let names: Vec<&str> = symbols.iter().map(|(name, ..)| name.as_str()).collect();
                    format!("{path}:{}", names.join(","))
                }
                BinaryPlaces::Offsets(_) | BinaryPlaces::Addresses(_) => path.clone(),
            },
            Self::Usdt { path, provider, name, .. } => format!("{path}:{provider}:{name}"),
        }
    }
}

impl Arg {
    /// A plain argument of the function.
    #[must_use]
    pub fn plain(index: u32, ty: ArgType) -> Self {
        Self { index, ty, label: String::new(), reading: Reading::default() }
    }

    /// Whether the document lists it in `data`.
    #[must_use]
    pub fn is_data(&self) -> bool {
        self.reading.source != Source::Argument
    }
}
