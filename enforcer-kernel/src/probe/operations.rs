//! Operations that a hook sees and that change nothing, whether they are let through or refused.
#![allow(unsafe_code, reason = "system calls; see `process`")]

use std::ffi::CStr;
use std::io;

use crate::instance::Attach;

macro_rules! operations {
    ($($operation:ident: $call:literal, [$($hook:literal in $group:literal),*];)*) => {
        /// A harmless operation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u32)]
        pub(super) enum Operation {
            $($operation,)*
        }

        impl Operation {
            /// All of them.
            pub(super) const ALL: &[Self] = &[$(Self::$operation,)*];

            /// Its system call.
            pub(super) fn call(self) -> &'static str {
                match self { $(Self::$operation => $call,)* }
            }

            /// The LSM hooks that see it, and the group in which each is probed: of those that are in one the first refuses.
            fn hooks(self) -> &'static [(&'static str, u32)] {
                match self { $(Self::$operation => &[$(($hook, $group)),*],)* }
            }
        }
    };
}

operations! {
    Open: "openat", ["file_open" in 0];
    Read: "read", ["file_permission" in 0];
    Map: "mmap", ["mmap_addr" in 1, "mmap_file" in 0];
    Protect: "mprotect", ["file_mprotect" in 0];
    Status: "newfstat", ["inode_getattr" in 0];
    StatusOf: "newfstatat", ["inode_permission" in 3, "inode_follow_link" in 4];
    ReadLink: "readlinkat", ["inode_readlink" in 0];
    FileSystem: "fstatfs", ["sb_statfs" in 0];
    Flags: "fcntl", ["file_fcntl" in 0];
    Waiting: "ioctl", ["file_ioctl" in 0];
    Lock: "flock", ["file_lock" in 0];
    Execute: "execveat", ["bprm_creds_for_exec" in 1, "bprm_check_security" in 2];
    Fork: "fork", ["task_alloc" in 0];
    Group: "getpgid", ["task_getpgid" in 0];
    Session: "getsid", ["task_getsid" in 0];
    JoinGroup: "setpgid", ["task_setpgid" in 0];
    Nice: "setpriority", ["task_setnice" in 0];
    Scheduler: "sched_getscheduler", ["task_getscheduler" in 0];
    SetScheduler: "sched_setscheduler", ["task_setscheduler" in 0];
    Exists: "kill", ["task_kill" in 0];
    Name: "prctl", ["task_prctl" in 0];
    Capabilities: "capget", ["capget" in 0];
    Socket: "socket", ["socket_create" in 0];
    Bind: "bind", ["socket_bind" in 0];
    Connect: "connect", ["socket_connect" in 0];
    Listen: "listen", ["socket_listen" in 0];
    Send: "sendto", ["socket_sendmsg" in 0];
    Receive: "recvfrom", ["socket_recvmsg" in 0];
    LocalName: "getsockname", ["socket_getsockname" in 0];
    SocketOption: "getsockopt", ["socket_getsockopt" in 0];
    Bpf: "bpf", ["bpf" in 0];
}

impl Operation {
    /// The operation that a program at this place sees, and the group in which it is probed.
    pub(super) fn seen_by(attach: &Attach) -> Option<(Self, u32)> {
        let all = || Self::ALL.iter().copied();
        match attach {
            Attach::Lsm(hook) => all().find_map(|operation| {
                let (_, group) = operation.hooks().iter().find(|(name, _)| name == hook)?;
                Some((operation, *group))
            }),
            Attach::Tracepoint { subsystem, event } if subsystem == "syscalls" => {
                let call = event.strip_prefix("sys_enter_").or_else(|| event.strip_prefix("sys_exit_"))?;
                all().find(|operation| operation.call() == call).map(|operation| (operation, 0))
            }
            Attach::Kprobe(function) => {
                let call = function.strip_prefix("__x64_sys_")?;
                all().find(|operation| operation.call() == call).map(|operation| (operation, 0))
            }
            Attach::Tracepoint { .. } | Attach::RawTracepoint(_) | Attach::Fexit(_) | Attach::Uprobe { .. } => None,
        }
    }
}

/// Bytes of a page.
pub(super) const PAGE_LENGTH: usize = 4096;
/// A file and a link that are everywhere.
const LINK: &CStr = c"/proc/self/exe";

/// What operations need, made before the process is in the scope of probes.
pub(super) struct Prepared {
    /// A file that is open for reading.
    file: libc::c_int,
    /// A socket that is connected to nothing.
    socket: libc::c_int,
    /// A file in memory that may be executed and is no program.
    program: libc::c_int,
    /// A page of memory.
    memory: *mut libc::c_void,
}

impl Prepared {
    /// Leaves behind what is the agent's: its descriptors, what it does about signals.
    pub(super) fn make() -> Self {
        touch(LINK);
        // SAFETY: system calls whose pointers are to constants. Nothing here uses a descriptor of the agent's afterwards.
        unsafe {
            libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0);
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                libc::signal(signal, libc::SIG_DFL);
            }
            // Children that are let through are gone at once.
            libc::signal(libc::SIGCHLD, libc::SIG_IGN);
            libc::prctl(libc::PR_SET_NAME, c"stockade-probe".as_ptr());
            let file = libc::open(LINK.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            let socket = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
            let program = libc::memfd_create(c"stockade-probe".as_ptr(), libc::MFD_CLOEXEC);
            libc::write(program, c"no program".as_ptr().cast(), 10);
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let memory = libc::mmap(std::ptr::null_mut(), PAGE_LENGTH, libc::PROT_READ, flags, -1, 0);
            // The agent finds a process by its id, which the record has once the process has forked.
            fork_for_a_moment();
            Self { file, socket, program, memory }
        }
    }
}

/// Brings a constant's page into this process, which does not have it after a fork. The program of a tracepoint reads it
/// before the kernel itself has, cannot wait for it, and would report an argument that it could not read.
fn touch(text: &CStr) {
    for byte in text.to_bytes_with_nul() {
        // SAFETY: a byte of the text.
        unsafe { std::ptr::read_volatile(byte) };
    }
}

/// Forks a process that ends at once; the errno if that is refused.
fn fork_for_a_moment() -> i64 {
    // SAFETY: the child ends at once, without running anything of the agent's.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(0);
        }
        i64::from(child)
    }
}

/// A socket address of the abstract kind to which nobody listens.
fn nowhere() -> (libc::sockaddr_un, libc::socklen_t) {
    const NAME: &[u8] = b"\0stockade-probe-nowhere";
    // SAFETY: zeros are a valid address.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (place, byte) in address.sun_path.iter_mut().zip(NAME) {
        *place = byte.cast_signed();
    }
    let length = size_of::<libc::sa_family_t>() + NAME.len();
    (address, length as libc::socklen_t)
}

/// Does the operation with this number; the errno that it ended with, 0 for success.
pub(super) fn perform(prepared: &Prepared, operation: u32) -> i32 {
    let Some(operation) = Operation::ALL.get(operation as usize) else { return libc::ENOSYS };
    let result = attempt(prepared, *operation);
    if result < 0 { io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) } else { 0 }
}

fn attempt(prepared: &Prepared, operation: Operation) -> i64 {
    let Prepared { file, socket: _, program, memory } = *prepared;
    let null = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: descriptors are this process's own, and pointers are to constants, to this frame or to the prepared page. What
    // is opened is closed, what is mapped is unmapped.
    unsafe {
        match operation {
            Operation::Open => closed(libc::open(LINK.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC)),
            Operation::Read => {
                let mut byte = 0_u8;
                libc::pread(file, (&raw mut byte).cast(), 1, 0) as i64
            }
            Operation::Map => {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                let page = libc::mmap(null, PAGE_LENGTH, libc::PROT_NONE, flags, -1, 0);
                if page == libc::MAP_FAILED { -1 } else { i64::from(libc::munmap(page, PAGE_LENGTH)) }
            }
            Operation::Protect => libc::mprotect(memory, PAGE_LENGTH, libc::PROT_READ).into(),
            Operation::Status => {
                let mut status: libc::stat = std::mem::zeroed();
                libc::syscall(libc::SYS_fstat, file, &raw mut status)
            }
            Operation::StatusOf => {
                let mut status: libc::stat = std::mem::zeroed();
                libc::stat(LINK.as_ptr(), &raw mut status).into()
            }
            Operation::ReadLink => {
                let mut text = [0_u8; 64];
                libc::syscall(libc::SYS_readlinkat, libc::AT_FDCWD, LINK.as_ptr(), text.as_mut_ptr(), text.len())
            }
            Operation::FileSystem => {
                let mut status: libc::statfs = std::mem::zeroed();
                libc::fstatfs(file, &raw mut status).into()
            }
            Operation::Flags => libc::fcntl(file, libc::F_GETFL).into(),
            Operation::Waiting => {
                let mut count: libc::c_int = 0;
                libc::ioctl(file, libc::FIONREAD, &raw mut count).into()
            }
            Operation::Lock => libc::flock(file, libc::LOCK_SH | libc::LOCK_NB).into(),
            Operation::Execute => {
                let none: [*const libc::c_char; 1] = [std::ptr::null()];
                let (path, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
                libc::syscall(libc::SYS_execveat, program, path, none.as_ptr(), none.as_ptr(), flags)
            }
            Operation::Fork => fork_for_a_moment(),
            Operation::Group => libc::getpgid(libc::getpid()).into(),
            Operation::Session => libc::getsid(libc::getpid()).into(),
            Operation::JoinGroup => libc::setpgid(0, 0).into(),
            Operation::Nice => libc::setpriority(libc::PRIO_PROCESS, 0, 0).into(),
            Operation::Scheduler => libc::sched_getscheduler(0).into(),
            Operation::SetScheduler => {
                let parameter: libc::sched_param = std::mem::zeroed();
                libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const parameter).into()
            }
            Operation::Exists => libc::kill(libc::getpid(), 0).into(),
            Operation::Name => libc::prctl(libc::PR_GET_DUMPABLE).into(),
            Operation::Capabilities => {
                // `struct __user_cap_header_struct` of the third version, and its data.
                let mut header = [0x2008_0522_u32, 0];
                let mut data = [0_u32; 6];
                libc::syscall(libc::SYS_capget, header.as_mut_ptr(), data.as_mut_ptr())
            }
            Operation::Bpf => {
                // A command that there is not.
                let attribute = [0_u64; 4];
                libc::syscall(libc::SYS_bpf, 0x7fff, attribute.as_ptr(), size_of_val(&attribute))
            }
            _ => attempt_on_socket(prepared.socket, operation),
        }
    }
}

/// The operations of sockets.
fn attempt_on_socket(socket: libc::c_int, operation: Operation) -> i64 {
    let null = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: as in `attempt`.
    unsafe {
        match operation {
            Operation::Socket => closed(libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0)),
            Operation::Bind | Operation::Connect => {
                let (address, length) = nowhere();
                let address = (&raw const address).cast();
                if operation == Operation::Connect {
                    libc::connect(socket, address, length).into()
                } else {
                    // Of no family: refused by whoever the hooks let it through to.
                    libc::bind(socket, address, 1).into()
                }
            }
            Operation::Listen => libc::listen(socket, 0).into(),
            Operation::Send => libc::send(socket, null, 0, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as i64,
            Operation::Receive => libc::recv(socket, null, 0, libc::MSG_DONTWAIT) as i64,
            Operation::LocalName => {
                let (mut address, mut length) = nowhere();
                libc::getsockname(socket, (&raw mut address).cast(), &raw mut length).into()
            }
            Operation::SocketOption => {
                let (mut kind, mut length): (libc::c_int, libc::socklen_t) = (0, 4);
                let (level, option) = (libc::SOL_SOCKET, libc::SO_TYPE);
                libc::getsockopt(socket, level, option, (&raw mut kind).cast(), &raw mut length).into()
            }
            _ => closed(-1),
        }
    }
}

/// Closes what was opened.
fn closed(descriptor: libc::c_int) -> i64 {
    if descriptor >= 0 {
        // SAFETY: the descriptor is this process's own.
        unsafe { libc::close(descriptor) };
    }
    descriptor.into()
}

#[cfg(test)]
mod tests {
    use stockade_enforcer_common::head::PROBE_CLASSES;

    use super::*;

    #[test]
    fn an_operation_is_found_by_its_hook_and_by_its_system_call() {
        let of = |attach: Attach| Operation::seen_by(&attach);
        let tracepoint =
            |subsystem: &str, event: &str| of(Attach::Tracepoint { subsystem: subsystem.into(), event: event.into() });
        assert_eq!(of(Attach::Lsm("file_open".into())), Some((Operation::Open, 0)));
        assert_eq!(of(Attach::Lsm("bprm_check_security".into())), Some((Operation::Execute, 2)));
        assert_eq!(of(Attach::Lsm("bprm_committed_creds".into())), None);
        assert_eq!(of(Attach::Kprobe("file_open".into())), None);
        assert_eq!(tracepoint("syscalls", "sys_enter_openat"), Some((Operation::Open, 0)));
        assert_eq!(tracepoint("sched", "sys_enter_openat"), None);
        for (at, operation) in Operation::ALL.iter().enumerate() {
            assert_eq!(*operation as usize, at);
            assert!(operation.hooks().iter().all(|(_, group)| *group < PROBE_CLASSES));
        }
    }

    #[test]
    fn the_page_of_hooks_says_which_are_probed_and_by_what() {
        let page = include_str!("../../../docs/hooks.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
        let rows: Vec<(&str, &str)> =
            rows.filter_map(|row| Some((row.split_once('`')?.0, row.rsplit_once(" | ")?.1))).collect();
        for (hook, said) in rows.iter().filter(|(_, said)| said.starts_with('`') || *said == "read back") {
            let probed = Operation::seen_by(&Attach::Lsm((*hook).into()));
            let probed = probed.map_or("read back".to_owned(), |(operation, _)| format!("`{}`", operation.call()));
            assert_eq!(*said, probed, "{hook}");
        }
        for (hook, _) in Operation::ALL.iter().flat_map(|operation| operation.hooks()) {
            assert!(rows.iter().any(|(named, _)| named == hook), "{hook} is not named");
        }
    }
}
