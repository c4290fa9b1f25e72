//! What an alternative asks, and what it does.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use serde::Serialize;

use super::{Abi, Expression, Scope, SockAction, is_default};

/// One alternative of a hook: every filter must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Selector {
    /// All must hold.
    pub pids: Vec<PidFilter>,
    /// All must hold.
    pub binaries: Vec<BinaryFilter>,
    /// All must hold, of the parent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parent_binaries: Vec<BinaryFilter>,
    /// All must hold.
    pub namespaces: Vec<NamespaceFilter>,
    /// All must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespace_changes: Vec<NamespaceChange>,
    /// All must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<CapabilityFilter>,
    /// All must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capability_changes: Vec<CapabilityChange>,
    /// `matchWorkloads`: the process is in this scope, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workloads: Option<Scope>,
    /// `matchArgs` and `matchData`: all must hold.
    pub args: Vec<ArgFilter>,
    /// What is done when it matches.
    pub actions: Actions,
    /// What its event has in it, and how often there is one.
    #[serde(skip_serializing_if = "is_default")]
    pub posting: Posting,
    /// What is done besides.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub effects: BTreeSet<Effect>,
    /// What is asked of the return value, and done then. `None`: an event of the call alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_return: Option<OnReturn>,
    /// `label`: its name in statistics.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
}

/// `matchReturnArgs` and `matchReturnActions`: judged when a call returns that the selector has matched.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct OnReturn {
    /// All must hold; their `arg` is 0, the return value.
    pub args: Vec<ArgFilter>,
    /// What is done then.
    pub actions: Actions,
    /// What the event has in it.
    pub posting: Posting,
    /// What is done besides.
    pub effects: BTreeSet<Effect>,
}

/// `matchPIDs`: the process (thread group), or one of its ancestors, has one of these ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PidFilter {
    /// `NotIn`.
    pub negated: bool,
    /// The pids.
    pub pids: BTreeSet<u32>,
    /// Descendants at any depth count as the process.
    pub follow_forks: bool,
    /// Ids are those of the process's own pid namespace.
    pub namespace_pid: bool,
}

/// `matchBinaries`: the path of the executable at exec time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct BinaryFilter {
    /// How the path is compared. `Equal` is the document's `In`.
    pub compare: StringCompare,
    /// `NotIn`, `NotPrefix`, `NotPostfix`.
    pub negated: bool,
    /// The values.
    pub values: BTreeSet<String>,
    /// Descendants of a matching exec count too.
    pub follow_children: bool,
}

/// `matchNamespaces`: the inode numbers of the current task's namespaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NamespaceFilter {
    /// Which of its namespaces.
    pub namespace: Namespace,
    /// `NotIn`.
    pub negated: bool,
    /// The inode numbers.
    pub inodes: BTreeSet<u32>,
    /// `host_ns`: the namespace of the host's pid 1.
    pub host: bool,
}

/// The kinds of namespace a filter can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[allow(missing_docs, reason = "the kernel's own names")]
pub enum Namespace {
    Uts,
    Ipc,
    Mnt,
    Pid,
    PidForChildren,
    Net,
    Time,
    TimeForChildren,
    Cgroup,
    User,
}

impl Namespace {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Uts,
        Self::Ipc,
        Self::Mnt,
        Self::Pid,
        Self::PidForChildren,
        Self::Net,
        Self::Time,
        Self::TimeForChildren,
        Self::Cgroup,
        Self::User,
    ];
}

/// `matchNamespaceChanges`: whether one of these namespaces is another than when the process was executed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NamespaceChange {
    /// `NotIn`: none of them is.
    pub negated: bool,
    /// Which.
    pub namespaces: BTreeSet<Namespace>,
}

/// A set of capabilities, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Capabilities(pub u64);

/// The sets of capabilities that a process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[allow(missing_docs, reason = "the kernel's own names")]
pub enum CapabilitySet {
    Effective,
    Inheritable,
    Permitted,
}

/// `matchCapabilities`: whether the process has one of these.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CapabilityFilter {
    /// In which of its sets.
    pub set: CapabilitySet,
    /// `NotIn`: it has none of them.
    pub negated: bool,
    /// `isNamespaceCapability`: and it is in another user namespace than the host's.
    pub in_namespace: bool,
    /// Which.
    pub capabilities: Capabilities,
}

/// `matchCapabilityChanges`: whether one of these is had now and was not when the process was executed, or the contrary.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CapabilityChange {
    /// In which of its sets.
    pub set: CapabilitySet,
    /// `NotIn`: none of them changed.
    pub negated: bool,
    /// `isNamespaceCapability`: and the process is in another user namespace than the host's.
    pub in_namespace: bool,
    /// Which.
    pub capabilities: Capabilities,
}

/// A filter on one argument.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ArgFilter {
    /// Position in [`Hook::args`] (not the function's index).
    pub arg: usize,
    /// What must hold of it.
    pub test: ArgTest,
    /// The negated form of the operator.
    pub negated: bool,
}

/// What a filter asks of an argument: membership in a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum ArgTest {
    /// The number is one of these; a signed value is sign-extended to 64 bits.
    Number(BTreeSet<u64>),
    /// The number is in one of these ranges: more numbers than can be listed one by one.
    Range(BTreeSet<NumberRange>),
    /// One of these bits is set.
    Mask(u64),
    /// The system call is one of these.
    Syscall(BTreeSet<Syscall>),
    /// The capabilities of argument `new` has some that this argument does not have.
    Gained {
        /// Position in [`super::Hook::args`].
        new: usize,
    },
    /// `Equal`, `Prefix`, `Postfix` on strings and paths.
    String(StringCompare, BTreeSet<String>),
    /// One of these is somewhere in the string.
    Substring {
        /// Letters of ASCII are the same in both cases.
        ignore_case: bool,
        /// The values; in lower case if the case is ignored.
        values: BTreeSet<String>,
    },
    /// The file is one of these.
    FileType(BTreeSet<FileType>),
    /// `SAddr`: the local address.
    SourceAddress(BTreeSet<Cidr>),
    /// `DAddr`: the remote address. An argument of type [`super::ArgType::Sockaddr`] holds one address and one port:
    /// whichever of `SAddr` and `DAddr` (`SPort` and `DPort`) the document says, they are `DestinationAddress` and
    /// `DestinationPort` here.
    DestinationAddress(BTreeSet<Cidr>),
    /// `SPort`, `SPortPriv`: the local port.
    SourcePort(BTreeSet<PortRange>),
    /// `DPort`, `DPortPriv`: the remote port.
    DestinationPort(BTreeSet<PortRange>),
    /// `Family`: the socket's own address family. A selector with a filter on the addresses or ports of an argument has
    /// one on its family too (`AF_INET`, `AF_INET6`), unless the hook sees no other sockets: negated or not, such a filter
    /// is about sockets that have addresses.
    Family(BTreeSet<u16>),
    /// `Protocol`.
    Protocol(BTreeSet<u16>),
    /// `State`: the state of a TCP socket.
    State(BTreeSet<u16>),
    /// `CelExpr`: an expression over all arguments; [`ArgFilter::arg`] is 0.
    Expression(Expression),
}

/// A range of numbers, both ends included, in the order of what is stored: negative numbers come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NumberRange {
    /// First.
    pub first: u64,
    /// Last, not below `first`.
    pub last: u64,
}

/// A system call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Syscall {
    /// By its name, called in the way of this ABI; without one, in the node's own way (64 bits).
    Named {
        /// Which of the kernel's ways to be called.
        abi: Option<Abi>,
        /// `openat`.
        name: String,
    },
    /// By its number, called in the node's own way.
    Numbered(u32),
}

/// The kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[allow(missing_docs, reason = "they are what they are called")]
pub enum FileType {
    Socket,
    Link,
    Regular,
    Block,
    Directory,
    Character,
    Fifo,
}

/// How strings are compared: byte by byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum StringCompare {
    /// The whole.
    Equal,
    /// The beginning.
    Prefix,
    /// The end.
    Postfix,
}

/// A range of addresses; IPv4 is stored mapped (`::ffff:a.b.c.d`, length + 96).
///
/// A set of them means exactly the addresses that they contain: a document's `::/0` does not cover IPv4, so it becomes the
/// 96 ranges around `::ffff:0:0/96`. Sets are minimal: no range contains another, and no two make up a larger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Cidr {
    /// No bit is set after `length`.
    pub address: Ipv6Addr,
    /// 0 to 128.
    pub length: u8,
}

/// A range of ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PortRange {
    /// First.
    pub first: u16,
    /// Last, not below `first`.
    pub last: u16,
}

/// What a matching selector does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Actions {
    /// An event is posted (absent `matchActions`, `Post`, and every enforcing action unless `NoPost`).
    pub post: bool,
    /// The operation is refused (`Override`, or `Sigkill` on a hook with an LSM twin) with this errno, 1 to 4095.
    pub deny: Option<u16>,
    /// The process is sent this signal (`Sigkill` is 9).
    pub signal: Option<u8>,
}

impl Actions {
    /// Whether something is done about the operation or the process, beside reporting it.
    #[must_use]
    pub const fn acts(&self) -> bool {
        self.deny.is_some() || self.signal.is_some()
    }
}

/// How a selector's events are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Posting {
    /// `rateLimit`.
    pub limit: Option<RateLimit>,
    /// `kernelStackTrace`.
    pub kernel_stack: bool,
    /// `userStackTrace`.
    pub user_stack: bool,
    /// `imaHash`.
    pub ima_hash: bool,
}

/// Of events with the same arguments, one in this time is posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RateLimit {
    /// Seconds.
    pub seconds: u32,
    /// Whose events are counted together.
    pub scope: RateScope,
}

/// Whose events are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum RateScope {
    /// Those of a thread.
    Thread,
    /// Those of a process.
    Process,
    /// All.
    Global,
}

/// What a matching selector does beside refusing, signalling and reporting.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Effect {
    /// `GetUrl`: the agent fetches the URL.
    GetUrl(String),
    /// `DnsLookup`: the agent resolves the name.
    DnsLookup(String),
    /// `TrackSock`, `UntrackSock`: of this argument's socket (position in [`super::Hook::args`]).
    Sock(SockAction, usize),
    /// `NotifyEnforcer`: what the enforcer does when the process comes to it.
    NotifyEnforcer {
        /// The call is refused with this errno.
        error: Option<u16>,
        /// The process is sent this signal.
        signal: Option<u8>,
    },
    /// `CleanupEnforcerNotification`: that is taken back.
    CleanupEnforcerNotification,
    /// `Set`: the number is written to where argument `arg` of the probe is read from.
    Set {
        /// The probe's argument.
        arg: u32,
        /// The number.
        value: u32,
    },
    /// `Override` of a uprobe: registers are set.
    Registers(BTreeSet<String>),
    /// `Override` of a uprobe: the program goes on elsewhere; `Return`: the function is left at once.
    Jump(Jump),
}

/// Where a program goes on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Jump {
    /// Behind the call, with this value in place of what the function returns.
    Return(i32),
    /// At a function of the same file.
    Symbol(String),
    /// At an address.
    Address(u64),
    /// At an offset of the file.
    Offset(u64),
}
