//! What is the same on every kernel: functions and their arguments, and the numbers of families and protocols.

use super::functions::{FUNCTIONS, Function, LSM_HOOKS};
use crate::facts::twins;
use crate::ir::{self, ArgType, Generated, HookPoint, Strength};

/// What is known about an argument.
pub(super) enum Lookup {
    /// Nothing: the function may be on some kernel.
    UnknownFunction,
    /// The function is known and has fewer arguments.
    NoSuchParameter { count: usize },
    /// It is this one.
    Parameter { name: &'static str, class: Class },
}

/// What an argument is in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Number,
    Text,
    Pointer(&'static str),
}

impl Class {
    pub(super) fn can_be_read_as(self, ty: ArgType) -> bool {
        let pointer = |names: &[&str]| matches!(self, Self::Pointer(name) if name == "void" || names.contains(&name));
        match ty {
            // 64 bits hold whatever there is.
            ArgType::SizeT | ArgType::Auto | ArgType::Nop => true,
            ArgType::String | ArgType::CharBuf | ArgType::ConstBuf => self == Self::Text || pointer(&["void"]),
            ArgType::File => pointer(&["file"]),
            ArgType::Path => pointer(&["path"]),
            ArgType::LinuxBinprm => pointer(&["linux_binprm"]),
            // The agent follows a socket to its sock.
            ArgType::Sock => pointer(&["sock", "socket"]),
            ArgType::Socket => pointer(&["socket"]),
            ArgType::Sockaddr | ArgType::SockaddrUn => pointer(&["sockaddr"]),
            ArgType::Dentry => pointer(&["dentry"]),
            ArgType::Kiocb => pointer(&["kiocb"]),
            ArgType::Skb => pointer(&["sk_buff"]),
            ArgType::Cred | ArgType::CapInheritable | ArgType::CapPermitted | ArgType::CapEffective => {
                pointer(&["cred", "kernel_cap_t"])
            }
            ArgType::KernelCapT => pointer(&["kernel_cap_t"]),
            ArgType::BpfAttr => pointer(&["bpf_attr"]),
            ArgType::BpfMap => pointer(&["bpf_map"]),
            ArgType::BpfProg => pointer(&["bpf_prog"]),
            ArgType::IovIter => pointer(&["iov_iter"]),
            ArgType::UserNamespace => pointer(&["user_namespace", "cred"]),
            _ => match ty.class() {
                ir::Class::Number { .. } | ir::Class::Capability | ir::Class::Syscall => self == Self::Number,
                // A descriptor is a number.
                _ if ty == ArgType::Fd => self == Self::Number,
                _ => pointer(&[ty.name()]),
            },
        }
    }

    pub(super) fn describe(self) -> String {
        match self {
            Self::Number => "a number".into(),
            Self::Text => "a string".into(),
            Self::Pointer("void") => "an untyped pointer".into(),
            Self::Pointer(name) => format!("a struct {name}"),
        }
    }

    pub(super) fn suggestion(self) -> &'static str {
        match self {
            Self::Number => "write int, uint32 or size_t",
            Self::Text => "write string",
            Self::Pointer("file") => "write file",
            Self::Pointer("path") => "write path",
            Self::Pointer("linux_binprm") => "write linux_binprm",
            Self::Pointer("sock" | "socket") => "write sock",
            Self::Pointer("sockaddr") => "write sockaddr",
            Self::Pointer("dentry") => "write dentry",
            Self::Pointer("cred") => "write cred",
            Self::Pointer("kernel_cap_t") => "write kernel_cap_t",
            Self::Pointer("bpf_attr") => "write bpf_attr",
            Self::Pointer(_) => "remove it: there is no type for it",
        }
    }
}

/// What argument `index` of the hook is.
pub(super) fn parameter(point: &HookPoint, index: u32) -> Lookup {
    let Some((_, parameters)) = function(point) else { return Lookup::UnknownFunction };
    match usize::try_from(index).ok().and_then(|index| parameters.get(index)) {
        Some((name, class)) => Lookup::Parameter { name, class: *class },
        None => Lookup::NoSuchParameter { count: parameters.len() },
    }
}

fn function(point: &HookPoint) -> Option<&'static Function> {
    let named = |table: &'static [Function], name: &str| table.iter().find(|(known, _)| *known == name);
    match point {
        HookPoint::Lsm { hook } => named(LSM_HOOKS, hook),
        HookPoint::Kprobe { call, syscall: false } | HookPoint::Fentry { call, syscall: false } => {
            named(FUNCTIONS, call).or_else(|| call.strip_prefix("security_").and_then(|hook| named(LSM_HOOKS, hook)))
        }
        _ => None,
    }
}

/// Whether the kernel's types say which arguments are sockets, so that one can be followed to its sock.
pub(super) fn describes_sockets(point: &HookPoint) -> bool {
    match point {
        HookPoint::Lsm { .. } => true,
        HookPoint::Kprobe { call, syscall: false } => call.starts_with("security_"),
        _ => false,
    }
}

/// Whether every socket that the hook sees is one of IPv4 or IPv6.
pub(super) fn is_about_ip(point: &HookPoint) -> bool {
    let (HookPoint::Kprobe { call, syscall: false } | HookPoint::Fentry { call, syscall: false }) = point else {
        return false;
    };
    ["tcp_", "__tcp_", "udp_", "udpv6_", "inet_csk_"].iter().any(|prefix| call.starts_with(prefix))
}

/// What a socket does not have yet when the hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unset {
    /// Its local address and port.
    Local,
    /// The address and port it will be connected to.
    Remote,
}

/// Hooks that run before the socket has the address which the call is about: it is in the `sockaddr` beside it.
pub(super) fn unset(point: &HookPoint) -> Option<Unset> {
    let name = match point {
        HookPoint::Lsm { hook } => hook.as_str(),
        HookPoint::Kprobe { call, syscall: false } | HookPoint::Fentry { call, syscall: false } => {
            call.strip_prefix("security_").unwrap_or(call)
        }
        _ => return None,
    };
    match name {
        "socket_connect" | "tcp_v4_connect" | "tcp_v6_connect" => Some(Unset::Remote),
        "socket_bind" => Some(Unset::Local),
        _ => None,
    }
}

/// The strongest that a hook can be on any kernel.
pub(super) fn reach(point: &HookPoint) -> Strength {
    match point {
        HookPoint::Lsm { hook } => lsm_reach(hook),
        HookPoint::Kprobe { syscall: true, .. } => Strength::Override,
        HookPoint::Kprobe { call, .. } => call.strip_prefix("security_").map_or(Strength::Signal, lsm_reach),
        HookPoint::Generated { functions: Generated::Syscalls, fentry: false } => Strength::Override,
        HookPoint::Generated { fentry: false, .. } | HookPoint::Tracepoint { .. } => Strength::Signal,
        HookPoint::Uprobe { .. } | HookPoint::Usdt { .. } => Strength::Signal,
        // They miss calls on some kernels, so nothing rests on them.
        HookPoint::Generated { fentry: true, .. } | HookPoint::Fentry { .. } => Strength::Observe,
    }
}

fn lsm_reach(hook: &str) -> Strength {
    if twins::of(hook).all(twins::can_deny) { Strength::Deny } else { Strength::Signal }
}

/// Address families (`include/linux/socket.h`).
pub const FAMILIES: [(&str, u16); 45] = [
    ("AF_UNSPEC", 0),
    ("AF_UNIX", 1),
    ("AF_INET", 2),
    ("AF_AX25", 3),
    ("AF_IPX", 4),
    ("AF_APPLETALK", 5),
    ("AF_NETROM", 6),
    ("AF_BRIDGE", 7),
    ("AF_ATMPVC", 8),
    ("AF_X25", 9),
    ("AF_INET6", 10),
    ("AF_ROSE", 11),
    ("AF_DECnet", 12),
    ("AF_NETBEUI", 13),
    ("AF_SECURITY", 14),
    ("AF_KEY", 15),
    ("AF_NETLINK", 16),
    ("AF_PACKET", 17),
    ("AF_ASH", 18),
    ("AF_ECONET", 19),
    ("AF_ATMSVC", 20),
    ("AF_RDS", 21),
    ("AF_SNA", 22),
    ("AF_IRDA", 23),
    ("AF_PPPOX", 24),
    ("AF_WANPIPE", 25),
    ("AF_LLC", 26),
    ("AF_IB", 27),
    ("AF_MPLS", 28),
    ("AF_CAN", 29),
    ("AF_TIPC", 30),
    ("AF_BLUETOOTH", 31),
    ("AF_IUCV", 32),
    ("AF_RXRPC", 33),
    ("AF_ISDN", 34),
    ("AF_PHONET", 35),
    ("AF_IEEE802154", 36),
    ("AF_CAIF", 37),
    ("AF_ALG", 38),
    ("AF_NFC", 39),
    ("AF_VSOCK", 40),
    ("AF_KCM", 41),
    ("AF_QIPCRTR", 42),
    ("AF_SMC", 43),
    ("AF_XDP", 44),
];

/// IP protocols (`include/uapi/linux/in.h`).
pub const PROTOCOLS: [(&str, u16); 29] = [
    ("IPPROTO_IP", 0),
    ("IPPROTO_ICMP", 1),
    ("IPPROTO_TCP", 6),
    ("IPPROTO_UDP", 17),
    ("IPPROTO_IGMP", 2),
    ("IPPROTO_IPIP", 4),
    ("IPPROTO_EGP", 8),
    ("IPPROTO_PUP", 12),
    ("IPPROTO_IDP", 22),
    ("IPPROTO_TP", 29),
    ("IPPROTO_DCCP", 33),
    ("IPPROTO_IPV6", 41),
    ("IPPROTO_RSVP", 46),
    ("IPPROTO_GRE", 47),
    ("IPPROTO_ESP", 50),
    ("IPPROTO_AH", 51),
    ("IPPROTO_ICMPV6", 58),
    ("IPPROTO_MTP", 92),
    ("IPPROTO_BEETPH", 94),
    ("IPPROTO_ENCAP", 98),
    ("IPPROTO_PIM", 103),
    ("IPPROTO_COMP", 108),
    ("IPPROTO_L2TP", 115),
    ("IPPROTO_SCTP", 132),
    ("IPPROTO_UDPLITE", 136),
    ("IPPROTO_MPLS", 137),
    ("IPPROTO_ETHERNET", 143),
    ("IPPROTO_RAW", 255),
    ("IPPROTO_MPTCP", 262),
];
