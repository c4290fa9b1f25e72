//! What of the language the kernel engine of this release carries out: the one table. What is in the language and not in it
//! is refused as `Unsupported`, never ignored; a line more here is all that makes a document with it valid.

use crate::ir::{ArgTest, ArgType};

/// Everything that this release runs.
pub const RUNS: &[Feature] = &[
    Feature::Hook(HookKind::Kprobe),
    Feature::Hook(HookKind::Syscall),
    Feature::Hook(HookKind::Lsm),
    Feature::Hook(HookKind::Tracepoint),
    Feature::Hook(HookKind::RawTracepoint),
    Feature::Hook(HookKind::Uprobe),
    Feature::Type(ArgType::Int8),
    Feature::Type(ArgType::Uint8),
    Feature::Type(ArgType::Int16),
    Feature::Type(ArgType::Uint16),
    Feature::Type(ArgType::Int),
    Feature::Type(ArgType::Uint32),
    Feature::Type(ArgType::Int64),
    Feature::Type(ArgType::BpfCmd),
    Feature::Type(ArgType::Capability),
    Feature::Type(ArgType::KernelCapT),
    Feature::Type(ArgType::CapEffective),
    Feature::Type(ArgType::CapInheritable),
    Feature::Type(ArgType::CapPermitted),
    Feature::Type(ArgType::Nop),
    Feature::Type(ArgType::SizeT),
    Feature::Type(ArgType::String),
    Feature::Type(ArgType::Filename),
    Feature::Type(ArgType::NetDevice),
    Feature::Type(ArgType::CharBuf),
    Feature::Type(ArgType::Dentry),
    Feature::Type(ArgType::Kiocb),
    Feature::Type(ArgType::BpfAttr),
    Feature::Type(ArgType::BpfProg),
    Feature::Type(ArgType::BpfMap),
    Feature::Type(ArgType::PerfEvent),
    Feature::Type(ArgType::Module),
    Feature::Type(ArgType::LoadInfo),
    Feature::Type(ArgType::File),
    Feature::Type(ArgType::Path),
    Feature::Type(ArgType::LinuxBinprm),
    Feature::Type(ArgType::Sock),
    Feature::Type(ArgType::Socket),
    Feature::Type(ArgType::Sockaddr),
    Feature::Type(ArgType::Skb),
    Feature::Type(ArgType::Cred),
    Feature::Type(ArgType::UserNamespace),
    Feature::Test(TestKind::Number),
    Feature::Test(TestKind::Range),
    Feature::Test(TestKind::Mask),
    Feature::Test(TestKind::String),
    Feature::Test(TestKind::Address),
    Feature::Test(TestKind::Port),
    Feature::Test(TestKind::Family),
    Feature::Test(TestKind::Protocol),
    Feature::Filter("matchPIDs"),
    Feature::Filter("matchBinaries"),
    Feature::Filter("matchNamespaces"),
    Feature::Filter("matchCapabilities"),
    Feature::Filter("matchArgs"),
    Feature::Filter("matchReturnArgs"),
    Feature::Filter("macros"),
    Feature::Action("Post"),
    Feature::Action("NoPost"),
    Feature::Action("Sigkill"),
    Feature::Action("Signal"),
    Feature::Action("Override"),
    Feature::Field("lists"),
    Feature::Field("return"),
    Feature::Field("matchReturnArgs"),
    Feature::Field("ignore"),
    Feature::Field("sizeArgIndex"),
    Feature::Field("rateLimit"),
];

/// Something that the language has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// A kind of hook.
    Hook(HookKind),
    /// A type of argument.
    Type(ArgType),
    /// A kind of test of an argument.
    Test(TestKind),
    /// A field of a selector.
    Filter(&'static str),
    /// An action.
    Action(&'static str),
    /// Any other field.
    Field(&'static str),
}

/// The kinds of hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookKind {
    /// A function of the kernel.
    Kprobe,
    /// A system call.
    Syscall,
    /// All system calls or functions of a generated list.
    Generated,
    /// A function of the kernel, through a trampoline.
    Fentry,
    /// An LSM hook.
    Lsm,
    /// A tracepoint.
    Tracepoint,
    /// A raw tracepoint.
    RawTracepoint,
    /// A function of a program.
    Uprobe,
    /// A static probe of a program.
    Usdt,
    /// Files that are mapped to be executed.
    Loader,
    /// Where `NotifyEnforcer` takes effect.
    Enforcer,
}

/// The kinds of tests. What a document writes in several ways is one: `InRange` of three numbers is `Number`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestKind {
    /// One of several numbers.
    Number,
    /// Ranges of many numbers.
    Range,
    /// Bits.
    Mask,
    /// System calls.
    Syscall,
    /// The whole, beginning or end of a string.
    String,
    /// Any part of a string.
    Substring,
    /// Kinds of files.
    FileType,
    /// Addresses.
    Address,
    /// Ports.
    Port,
    /// Address families.
    Family,
    /// Protocols.
    Protocol,
    /// TCP states.
    State,
    /// Capabilities gained.
    Gained,
    /// Expressions.
    Expression,
}

impl Feature {
    /// Whether this release carries it out.
    #[must_use]
    pub fn runs(self) -> bool {
        RUNS.contains(&self)
    }

    /// What it is, as the subject of a sentence.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Hook(kind) => kind.describe().into(),
            Self::Type(ty) => format!("type {}", ty.name()),
            Self::Test(kind) => kind.describe().into(),
            Self::Filter(name) | Self::Action(name) | Self::Field(name) => name.into(),
        }
    }
}

impl HookKind {
    /// In a few words.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Kprobe => "a hook on a function of the kernel",
            Self::Syscall => "a hook on a system call",
            Self::Generated => "a generated list",
            Self::Fentry => "a hook of fentries",
            Self::Lsm => "an LSM hook",
            Self::Tracepoint => "a tracepoint",
            Self::RawTracepoint => "a raw tracepoint",
            Self::Uprobe => "a uprobe",
            Self::Usdt => "a static probe (usdts)",
            Self::Loader => "loader",
            Self::Enforcer => "enforcers",
        }
    }
}

impl TestKind {
    /// The kind of a test.
    #[must_use]
    pub const fn of(test: &ArgTest) -> Self {
        match test {
            ArgTest::Number(_) => Self::Number,
            ArgTest::Range(_) => Self::Range,
            ArgTest::Mask(_) => Self::Mask,
            ArgTest::Syscall(_) => Self::Syscall,
            ArgTest::Gained { .. } => Self::Gained,
            ArgTest::String(..) => Self::String,
            ArgTest::Substring { .. } => Self::Substring,
            ArgTest::FileType(_) => Self::FileType,
            ArgTest::SourceAddress(_) | ArgTest::DestinationAddress(_) => Self::Address,
            ArgTest::SourcePort(_) | ArgTest::DestinationPort(_) => Self::Port,
            ArgTest::Family(_) => Self::Family,
            ArgTest::Protocol(_) => Self::Protocol,
            ArgTest::State(_) => Self::State,
            ArgTest::Expression(_) => Self::Expression,
        }
    }

    /// In a few words.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Number => "a list of numbers",
            Self::Range => "a range of many numbers",
            Self::Mask => "Mask",
            Self::Syscall => "a filter on system calls",
            Self::String => "a comparison of strings",
            Self::Substring => "a search in a string",
            Self::FileType => "a filter on the kind of file",
            Self::Address => "a filter on addresses",
            Self::Port => "a filter on ports",
            Self::Family => "Family",
            Self::Protocol => "Protocol",
            Self::State => "State",
            Self::Gained => "CapabilitiesGained",
            Self::Expression => "CelExpr",
        }
    }
}
