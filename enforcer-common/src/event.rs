//! Records of the ring EVENTS. A record is a header, a fixed part by its kind, and a variable part.

use crate::process::ProcessId;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a record is: [`EventHeader::kind`].
pub mod event_kind {
    /// [`super::ExecEvent`].
    pub const EXEC: u16 = 1;
    /// [`super::ExitEvent`].
    pub const EXIT: u16 = 2;
    /// [`super::HookEvent`].
    pub const HOOK: u16 = 3;
}

/// The beginning of every record.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct EventHeader {
    /// Bytes of the record that mean something, this header included. The ring's own record may be longer.
    pub size: u32,
    /// [`event_kind`].
    pub kind: u16,
    /// By kind.
    pub flags: u16,
    /// Boot time.
    pub time_ns: u64,
}

/// An exec that has succeeded. After it: `path_length` bytes of the executable's path, then `args_length` bytes of
/// arguments, `argc` texts each ended by a zero; what follows the last is not part of them.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ExecEvent {
    /// `EXEC_*` in its flags.
    pub header: EventHeader,
    /// The process from now on.
    pub process: ProcessId,
    /// The process until now (its start and image).
    pub previous: ProcessId,
    /// The process that forked it.
    pub parent: ProcessId,
    /// The exec whose event has the parent's binary and arguments.
    pub parent_image: ProcessId,
    /// The cgroup it was executed in.
    pub cgroup: u64,
    /// The deepest registered cgroup above; 0: none.
    pub scope_cgroup: u64,
    /// Key of the path in BINARIES.
    pub binary: u64,
    /// Effective ids.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Its scope class.
    pub class: u32,
    /// Thread group id in its own pid namespace.
    pub own_tgid: u32,
    /// How many arguments there are.
    pub argc: u32,
    /// Bytes of the path; 0 when it could not be built.
    pub path_length: u16,
    /// Bytes of arguments that follow.
    pub args_length: u16,
}

/// The arguments are cut.
pub const EXEC_ARGS_CUT: u16 = 1;
/// The process was found by the iterator: it is older than the agent, its arguments are not known.
pub const EXEC_FOUND: u16 = 2;
/// Its path could not be built.
pub const EXEC_PATH_UNKNOWN: u16 = 4;
/// Not an exec: a process found by the iterator that has not executed since it was forked.
pub const EXEC_FORKED: u16 = 8;
/// It is a kernel thread.
pub const EXEC_KERNEL: u16 = 16;

/// A process has ended.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ExitEvent {
    /// No flags.
    pub header: EventHeader,
    /// The process.
    pub process: ProcessId,
    /// The exec that its binary and arguments are of.
    pub image: ProcessId,
    /// The process that forked it.
    pub parent: ProcessId,
    /// The cgroup it was executed in.
    pub cgroup: u64,
    /// As `wait` reports it: signal in the low 7 bits, status in the next byte.
    pub code: u32,
    /// Zero.
    pub reserved: u32,
}

/// A hook's rules have fired. After it: the words of `fired_summary` that are set, lowest first, 8 bytes each; the same for
/// `fault_summary`; then `args` arguments, each an [`ArgHeader`] and its data, padded to 8 bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct HookEvent {
    /// `HOOK_*` in its flags.
    pub header: EventHeader,
    /// Of the rows that decided.
    pub generation: u64,
    /// The process.
    pub process: ProcessId,
    /// The exec that its binary and arguments are of.
    pub image: ProcessId,
    /// The process that forked it.
    pub parent: ProcessId,
    /// The exec that the parent's binary and arguments are of.
    pub parent_image: ProcessId,
    /// The cgroup it was executed in.
    pub cgroup: u64,
    /// The hook instance.
    pub hook: u32,
    /// The thread.
    pub tid: u32,
    /// The scope class it was judged by.
    pub class: u32,
    /// Thread group id in its own pid namespace; 0: not known.
    pub own_tgid: u32,
    /// The errno that the hook returned; 0: the operation was allowed.
    pub errno: u16,
    /// How many arguments follow.
    pub args: u16,
    /// Words of rules that won (first of their policy, readable).
    pub fired_summary: u16,
    /// Words of rules that could not be judged.
    pub fault_summary: u16,
}

/// The operation was refused.
pub const HOOK_DENIED: u16 = 1;
/// A signal was sent.
pub const HOOK_SIGNALLED: u16 = 2;
/// A rule in monitor mode would have refused or signalled.
pub const HOOK_WOULD_DENY: u16 = 4;
/// The check was given up: no working space was free, or a path never stood still.
pub const HOOK_CONTENDED: u16 = 8;
/// The process had no record.
pub const HOOK_PROCESS_UNKNOWN: u16 = 16;

/// The beginning of an argument.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ArgHeader {
    /// Its position in the plan.
    pub position: u8,
    /// [`crate::plan::kind`].
    pub kind: u8,
    /// [`arg_status`].
    pub status: u8,
    /// Zero.
    pub reserved: u8,
    /// Bytes of data, without padding.
    pub length: u32,
}

/// [`ArgHeader::status`].
pub mod arg_status {
    /// The data is the value.
    pub const READ: u8 = 0;
    /// It could not be read; there is no data.
    pub const UNREADABLE: u8 = 1;
    /// The data is the beginning of the value.
    pub const CUT: u8 = 2;
    /// It was not needed for the decision and was not read.
    pub const NOT_READ: u8 = 3;
}

/// The data of a socket, socket address or packet. Numbers are 8 bytes, texts their bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SocketData {
    /// `AF_*`.
    pub family: u16,
    /// `IPPROTO_*`.
    pub protocol: u16,
    /// `SOCK_*`.
    pub kind: u16,
    /// `TCP_*`.
    pub state: u16,
    /// Local port.
    pub source_port: u16,
    /// Remote port.
    pub destination_port: u16,
    /// Bytes of a packet.
    pub length: u32,
    /// Local address (of a packet: its source's), IPv4 mapped; zeros where the family has none.
    pub source: [u8; 16],
    /// Remote address (of a `sockaddr`: the address it names).
    pub destination: [u8; 16],
}

/// The data of a user namespace.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct UserNamespaceData {
    /// How many it is nested in; 0: the host's.
    pub level: u32,
    /// Inode number.
    pub inode: u32,
    /// The user and group that made it, in the host's numbers.
    pub owner: [u32; 2],
}

/// The data of credentials.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CredentialsData {
    /// uid, gid, suid, sgid, euid, egid, fsuid, fsgid, in the host's numbers.
    pub ids: [u32; 8],
    /// `SECBIT_*`.
    pub secure_bits: u32,
    /// Zero.
    pub reserved: u32,
    /// Effective, inheritable, permitted.
    pub capabilities: [u64; 3],
    /// The user namespace that they are of.
    pub user_namespace: UserNamespaceData,
}

/// Bytes of an object's name.
pub const OBJECT_NAME: usize = 64;
/// [`ObjectData::numbers`]: this kernel does not say.
pub const OBJECT_UNKNOWN: u64 = u64::MAX;

/// The data of a named object of the kernel. What the numbers are depends on [`crate::plan::kind`]:
///
/// | kind | numbers |
/// |---|---|
/// | `BPF_ATTR`, `BPF_PROGRAM` | type, instructions |
/// | `BPF_MAP` | type, bytes of a key, bytes of a value, most entries |
/// | `PERF_EVENT` | type, configuration, offset of a probe |
/// | `MODULE` | whether its signature is right, bits of taints |
/// | `LOAD_INFO` | whether its signature is right |
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ObjectData {
    /// By kind; [`OBJECT_UNKNOWN`]: this kernel does not say.
    pub numbers: [u64; 4],
    /// Its name, zeros after it; empty: it has none, or it cannot be read.
    pub name: [u8; OBJECT_NAME],
}

const _: () = assert!(size_of::<ObjectData>() == 96);
const _: () = assert!(size_of::<UserNamespaceData>() == 16);
const _: () = assert!(size_of::<CredentialsData>() == 80);
const _: () = assert!(size_of::<EventHeader>() == 16);
const _: () = assert!(size_of::<ExecEvent>() == 128);
const _: () = assert!(size_of::<ExitEvent>() == 80);
const _: () = assert!(size_of::<HookEvent>() == 120);
const _: () = assert!(size_of::<ArgHeader>() == 8);
const _: () = assert!(size_of::<SocketData>() == 48);

/// The longest record.
pub const MAX_EVENT: usize = 8192;
