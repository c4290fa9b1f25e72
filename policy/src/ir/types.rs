//! The types of arguments: what a document calls them, and what can be asked of each.

use serde::Serialize;

/// What a value of a type is, and so what can be asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A whole number.
    Number {
        /// 8, 16, 32 or 64.
        bits: u32,
        /// Whether it can be negative.
        signed: bool,
    },
    /// Bytes that are compared as a string.
    Text,
    /// An absolute path.
    Path {
        /// It comes with the inode, so the kind of file is known.
        inode: bool,
    },
    /// A socket or a packet: two addresses, two ports, a family and a protocol.
    Socket {
        /// It has a TCP state.
        state: bool,
    },
    /// One address with its port.
    Address,
    /// The path of a Unix socket.
    UnixAddress,
    /// One capability.
    Capability,
    /// A set of capabilities.
    Capabilities,
    /// The number of a system call and its ABI.
    Syscall,
    /// It is reported, and nothing can be asked of it.
    Opaque,
    /// What it is depends on the kernel's description of the tracepoint or probe.
    Unstated,
}

macro_rules! types {
    ($($variant:ident $class:expr, [$first:literal $(, $also:literal)*], $reads:literal;)*) => {
        /// How an argument is read, reported and compared. Names that mean the same are the same type.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum ArgType {
            $(#[doc = $reads] $variant,)*
        }

        impl ArgType {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// What can be asked of it.
            #[must_use]
            pub const fn class(self) -> Class {
                match self {
                    $(Self::$variant => $class,)*
                }
            }

            /// Its names in a document; the first is the one that it is known by.
            #[must_use]
            pub const fn names(self) -> &'static [&'static str] {
                match self {
                    $(Self::$variant => &[$first $(, $also)*],)*
                }
            }

            /// What is read, in a few words.
            #[must_use]
            pub const fn reads(self) -> &'static str {
                match self {
                    $(Self::$variant => $reads,)*
                }
            }
        }
    };
}

const fn signed(bits: u32) -> Class {
    Class::Number { bits, signed: true }
}

const fn unsigned(bits: u32) -> Class {
    Class::Number { bits, signed: false }
}

types! {
    Int8 signed(8), ["int8", "sint8"], "8 bits, signed";
    Uint8 unsigned(8), ["uint8"], "8 bits, unsigned";
    Int16 signed(16), ["int16", "sint16"], "16 bits, signed";
    Uint16 unsigned(16), ["uint16"], "16 bits, unsigned";
    Int signed(32), ["int", "int32", "sint32"], "32 bits, signed";
    Uint32 unsigned(32), ["uint32"], "32 bits, unsigned";
    Int64 signed(64), ["int64", "sint64", "long"], "64 bits, signed";
    SizeT unsigned(64), ["size_t", "uint64", "ulong"], "64 bits, unsigned";
    String Class::Text, ["string"], "a string that ends with a NUL";
    DataLoc Class::Text, ["data_loc"], "the string of a tracepoint's `__data_loc` field";
    Filename Class::Text, ["filename"], "the name in a `struct filename *`, as the caller wrote it";
    NetDevice Class::Text, ["net_device"], "the name of a network device";
    CharBuf Class::Text, ["char_buf"], "the bytes of a buffer";
    ConstBuf Class::Text, ["const_buf"], "the bytes of an array of fixed size";
    CharIovec Class::Opaque, ["char_iovec"], "the beginning of the data of an array of `struct iovec`";
    IovIter Class::Opaque, ["iov_iter"], "the beginning of the data of a `struct iov_iter *`";
    File Class::Path { inode: true }, ["file"], "the path of a `struct file *`";
    Path Class::Path { inode: true }, ["path"], "the path of a `struct path *`";
    Fd Class::Path { inode: false }, ["fd"], "the path of the file behind a descriptor";
    Dentry Class::Path { inode: false }, ["dentry"], "the path of a `struct dentry *` from the root of its file system";
    LinuxBinprm Class::Path { inode: false }, ["linux_binprm"], "the path of the file that is being executed";
    Kiocb Class::Path { inode: false }, ["kiocb"], "the path of the file of a `struct kiocb *`";
    Sock Class::Socket { state: true }, ["sock"], "a `struct sock *`";
    Socket Class::Socket { state: true }, ["socket"], "the sock of a `struct socket *`";
    Skb Class::Socket { state: false }, ["skb"], "the addresses and ports of a packet";
    Sockaddr Class::Address, ["sockaddr"], "the address in a `struct sockaddr *`";
    SockaddrUn Class::UnixAddress, ["sockaddr_un"], "the path of a Unix socket";
    Capability Class::Capability, ["capability"], "the number of a capability";
    KernelCapT Class::Capabilities, ["kernel_cap_t"], "a set of capabilities";
    CapInheritable Class::Capabilities, ["cap_inheritable"], "the inheritable capabilities of a `struct cred *`";
    CapPermitted Class::Capabilities, ["cap_permitted"], "the permitted capabilities of a `struct cred *`";
    CapEffective Class::Capabilities, ["cap_effective"], "the effective capabilities of a `struct cred *`";
    BpfCmd signed(32), ["bpf_cmd"], "a command of bpf(2)";
    Syscall64 Class::Syscall, ["syscall64"], "the number of a system call";
    Cred Class::Opaque, ["cred"], "the ids and capabilities of a `struct cred *`";
    UserNamespace Class::Opaque, ["user_namespace"], "a `struct user_namespace *`";
    BpfAttr Class::Opaque, ["bpf_attr"], "a `union bpf_attr *`";
    BpfProg Class::Opaque, ["bpf_prog"], "a `struct bpf_prog *`";
    BpfMap Class::Opaque, ["bpf_map"], "a `struct bpf_map *`";
    PerfEvent Class::Opaque, ["perf_event"], "a `struct perf_event *`";
    LoadInfo Class::Opaque, ["load_info"], "a `struct load_info *`: a module that is being loaded";
    Module Class::Opaque, ["module"], "a `struct module *`";
    Nop Class::Opaque, ["nop"], "nothing: the argument is not read";
    Auto Class::Unstated, ["auto"], "what the tracepoint or probe describes";
}

impl ArgType {
    /// The type of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|ty| ty.names().contains(&name))
    }

    /// The name that it is known by.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.names().first().copied().unwrap_or_default()
    }

    /// The smallest and the largest number that it can be.
    #[must_use]
    pub const fn bounds(self) -> Option<(i128, i128)> {
        match self.class() {
            Class::Number { bits, signed: true } => Some((-(1 << (bits - 1)), (1 << (bits - 1)) - 1)),
            Class::Number { bits, signed: false } => Some((0, (1 << bits) - 1)),
            Class::Syscall => Some((0, u32::MAX as i128)),
            Class::Capability => Some((0, crate::language::LAST_CAPABILITY as i128)),
            Class::Capabilities => Some((0, u64::MAX as i128)),
            _ => None,
        }
    }

    /// The number that `stored` (sign-extended to 64 bits) stands for.
    #[must_use]
    pub const fn number(self, stored: u64) -> i128 {
        match self.class() {
            Class::Number { signed: true, .. } => stored.cast_signed() as i128,
            _ => stored as i128,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_the_api_is_known() {
        let named: usize = ArgType::ALL.iter().map(|ty| ty.names().len()).sum();
        assert_eq!((named, stockade_crds::spec::args::ARG_TYPES.len()), (52, 52));
        for name in stockade_crds::spec::args::ARG_TYPES {
            assert!(ArgType::named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn bounds_are_those_of_the_bits() {
        assert_eq!(ArgType::Int8.bounds(), Some((-128, 127)));
        assert_eq!(ArgType::SizeT.bounds(), Some((0, u64::MAX.into())));
        assert_eq!(ArgType::Int64.bounds(), Some((i64::MIN.into(), i64::MAX.into())));
        assert_eq!(ArgType::Int.number(u64::MAX), -1);
    }
}
