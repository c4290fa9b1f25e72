//! Process tracking: records made at fork, replaced at exec, removed with the task. LSM hooks, because no other kind of
//! program sees every call.

use crate::argument::Source;
use crate::cgroup::{self, Scope};
use crate::emit;
use crate::executable;
use crate::identity;
use crate::lsm::Arguments;
use crate::map::{EVENTS, MARK_CHANGES, PROCESSES, address, count, find, store};
use crate::path::{self, Built};
use crate::read::{self, at, pointer, value};
use crate::rodata::kernel;
use crate::scratch::{ARGS, Scratch, Space, give, take};
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_boot_ns, bpf_map_delete_elem, bpf_probe_read_user, bpf_ringbuf_reserve, bpf_ringbuf_submit,
};
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use core::ffi::c_void;
use core::ptr::{read_volatile, write_volatile};
use stockade_enforcer_common::counter::Place;
use stockade_enforcer_common::dimension::{BINARY_EXACT, BINARY_POSTFIX, BINARY_PREFIX};
use stockade_enforcer_common::event::{
    EXEC_ARGS_CUT, EXEC_FORKED, EXEC_FOUND, EXEC_KERNEL, EXEC_PATH_UNKNOWN, ExecEvent, ExitEvent, event_kind,
};
use stockade_enforcer_common::process::{
    BinaryIds, MAX_PATH, MarkChange, PROCESS_BINARY_UNKNOWN, PROCESS_FORKED, PROCESS_FOUND, PROCESS_KERNEL,
    PROCESS_LINEAGE_UNKNOWN, ProcessId, ProcessRecord,
};
use stockade_enforcer_common::verifier::opaque;

const CLONE_THREAD: u64 = 0x0001_0000;
const PF_KTHREAD: u32 = 0x0020_0000;
const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;
/// The error of an event that was lost because no space was free to write it in.
const EBUSY: i64 = -16;
/// Bytes of arguments in an exec event.
const EXEC_ARGS: u64 = 1024;

/// A fork: the child has its parent's facts before anybody can see it.
#[lsm(hook = "task_alloc")]
#[inline(always)]
pub(crate) fn task_alloc(context: LsmContext) -> i32 {
    let arguments = Arguments(context.as_ptr());
    let (child, flags) = (arguments.argument(0).unwrap_or_default(), arguments.argument(1).unwrap_or_default());
    if flags & CLONE_THREAD == 0 {
        fork(child);
    }
    0
}

#[inline(always)]
fn fork(child: u64) {
    let (_, leader) = read::current();
    let parent = identity::record(leader);
    if parent.is_null() {
        count(Place::ProcessMissing, 0);
        return;
    }
    identity::name_process(parent);
    // SAFETY: values of the map; the child's is nobody else's yet.
    unsafe {
        let error = store(address(&PROCESSES), &raw const child, parent.cast(), BPF_ANY);
        if error != 0 {
            count(Place::ProcessFull, error);
            return;
        }
        let Some(record) = identity::record(child).as_mut() else { return };
        copy_id(&raw const (*parent).id, &raw mut record.parent);
        copy_id(&raw const (*parent).image, &raw mut record.parent_image);
        record.id = ProcessId { start_ns: bpf_ktime_get_boot_ns(), tgid: 0, reserved: 0 };
        record.own_tgid = 0;
        record.flags =
            record.flags & (PROCESS_BINARY_UNKNOWN | PROCESS_LINEAGE_UNKNOWN | PROCESS_KERNEL) | PROCESS_FORKED;
    }
}

/// Word by word: the compiler's way is a call, which the verifier follows byte by byte.
#[inline(always)]
unsafe fn copy_id(from: *const ProcessId, to: *mut ProcessId) {
    let (from, to) = (from.cast::<u64>(), to.cast::<u64>());
    // SAFETY: as the caller's: both are 16 bytes, aligned to 8.
    unsafe {
        write_volatile(to, read_volatile(from));
        write_volatile(to.add(1), read_volatile(from.add(1)));
    }
}

/// The end of a task. Threads have no records; a leader that another thread has replaced ends without notice.
#[lsm(hook = "task_free")]
#[inline(always)]
pub(crate) fn task_free(context: LsmContext) -> i32 {
    let task = Arguments(context.as_ptr()).argument(0).unwrap_or_default();
    let record = identity::record(task);
    if !record.is_null() {
        let (pid, tgid): (u32, u32) = (
            value(at(task, kernel!(task_pid))).unwrap_or_default(),
            value(at(task, kernel!(task_tgid))).unwrap_or_default(),
        );
        if pid == tgid {
            exit(task, record, tgid);
        }
        // SAFETY: the key is the record's.
        unsafe { bpf_map_delete_elem(address(&PROCESSES), (&raw const task).cast_mut().cast()) };
    }
    0
}

#[inline(always)]
fn exit(task: u64, record: *mut ProcessRecord, tgid: u32) {
    // SAFETY: the entry is written whole and submitted; the record is a map's value.
    unsafe {
        let entry = bpf_ringbuf_reserve(address(&EVENTS), size_of::<ExitEvent>() as u64, 0).cast::<ExitEvent>();
        if entry.is_null() {
            count(Place::EventLost, -28);
            return;
        }
        *entry = ExitEvent {
            header: emit::header(event_kind::EXIT, 0, size_of::<ExitEvent>() as u32),
            process: ProcessId { tgid, ..(*record).id },
            image: (*record).image,
            parent: (*record).parent,
            cgroup: (*record).cgroup,
            code: value(at(task, kernel!(task_exit_code))).unwrap_or_default(),
            reserved: 0,
        };
        bpf_ringbuf_submit(entry.cast(), 0);
    }
}

/// Before an exec: a thread that is not the leader becomes it, and its record must be there then.
#[lsm(hook = "bprm_creds_for_exec")]
#[inline(always)]
pub(crate) fn bprm_creds_for_exec(_context: LsmContext) -> i32 {
    let (task, leader) = read::current();
    if task != leader {
        let record = identity::record(leader);
        if !record.is_null() {
            // SAFETY: the record is a map's value.
            let error = unsafe { store(address(&PROCESSES), &raw const task, record.cast(), BPF_ANY) };
            if error != 0 {
                count(Place::ProcessFull, error);
            }
        }
    }
    0
}

/// An exec that has succeeded.
#[lsm(hook = "bprm_committed_creds")]
#[inline(always)]
pub(crate) fn bprm_committed(context: LsmContext) -> i32 {
    let (task, leader) = read::current();
    match take() {
        Some(space) => {
            let bprm = Arguments(context.as_ptr()).argument(0).unwrap_or_default();
            exec(space, task, leader, bprm);
            give(space);
        }
        None => exec_unseen(task, leader),
    }
    0
}

#[inline(always)]
fn exec(space: Space, task: u64, leader: u64, bprm: u64) {
    let scratch = space.scratch;
    let record = identity::record(leader);
    let record = if record.is_null() { adopt(scratch, leader) } else { record };
    if record.is_null() {
        return;
    }
    let path = match executable::path_of(bprm) {
        Some(path) => path::build(space, path, false),
        None => Built::NONE,
    };
    let binary = executable::store_path(space, path);
    // SAFETY: a map's value; nobody but this task, now alone in its process, uses it.
    let record = unsafe { &mut *record };
    let previous = renew(record, task, binary != 0);
    set_binary(record, scratch, binary);
    let mut event = describe(record, previous);
    let path_length = put_path(scratch, path);
    let (argc, args_length, cut) = put_args(scratch, bprm, path_length);
    event.argc = argc;
    event.path_length = path_length as u16;
    event.args_length = args_length as u16;
    let flags = if cut { EXEC_ARGS_CUT } else { 0 } | if path_length == 0 { EXEC_PATH_UNKNOWN } else { 0 };
    finish(space, event, flags, path_length + args_length);
}

/// An exec for which no space was free: of the record all is kept that needs none, so that what is not known is known to be
/// unknown.
#[inline(always)]
fn exec_unseen(task: u64, leader: u64) {
    count(Place::EventLost, EBUSY);
    // SAFETY: a map's value or null; nobody but this task, now alone in its process, uses it.
    if let Some(record) = unsafe { identity::record(leader).as_mut() } {
        renew(record, task, false);
        set_binary(record, core::ptr::null_mut(), 0);
    }
}

/// Makes of a record that of another image; returns who the process was.
#[inline(always)]
fn renew(record: &mut ProcessRecord, task: u64, binary_known: bool) -> ProcessId {
    identity::name_process(record);
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let previous = ProcessId { tgid, ..record.id };
    // SAFETY: no arguments.
    record.id = ProcessId { start_ns: unsafe { bpf_ktime_get_boot_ns() }, tgid, reserved: 0 };
    record.image = record.id;
    record.flags = record.flags & PROCESS_LINEAGE_UNKNOWN
        | if binary_known { 0 } else { PROCESS_BINARY_UNKNOWN | PROCESS_LINEAGE_UNKNOWN };
    enter(record, task);
    credentials(record, task);
    previous
}

/// A record for a process that had none.
#[inline(always)]
fn adopt(scratch: *mut Scratch, leader: u64) -> *mut ProcessRecord {
    count(Place::ProcessMissing, 0);
    let empty = empty_record(scratch);
    // SAFETY: the value is a record.
    let error = unsafe { store(address(&PROCESSES), &raw const leader, empty.cast(), BPF_NOEXIST) };
    if error != 0 {
        count(Place::ProcessFull, error);
    }
    identity::record(leader)
}

/// An empty record in the scratch. Word by word: the compiler's way is a call, which the verifier follows byte by byte.
#[inline(always)]
fn empty_record(scratch: *mut Scratch) -> *mut ProcessRecord {
    // SAFETY: inside the scratch.
    unsafe {
        let record = &raw mut (*scratch).record;
        for word in 0..size_of::<ProcessRecord>() / 8 {
            write_volatile(record.cast::<u64>().add(word), 0);
        }
        record
    }
}

/// The scope of an exec: that of the cgroup it happens in. A process that has left its container's stays in scope.
#[inline(always)]
fn enter(record: &mut ProcessRecord, task: u64) {
    let Some(scope) = cgroup::scope(task) else {
        count(Place::CgroupUnreadable, 0);
        return;
    };
    let Scope { cgroup, registered, class } = scope;
    if registered != 0 || record.scope_cgroup == 0 {
        record.cgroup = cgroup;
        record.scope_cgroup = registered;
        record.scope = identity::packed(identity::shared().scope_epoch, class);
    }
}

#[inline(always)]
fn credentials(record: &mut ProcessRecord, task: u64) {
    if let Some(cred) = pointer(at(task, kernel!(task_cred))) {
        record.uid = value(at(cred, kernel!(cred_euid))).unwrap_or_default();
        record.gid = value(at(cred, kernel!(cred_egid))).unwrap_or_default();
    }
    record.own_tgid = identity::own_tgid(task).unwrap_or_default();
}

/// The executable, what is listed of it, and the marks that it sets.
#[inline(always)]
fn set_binary(record: &mut ProcessRecord, scratch: *mut Scratch, binary: u64) {
    record.binary = binary;
    let none = BinaryIds::default();
    let ids = (&raw mut record.binary_ids).cast::<BinaryIds>();
    // SAFETY: two places in the record; the row in the scratch is what has been stored.
    unsafe {
        executable::cache(ids, &none);
        executable::cache(ids.add(1), &none);
        let shared = identity::shared();
        if binary == 0 || shared.binary_generation == 0 {
            return;
        }
        let slot = shared.binary_slot & 1;
        let found = executable::look_up(&raw const (*scratch).binary, shared.binary_generation, slot);
        executable::cache(ids.add(slot as usize), &found);
        identity::mark(record, BINARY_EXACT, found.exact);
        identity::mark(record, BINARY_PREFIX, found.prefix);
        identity::mark(record, BINARY_POSTFIX, found.postfix);
    }
}

#[inline(always)]
fn describe(record: &ProcessRecord, previous: ProcessId) -> ExecEvent {
    ExecEvent {
        process: record.id,
        previous,
        parent: record.parent,
        parent_image: record.parent_image,
        cgroup: record.cgroup,
        scope_cgroup: record.scope_cgroup,
        binary: record.binary,
        uid: record.uid,
        gid: record.gid,
        class: record.scope as u32,
        own_tgid: record.own_tgid,
        ..ExecEvent::default()
    }
}

/// Copies the path to where the event's variable part begins.
#[inline(always)]
fn put_path(scratch: *mut Scratch, path: Built) -> u64 {
    // SAFETY: inside the scratch.
    let copied = unsafe {
        read::copy((&raw mut (*scratch).args).cast(), MAX_PATH as u64, path::bytes(scratch, path), path.length)
    };
    if copied { path.length } else { 0 }
}

/// Copies the arguments behind the path. They lie on the new stack, the environment and the file's name after them.
/// Returns how many there are, how many bytes were copied, and whether that is not all.
#[inline(always)]
fn put_args(scratch: *mut Scratch, bprm: u64, after: u64) -> (u32, u64, bool) {
    let (Some(begin), Some(end), Some(argc)) = (
        pointer(at(bprm, kernel!(bprm_p))),
        pointer(at(bprm, kernel!(bprm_exec))),
        value::<u32>(at(bprm, kernel!(bprm_argc))),
    ) else {
        return (0, 0, true);
    };
    let there = end.wrapping_sub(begin);
    let (after, length) = (opaque(after), opaque(if there > EXEC_ARGS { EXEC_ARGS } else { there }));
    if after > MAX_PATH as u64 || length > EXEC_ARGS {
        return (argc, 0, true);
    }
    // SAFETY: inside the scratch.
    let error = unsafe {
        let to = (&raw mut (*scratch).args).cast::<u8>().add(after as usize);
        bpf_probe_read_user(to.cast(), length as u32, begin as *const c_void)
    };
    if error != 0 {
        count(Place::ExecArguments, error);
        return (argc, 0, true);
    }
    (argc, length, there > EXEC_ARGS)
}

#[inline(always)]
fn finish(space: Space, mut event: ExecEvent, flags: u16, variable: u64) {
    let fixed = size_of::<ExecEvent>() as u64;
    if variable > ARGS as u64 {
        return;
    }
    event.header = emit::header(event_kind::EXEC, flags, (fixed + variable) as u32);
    // SAFETY: the front has room for it.
    unsafe { *(&raw mut (*space.scratch).args).cast::<ExecEvent>().sub(1) = event }
    emit::send(space, fixed, fixed + variable);
}

/// A process that is older than the agent. Run by user space once the hooks above are on.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn find_processes(context: *mut c_void) -> i32 {
    let task = Arguments(context).argument(1).unwrap_or_default();
    if task == 0 {
        return 0;
    }
    let leader = pointer(at(task, kernel!(task_group_leader))).unwrap_or_default();
    if leader != task || !identity::record(task).is_null() {
        return 0;
    }
    // The kernel asks again for a 1.
    let Some(space) = take() else { return 1 };
    found(space, task);
    give(space);
    0
}

#[inline(always)]
fn found(space: Space, task: u64) {
    let scratch = space.scratch;
    // SAFETY: the space is this run's alone.
    let record = unsafe { &mut *empty_record(scratch) };
    record.id = process_id(task);
    record.image = record.id;
    if let Some(parent) =
        pointer(at(task, kernel!(task_real_parent))).and_then(|parent| pointer(at(parent, kernel!(task_group_leader))))
    {
        record.parent = process_id(parent);
        record.parent_image = record.parent;
    }
    record.flags = PROCESS_FOUND;
    if let Some(scope) = cgroup::scope(task) {
        record.cgroup = scope.cgroup;
        record.scope_cgroup = scope.registered;
        record.scope = identity::packed(identity::shared().scope_epoch, scope.class);
    }
    credentials(record, task);
    let mut flags = EXEC_FOUND;
    let kernel_thread = value::<u32>(at(task, kernel!(task_flags))).unwrap_or_default() & PF_KTHREAD != 0;
    let mut path = Built::NONE;
    if kernel_thread {
        record.flags |= PROCESS_KERNEL;
        flags |= EXEC_KERNEL;
    } else if let Some(file) = pointer(at(task, kernel!(task_mm))).and_then(|mm| pointer(at(mm, kernel!(mm_exe_file))))
    {
        path = path::build(space, at(file, kernel!(file_path)), false);
    }
    let binary = executable::store_path(space, path);
    if binary == 0 {
        record.flags |= PROCESS_BINARY_UNKNOWN;
        // A kernel thread has not executed anything.
        if !kernel_thread {
            record.flags |= PROCESS_LINEAGE_UNKNOWN;
        }
    }
    set_binary(record, scratch, binary);
    // SAFETY: the value is a record.
    let error = unsafe {
        store(address(&PROCESSES), &raw const task, core::ptr::from_mut(record).cast_const().cast(), BPF_NOEXIST)
    };
    if error != 0 {
        // A fork that copied its parent's came first: nothing is lost.
        if error != -17 {
            count(Place::ProcessFull, error);
        }
        return;
    }
    let mut event = describe(record, record.id);
    let length = put_path(scratch, path);
    event.path_length = length as u16;
    if length == 0 && !kernel_thread {
        flags |= EXEC_PATH_UNKNOWN;
    }
    finish(space, event, flags & !EXEC_FORKED, length);
}

#[inline(always)]
fn process_id(task: u64) -> ProcessId {
    ProcessId {
        start_ns: value(at(task, kernel!(task_start_boottime))).unwrap_or_default(),
        tgid: value(at(task, kernel!(task_tgid))).unwrap_or_default(),
        reserved: 0,
    }
}

/// Changes the marks of a process that runs. User space has said how, and cannot do it itself: it would write the whole
/// record, and with it take back what the process does meanwhile.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn change_marks(context: *mut c_void) -> i32 {
    let task = Arguments(context).argument(1).unwrap_or_default();
    if task == 0 {
        return 0;
    }
    // SAFETY: the maps' values are changes and records.
    unsafe {
        let change: *mut MarkChange = find(address(&MARK_CHANGES), (&raw const task).cast());
        if let (Some(change), Some(record)) = (change.as_ref(), identity::record(task).as_mut()) {
            let ([low, high], [set_low, set_high], [clear_low, clear_high]) = (record.marks, change.set, change.clear);
            record.marks = [(low | set_low) & !clear_low, (high | set_high) & !clear_high];
            record.flags |= change.flags;
        }
    }
    0
}
