//! A policy that has been found unambiguous: every default filled in, every value parsed.
//!
//! Later stages see only these types. Collections are sorted and free of duplicates, so that two documents that mean the
//! same are equal (law 2 of the semantics).

mod digest;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use serde::Serialize;

pub use self::digest::digest;
pub(crate) use self::digest::hook_text;

/// Which of the two kinds a policy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum PolicyKind {
    /// `TracingPolicy`: reaches the whole cluster.
    Cluster,
    /// `TracingPolicyNamespaced`: reaches the pods of its namespace.
    Namespaced,
}

/// Which policy: unique in a cluster at any moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PolicyId {
    /// Its kind.
    pub kind: PolicyKind,
    /// Its namespace; empty for [`PolicyKind::Cluster`].
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A policy that means one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ValidatedPolicy {
    /// Which policy it is.
    pub id: PolicyId,
    /// `metadata.uid`, empty offline.
    pub uid: String,
    /// `metadata.generation`, 0 offline.
    pub generation: i64,
    /// Whether denials and kills are carried out or only counted.
    pub mode: Mode,
    /// What happens when an argument that a rule needs cannot be read.
    pub on_fault: OnFault,
    /// The weakest mechanism that the author accepts; below it a node reports `TooWeak`.
    pub minimum_strength: Option<Strength>,
    /// Which processes it is about.
    pub scope: Scope,
    /// Which nodes load it; `None` is every node.
    pub node_selector: Option<LabelSelector>,
    /// What it hooks, in written order: kprobes, lsmhooks, tracepoints. Two of them may name the same point, or twins; each
    /// is judged by itself, like hooks of two policies. No two say the same.
    pub hooks: Vec<Hook>,
}

/// Whether denials and kills are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Mode {
    /// They are.
    Enforce,
    /// They are only counted and reported as "would have".
    Monitor,
}

/// What an enforcing rule does when something it needs cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum OnFault {
    /// Lets the operation happen and reports it.
    Allow,
    /// Denies the operation and reports it.
    Deny,
}

/// How strongly a mechanism can keep an operation from happening; ordered, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Strength {
    /// It is reported.
    Observe,
    /// The process is signalled; the operation may have happened.
    Signal,
    /// A system call or function is made to return an error.
    Override,
    /// LSM: the operation does not happen.
    Deny,
}

/// Which processes a policy is about (the truth table of `podSelector`, `containerSelector`, `hostSelector`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Scope {
    /// Every process of the node.
    Everything,
    /// Some of them.
    Some {
        /// Processes outside every pod are in scope.
        host: bool,
        /// The pods in scope; `None`: none.
        pods: Option<PodScope>,
    },
}

/// The pods, and containers in them, that a policy is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodScope {
    /// Only pods of this namespace (the namespaced kind).
    pub namespace: Option<String>,
    /// Pod labels, with `k8s:io.kubernetes.pod.namespace` added. For the namespaced kind [`PodScope::namespace`] holds too.
    pub pods: LabelSelector,
    /// Container keys `name` and `repo`.
    pub containers: LabelSelector,
}

/// A Kubernetes label selector: every requirement must hold; none selects all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LabelSelector {
    /// Sorted, without duplicates.
    pub requirements: BTreeSet<LabelRequirement>,
}

/// One requirement of a label selector.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LabelRequirement {
    /// The label.
    pub key: String,
    /// What must hold of it.
    pub operator: LabelOperator,
    /// The values for `In` and `NotIn`.
    pub values: BTreeSet<String>,
}

/// The operators of a label selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum LabelOperator {
    /// The label has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is present.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

impl LabelSelector {
    /// Whether `labels` satisfy every requirement.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match requirement.operator {
                LabelOperator::In => value.is_some_and(|value| requirement.values.contains(value)),
                LabelOperator::NotIn => value.is_none_or(|value| !requirement.values.contains(value)),
                LabelOperator::Exists => value.is_some(),
                LabelOperator::DoesNotExist => value.is_none(),
            }
        })
    }
}

/// One entry of `kprobes`, `lsmhooks` or `tracepoints`.
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
    /// The arguments that are read, in written order.
    pub args: Vec<Arg>,
    /// `return: true`: the return value is reported, and read as this type.
    pub returns: Option<ArgType>,
    /// Alternatives in written order; the first that matches decides. Empty: every event matches and is posted.
    pub selectors: Vec<Selector>,
}

/// What the document names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum HookPoint {
    /// `kprobes[].call`.
    Kprobe {
        /// The function, or the system call (`sys_openat`) when `syscall` is set.
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
}

/// An argument that is read and reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Arg {
    /// Position in the function, or field number of the tracepoint.
    pub index: u32,
    /// How it is read.
    pub ty: ArgType,
    /// `label`.
    pub label: String,
}

/// How an argument is read, reported and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum ArgType {
    /// 32 bits, signed.
    Int,
    /// 32 bits, unsigned.
    Uint32,
    /// 64 bits, unsigned.
    SizeT,
    /// A NUL-terminated string.
    String,
    /// `struct file *`: its path.
    File,
    /// `struct path *`: its path.
    Path,
    /// `struct linux_binprm *`: the path of its file.
    LinuxBinprm,
    /// `struct sock *`.
    Sock,
    /// `struct sockaddr *`.
    Sockaddr,
}

/// One alternative of a hook: every filter must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Selector {
    /// All must hold.
    pub pids: Vec<PidFilter>,
    /// All must hold.
    pub binaries: Vec<BinaryFilter>,
    /// All must hold.
    pub namespaces: Vec<NamespaceFilter>,
    /// All must hold.
    pub args: Vec<ArgFilter>,
    /// What is done when it matches.
    pub actions: Actions,
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
    /// `Equal` on numbers; a signed value is sign-extended to 64 bits.
    Number(BTreeSet<u64>),
    /// `Equal`, `Prefix`, `Postfix` on strings and paths.
    String(StringCompare, BTreeSet<String>),
    /// `SAddr`: the local address.
    SourceAddress(BTreeSet<Cidr>),
    /// `DAddr`: the remote address. An argument of type [`ArgType::Sockaddr`] holds one address and one port: whichever of
    /// `SAddr` and `DAddr` (`SPort` and `DPort`) the document says, they are `DestinationAddress` and `DestinationPort` here.
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
