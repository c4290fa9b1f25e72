//! `bpf(2)`, `perf_event_open(2)` and the two ioctls of it: what aya lacks or hides.
//!
//! With `probe`, the only files of the host side with `unsafe` in them. Each call hands the kernel an attribute block that lives on this
//! stack frame, and pointers to slices whose lengths [`crate::map::Map`] has checked against the map's own sizes.
#![allow(unsafe_code, reason = "system calls; each use carries its argument")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Commands of `bpf(2)` used here.
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    ProgTestRun = 10,
    ProgNextId = 11,
    MapNextId = 12,
    InfoByFd = 15,
    RawTracepointOpen = 17,
    MapFreeze = 22,
    MapUpdateBatch = 26,
    LinkCreate = 28,
    LinkNextId = 31,
    IterCreate = 33,
}

/// Size of every attribute block: what Linux 5.10 knows or less; the kernel checks that what it does not know is zero.
const ATTR: usize = 128;

/// An attribute block, filled field by field at the offsets of `union bpf_attr`.
#[repr(C, align(8))]
struct Attr([u8; ATTR]);

impl Attr {
    fn new() -> Self {
        Self([0; ATTR])
    }

    fn u32(mut self, offset: usize, value: u32) -> Self {
        if let Some(place) = self.0.get_mut(offset..offset + 4) {
            place.copy_from_slice(&value.to_ne_bytes());
        }
        self
    }

    fn u64(mut self, offset: usize, value: u64) -> Self {
        if let Some(place) = self.0.get_mut(offset..offset + 8) {
            place.copy_from_slice(&value.to_ne_bytes());
        }
        self
    }

    fn fd(self, offset: usize, fd: BorrowedFd<'_>) -> Self {
        self.u32(offset, fd.as_raw_fd().cast_unsigned())
    }

    fn name(mut self, offset: usize, name: &str) -> Self {
        // 15 bytes and a NUL; the kernel takes letters, digits, `_` and `.`.
        for (place, byte) in self.0.iter_mut().skip(offset).zip(name.bytes().take(15)) {
            *place = if byte.is_ascii_alphanumeric() || byte == b'_' { byte } else { b'_' };
        }
        self
    }

    fn get_u32(&self, offset: usize) -> u32 {
        self.0.get(offset..offset + 4).and_then(|b| u32::read_from_bytes(b).ok()).unwrap_or_default()
    }
}

/// A pointer through which the kernel reads.
fn pointer<T: ?Sized>(place: &T) -> u64 {
    std::ptr::from_ref(place).cast::<u8>().expose_provenance() as u64
}

/// A pointer through which the kernel writes; exposes the provenance, so that the write is not unknown to the compiler.
fn pointer_mut(place: &mut [u8]) -> u64 {
    place.as_mut_ptr().expose_provenance() as u64
}

fn bpf(command: Command, attr: &mut Attr, size: usize) -> io::Result<i64> {
    loop {
        // SAFETY: `attr` is `size <= ATTR` initialised bytes that outlive the call; pointers inside it were made from
        // slices that the callers borrow across this call and whose lengths they state in the block (or, for map
        // elements, that `Map` has compared with the map's sizes).
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_long, attr.0.as_mut_ptr(), size as libc::c_long) };
        if result >= 0 {
            return Ok(result);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn owned(fd: i64) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What a map is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// `BPF_MAP_TYPE_*`.
    pub kind: u32,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// Elements.
    pub entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
}

/// What the kernel says of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapInfo {
    /// Its id.
    pub id: u32,
    /// What it is made of.
    pub shape: Shape,
}

/// What the kernel says of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProgInfo {
    /// Its id.
    pub id: u32,
    /// `BPF_PROG_TYPE_*`.
    pub kind: u32,
    /// The kernel's hash of its instructions (of no data).
    pub tag: [u8; 8],
    /// Times that it did not run because it was running already; 0 where the kernel does not count them.
    pub recursion_misses: u64,
    /// Instructions the verifier looked at; 0 before Linux 5.16.
    pub verified_instructions: u32,
    /// Bytes of translated instructions.
    pub translated_bytes: u32,
}

/// What the kernel says of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkInfo {
    /// Its id.
    pub id: u32,
    /// The program it runs.
    pub program: u32,
}

/// Creates a map; `inner` is the pattern of the maps that a map of maps holds.
pub fn map_create(name: &str, shape: Shape, inner: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    let mut attr = Attr::new()
        .u32(0, shape.kind)
        .u32(4, shape.key)
        .u32(8, shape.value)
        .u32(12, shape.entries)
        .u32(16, shape.flags)
        .name(28, name);
    if let Some(inner) = inner {
        attr = attr.fd(20, inner);
    }
    owned(bpf(Command::MapCreate, &mut attr, 48)?)
}

fn element(map: BorrowedFd<'_>, key: &[u8]) -> Attr {
    Attr::new().fd(0, map).u64(8, pointer(key))
}

/// Reads an element. The caller has made sure that `key` and `value` have the map's sizes.
pub(crate) fn map_lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    bpf(Command::MapLookup, &mut element(map, key).u64(16, pointer_mut(value)), 32).map(drop)
}

/// Writes an element. The caller has made sure that `key` and `value` have the map's sizes.
pub(crate) fn map_update(map: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> io::Result<()> {
    bpf(Command::MapUpdate, &mut element(map, key).u64(16, pointer(value)).u64(24, flags), 32).map(drop)
}

/// Writes `count` elements. The caller has made sure that the slices hold that many of the map's keys and values.
pub(crate) fn map_update_batch(map: BorrowedFd<'_>, keys: &[u8], values: &[u8], count: u32) -> io::Result<u32> {
    let mut attr = Attr::new().u64(16, pointer(keys)).u64(24, pointer(values)).u32(32, count).fd(36, map);
    bpf(Command::MapUpdateBatch, &mut attr, 56)?;
    Ok(attr.get_u32(32))
}

/// Deletes an element. The caller has made sure that `key` has the map's size.
pub(crate) fn map_delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    bpf(Command::MapDelete, &mut element(map, key), 32).map(drop)
}

/// The key after `key`, or the first. The caller has made sure that both have the map's size.
pub(crate) fn map_next_key(map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<()> {
    let attr = Attr::new().fd(0, map).u64(8, key.map_or(0, pointer));
    bpf(Command::MapNextKey, &mut attr.u64(16, pointer_mut(next)), 32).map(drop)
}

/// Makes a map read-only for user space.
pub fn map_freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    bpf(Command::MapFreeze, &mut Attr::new().fd(0, map), 4).map(drop)
}

/// Pins a map, program or link.
pub fn obj_pin(object: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    bpf(Command::ObjPin, &mut Attr::new().u64(0, path.as_ptr().expose_provenance() as u64).fd(8, object), 16).map(drop)
}

/// Opens what is pinned at `path`.
pub fn obj_get(path: &CStr) -> io::Result<OwnedFd> {
    owned(bpf(Command::ObjGet, &mut Attr::new().u64(0, path.as_ptr().expose_provenance() as u64), 16)?)
}

/// Attaches an LSM, raw or BTF tracepoint, or fentry program: the way that 5.10 has too.
pub fn raw_tracepoint_open(program: BorrowedFd<'_>, name: Option<&CStr>) -> io::Result<OwnedFd> {
    let name = name.map_or(0, |name| name.as_ptr().expose_provenance() as u64);
    owned(bpf(Command::RawTracepointOpen, &mut Attr::new().u64(0, name).fd(8, program), 16)?)
}

/// Attaches a program to a perf event (`BPF_PERF_EVENT` link, from 5.15 on).
pub fn link_create_perf(program: BorrowedFd<'_>, event: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const BPF_PERF_EVENT: u32 = 41;
    owned(bpf(Command::LinkCreate, &mut Attr::new().fd(0, program).fd(4, event).u32(8, BPF_PERF_EVENT), 64)?)
}

/// Attaches a program to one function through kprobe-multi.
pub fn link_create_kprobe_multi(program: BorrowedFd<'_>, function: &CStr, returns: bool) -> io::Result<OwnedFd> {
    const BPF_TRACE_KPROBE_MULTI: u32 = 42;
    let symbols = [function.as_ptr().expose_provenance() as u64];
    let mut attr = Attr::new()
        .fd(0, program)
        .u32(8, BPF_TRACE_KPROBE_MULTI)
        .u32(16, u32::from(returns))
        .u32(20, 1)
        .u64(24, pointer(&symbols));
    owned(bpf(Command::LinkCreate, &mut attr, 64)?)
}

/// A link of an iterator program.
pub fn link_create_iter(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const BPF_TRACE_ITER: u32 = 28;
    owned(bpf(Command::LinkCreate, &mut Attr::new().fd(0, program).u32(8, BPF_TRACE_ITER), 64)?)
}

/// A file that runs the iterator of `link` when it is read.
pub fn iter_create(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    owned(bpf(Command::IterCreate, &mut Attr::new().fd(0, link), 8)?)
}

fn info(fd: BorrowedFd<'_>, place: &mut [u8]) -> io::Result<()> {
    let length = u32::try_from(place.len()).unwrap_or(0);
    let mut attr = Attr::new().fd(0, fd).u32(4, length).u64(8, pointer_mut(place));
    bpf(Command::InfoByFd, &mut attr, 16).map(drop)
}

/// What kinds of object the kernel numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// Programs.
    Program,
    /// Maps.
    Map,
    /// Links.
    Link,
}

/// How many objects of a kind the kernel has; needs CAP_SYS_ADMIN.
pub fn count_objects(kind: ObjectKind) -> io::Result<usize> {
    let command = match kind {
        ObjectKind::Program => Command::ProgNextId,
        ObjectKind::Map => Command::MapNextId,
        ObjectKind::Link => Command::LinkNextId,
    };
    let (mut id, mut count) = (0, 0);
    loop {
        let mut attr = Attr::new().u32(0, id);
        match bpf(command, &mut attr, 12) {
            Ok(_) => id = attr.get_u32(4),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(count),
            Err(error) => return Err(error),
        }
        count += 1;
    }
}

fn word(bytes: &[u8], offset: usize) -> u32 {
    bytes.get(offset..offset + 4).and_then(|b| u32::read_from_bytes(b).ok()).unwrap_or_default()
}

fn long(bytes: &[u8], offset: usize) -> u64 {
    bytes.get(offset..offset + 8).and_then(|b| u64::read_from_bytes(b).ok()).unwrap_or_default()
}

/// Asks the kernel about a map.
pub fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut bytes = [0; 88];
    info(map, &mut bytes)?;
    let shape = Shape {
        kind: word(&bytes, 0),
        key: word(&bytes, 8),
        value: word(&bytes, 12),
        entries: word(&bytes, 16),
        flags: word(&bytes, 20),
    };
    Ok(MapInfo { id: word(&bytes, 4), shape })
}

/// Asks the kernel about a program.
pub fn prog_info(program: BorrowedFd<'_>) -> io::Result<ProgInfo> {
    let mut bytes = [0; 224];
    info(program, &mut bytes)?;
    let mut tag = [0; 8];
    if let Some(place) = bytes.get(8..16) {
        tag.copy_from_slice(place);
    }
    Ok(ProgInfo {
        id: word(&bytes, 4),
        kind: word(&bytes, 0),
        tag,
        translated_bytes: word(&bytes, 20),
        recursion_misses: long(&bytes, 208),
        verified_instructions: word(&bytes, 216),
    })
}

/// Asks the kernel about a link.
pub fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut bytes = [0; 16];
    info(link, &mut bytes)?;
    Ok(LinkInfo { id: word(&bytes, 4), program: word(&bytes, 8) })
}

/// A program of raw instructions, for asking what the kernel has and not for enforcing.
#[derive(Debug, Clone, Copy)]
pub struct ProbeProgram<'a> {
    /// `BPF_PROG_TYPE_*`.
    pub kind: u32,
    /// `BPF_*` attach type, 0 where the kind has none.
    pub attach_type: u32,
    /// The function it is for, in the kernel's BTF; 0 where the kind needs none.
    pub attach_btf_id: u32,
    /// Its instructions.
    pub instructions: &'a [u64],
}

/// Loads such a program.
pub fn load_probe_program(program: &ProbeProgram<'_>) -> io::Result<OwnedFd> {
    let count = u32::try_from(program.instructions.len()).unwrap_or(0);
    let mut attr = Attr::new()
        .u32(0, program.kind)
        .u32(4, count)
        .u64(8, pointer(program.instructions))
        .u64(16, c"GPL".as_ptr().expose_provenance() as u64)
        .u32(68, program.attach_type)
        .u32(108, program.attach_btf_id);
    owned(bpf(Command::ProgLoad, &mut attr, 120)?)
}

/// Runs a program once with `context` as its arguments (LSM and tracing programs ignore it on most kernels).
pub fn prog_test_run(program: BorrowedFd<'_>, context: &[u8]) -> io::Result<u32> {
    let length = u32::try_from(context.len()).unwrap_or(0);
    let mut attr = Attr::new().fd(0, program).u32(40, length).u64(48, pointer(context));
    bpf(Command::ProgTestRun, &mut attr, 80)?;
    Ok(attr.get_u32(4))
}

/// The first version of `struct perf_event_attr` that has everything a probe needs.
#[derive(IntoBytes, FromBytes, Immutable, KnownLayout, Default)]
#[repr(C)]
struct PerfAttr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    config1: u64,
    config2: u64,
}

fn perf_event_open(attr: &PerfAttr) -> io::Result<OwnedFd> {
    const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
    // Any process, on CPU 0: probes and tracepoints with a program fire on every CPU whatever is said here.
    // SAFETY: `attr` is an initialised block of the size it states and outlives the call.
    let fd =
        unsafe { libc::syscall(libc::SYS_perf_event_open, std::ptr::from_ref(attr), -1, 0, -1, PERF_FLAG_FD_CLOEXEC) };
    if fd < 0 { Err(io::Error::last_os_error()) } else { owned(fd) }
}

/// A perf event for a kprobe (or kretprobe) on `function`; `kind` is the number in
/// `/sys/bus/event_source/devices/kprobe/type`.
pub fn perf_kprobe(kind: u32, function: &CStr, returns: bool) -> io::Result<OwnedFd> {
    perf_event_open(&PerfAttr {
        kind,
        size: u32::try_from(size_of::<PerfAttr>()).unwrap_or(0),
        config: u64::from(returns),
        config1: function.as_ptr().expose_provenance() as u64,
        ..PerfAttr::default()
    })
}

/// A perf event for a uprobe at `offset` of the file at `path`; `kind` is the number in
/// `/sys/bus/event_source/devices/uprobe/type`, `counter` where in the file the program's own counter of probes is, or 0.
pub fn perf_uprobe(kind: u32, path: &CStr, offset: u64, counter: u32) -> io::Result<OwnedFd> {
    perf_event_open(&PerfAttr {
        kind,
        size: u32::try_from(size_of::<PerfAttr>()).unwrap_or(0),
        config: u64::from(counter) << 32,
        config1: path.as_ptr().expose_provenance() as u64,
        config2: offset,
        ..PerfAttr::default()
    })
}

/// A perf event for the tracepoint with this id.
pub fn perf_tracepoint(id: u64) -> io::Result<OwnedFd> {
    const PERF_TYPE_TRACEPOINT: u32 = 2;
    perf_event_open(&PerfAttr {
        kind: PERF_TYPE_TRACEPOINT,
        size: u32::try_from(size_of::<PerfAttr>()).unwrap_or(0),
        config: id,
        ..PerfAttr::default()
    })
}

/// Runs `program` at each event and switches it on: what kernels before 5.15 have instead of a perf link.
pub fn perf_set_program(event: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    const PERF_EVENT_IOC_SET_BPF: libc::c_ulong = 0x4004_2408;
    // SAFETY: the argument of this ioctl is the descriptor itself, by value.
    if unsafe { libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_SET_BPF, program.as_raw_fd()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    perf_enable(event)
}

/// Switches a perf event on.
pub fn perf_enable(event: BorrowedFd<'_>) -> io::Result<()> {
    const PERF_EVENT_IOC_ENABLE: libc::c_ulong = 0x2400;
    // SAFETY: this ioctl takes no pointer.
    if unsafe { libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_ENABLE, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// `uname -r` and `uname -m`.
pub fn release_and_machine() -> (String, String) {
    // SAFETY: an all-zero `utsname` is valid, and uname fills it with NUL-terminated strings.
    let names = unsafe {
        let mut names: libc::utsname = std::mem::zeroed();
        libc::uname(&raw mut names);
        names
    };
    let text = |field: &[libc::c_char]| {
        let bytes: Vec<u8> = field.iter().map(|c| c.cast_unsigned()).take_while(|byte| *byte != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    (text(&names.release), text(&names.machine))
}

/// Whether `path` is on a file system with this magic number.
pub fn file_system_is(path: &CStr, magic: i64) -> bool {
    // SAFETY: an all-zero `statfs` is valid, and the path is NUL-terminated.
    unsafe {
        let mut stat: libc::statfs = std::mem::zeroed();
        libc::statfs(path.as_ptr(), &raw mut stat) == 0 && stat.f_type as i64 == magic
    }
}

/// Takes the lock of a file; `false` when another process has it. Released by the kernel when the file is closed, however
/// the process ends.
pub fn lock_exclusively(file: &std::fs::File) -> io::Result<bool> {
    // SAFETY: flock takes no pointer.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock { Ok(false) } else { Err(error) }
}

/// Lifts the limit of locked memory, to which kernels before 5.11 charge maps; `false` when that is not allowed.
pub fn lift_locked_memory_limit() -> bool {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the structure is initialised and outlives the call.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) == 0 }
}

/// Sets the nice value of the calling thread; used around bursts of map writes.
pub fn set_thread_nice(nice: i32) -> bool {
    // SAFETY: setpriority takes no pointer; 0 is the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) == 0 }
}
