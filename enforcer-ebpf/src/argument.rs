//! An event as the decision asks for it. What is read is put down in the event's own form at once.

use crate::executable;
use crate::identity;
use crate::namespace;
use crate::object::put_object;
use crate::packet::read_packet;
use crate::path;
use crate::read::{at, copy, pointer, value};
use crate::report::put_report;
use crate::rodata::{arg, chain, dimensions, kernel, words};
use crate::scratch::{ARGS, Scratch, Space, of};
use crate::socket;
use crate::table::{LAST_TEXT, Text};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_probe_read_user_str,
};
use core::ffi::c_void;
use core::ptr::{read_volatile, write_volatile};
use stockade_enforcer_common::counter::Place;
use stockade_enforcer_common::decide::{Event, Unreadable};
use stockade_enforcer_common::dimension::{DimensionSet, Facet, argument, contains, intersects};
use stockade_enforcer_common::event::{ArgHeader, CredentialsData, ObjectData, SocketData, arg_status};
use stockade_enforcer_common::plan::{MAX_ARGS, MAX_CHAIN, flag, kind, source};
use stockade_enforcer_common::process::{BinaryIds, Inherited, MAX_PATH, PROCESS_LINEAGE_UNKNOWN, ProcessRecord};
use stockade_enforcer_common::verifier::opaque;

/// Where a hook's arguments come from.
pub(crate) trait Source: Copy {
    /// Argument `index` of the function.
    fn argument(&self, index: u32) -> Option<u64>;
    /// `size` bytes at `offset` in a tracepoint's record.
    #[inline(always)]
    fn field(&self, _offset: u32, _size: u32) -> Option<u64> {
        None
    }
    /// The address of what the `__data_loc` word at `offset` in a tracepoint's record describes.
    #[inline(always)]
    fn located(&self, _offset: u32) -> Option<u64> {
        None
    }
}

/// An event under judgement.
pub(crate) struct Happening<S> {
    pub(crate) source: S,
    pub(crate) space: Space,
    pub(crate) task: u64,
    /// Null: the process has no record.
    pub(crate) record: *mut ProcessRecord,
    pub(crate) class: u32,
}

/// The last offset at which anything but a text begins.
const LAST_FIXED: u64 = (ARGS - size_of::<ArgHeader>() - size_of::<ObjectData>()) as u64;
const _: () = assert!(size_of::<ObjectData>() >= size_of::<CredentialsData>());
/// The most bytes that are read of a buffer: one less than of a path, as of strings.
const MAX_BUFFER: u64 = MAX_PATH as u64 - 1;

/// Puts an argument's header down; returns where its data goes.
#[inline(always)]
pub(crate) fn put(scratch: *mut Scratch, arg: u32, kind: u32, status: u8, length: u64) -> Option<*mut u8> {
    // SAFETY: inside the scratch.
    unsafe {
        let offset = opaque(read_volatile(&raw const (*scratch).cursor));
        if offset > LAST_FIXED {
            return None;
        }
        let place = (&raw mut (*scratch).args).cast::<u8>().add(offset as usize);
        let header = ArgHeader { position: arg as u8, kind: kind as u8, status, reserved: 0, length: length as u32 };
        *place.cast::<ArgHeader>() = header;
        let next = offset + size_of::<ArgHeader>() as u64 + (length + 7 & !7);
        write_volatile(&raw mut (*scratch).cursor, next);
        let read = read_volatile(&raw const (*scratch).read);
        write_volatile(&raw mut (*scratch).read, read | 1 << arg);
        let count = read_volatile(&raw const (*scratch).count);
        write_volatile(&raw mut (*scratch).count, count + 1);
        Some(place.add(size_of::<ArgHeader>()))
    }
}

/// Reads as many of `length` bytes as there is room for, from [`Scratch::address`] to `offset` in [`Scratch::args`]; 0 if they
/// could be read. A function that the verifier looks at once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_buffer(space: u64, offset: u64, length: u64, user: u64) -> u64 {
    let scratch = of(space);
    let (offset, length) = (opaque(offset), opaque(if length > MAX_BUFFER { MAX_BUFFER } else { length }));
    if scratch.is_null() || offset > LAST_TEXT || length > MAX_BUFFER {
        return 1;
    }
    // SAFETY: inside the scratch: MAX_BUFFER bytes from LAST_TEXT are.
    let error = unsafe {
        let to = (&raw mut (*scratch).args).cast::<u8>().add(offset as usize).cast();
        let raw = read_volatile(&raw const (*scratch).address);
        // A function of the kernel is handed either; a system call only what is the process's.
        if user != 0 || raw >> 63 == 0 {
            bpf_probe_read_user(to, length as u32, raw as *const c_void)
        } else {
            bpf_probe_read_kernel(to, length as u32, raw as *const c_void)
        }
    };
    u64::from(error != 0)
}

impl<S: Source> Happening<S> {
    /// The value of an argument's register or field, pointers followed.
    #[inline(always)]
    fn raw(&self, arg: u32) -> Option<u64> {
        let mut raw = match arg!(arg, source) {
            source::ARGUMENT => self.source.argument(arg!(arg, index))?,
            source::DATA_LOC => self.source.located(arg!(arg, index))?,
            _ => self.source.field(arg!(arg, index), arg!(arg, size))?,
        };
        for step in 0..MAX_CHAIN {
            if step >= arg!(arg, depth) as usize {
                break;
            }
            raw = value(at(raw, chain(arg, step)))?;
        }
        Some(raw)
    }

    /// How many bytes a buffer has: what the argument beside it says.
    #[inline(always)]
    fn buffer_length(&self, arg: u32) -> Option<u64> {
        let size = arg!(arg, size);
        let length = match arg!(arg, depth) {
            0 => self.source.argument(size)?,
            _ => value(at(self.source.argument(arg!(arg, index))?, size))?,
        };
        Some(if arg!(arg, flags) & flag::SHORT_LENGTH != 0 { length & 0xffff_ffff } else { length })
    }

    /// Puts an argument's header down; returns where its data goes.
    #[inline(always)]
    fn put(&mut self, arg: u32, status: u8, length: u64) -> Option<*mut u8> {
        put(self.space.scratch, arg, arg!(arg, kind), status, length)
    }

    /// Puts an address where functions of their own find it.
    #[inline(always)]
    fn hand_over(&self, raw: u64) {
        // SAFETY: the space is this run's alone.
        unsafe { write_volatile(&raw mut (*self.space.scratch).address, raw) }
    }

    #[inline(always)]
    fn unreadable(&mut self, arg: u32) -> Unreadable {
        crate::map::count(Place::ArgumentUnreadable, 0);
        self.put(arg, arg_status::UNREADABLE, 0);
        Unreadable
    }

    #[inline(always)]
    fn read_number(&mut self, arg: u32) -> Result<u64, Unreadable> {
        let Some(raw) = self.raw(arg) else { return Err(self.unreadable(arg)) };
        let number = match arg!(arg, kind) {
            kind::INT => match (arg!(arg, flags) & flag::SIGNED, arg!(arg, size)) {
                (flag::SIGNED, 1) => i64::from(raw as i8) as u64,
                (flag::SIGNED, 2) => i64::from(raw as i16) as u64,
                _ => i64::from(raw as i32) as u64,
            },
            kind::UINT32 => match arg!(arg, size) {
                1 => raw & 0xff,
                2 => raw & 0xffff,
                _ => raw & 0xffff_ffff,
            },
            // A narrower field of a tracepoint.
            kind::INT64 => match (arg!(arg, flags) & flag::SIGNED, arg!(arg, size)) {
                (flag::SIGNED, 1) => i64::from(raw as i8) as u64,
                (flag::SIGNED, 2) => i64::from(raw as i16) as u64,
                (flag::SIGNED, 4) => i64::from(raw as i32) as u64,
                _ => raw,
            },
            _ => raw,
        };
        if let Some(place) = self.put(arg, arg_status::READ, 8) {
            // SAFETY: `put` has made room.
            unsafe { *place.cast::<u64>() = number }
        }
        Ok(number)
    }

    #[inline(always)]
    fn read_socket(&mut self, arg: u32) -> Result<&SocketData, Unreadable> {
        // SAFETY: this CPU's scratch.
        let data = unsafe { &mut (*self.space.scratch).socket };
        let data = match (self.raw(arg), arg!(arg, kind)) {
            (None | Some(0), _) => None,
            (Some(raw), kind::PACKET) => {
                self.hand_over(raw);
                (read_packet(self.space.number) == 0).then_some(())
            }
            (Some(raw), kind::SOCK) => socket::of_sock(raw, arg!(arg, flags) & flag::SOCKET != 0, data),
            (Some(raw), _) => socket::of_sockaddr(raw, arg!(arg, flags) & flag::USER != 0, data),
        };
        if data.is_none() {
            return Err(self.unreadable(arg));
        }
        // SAFETY: this CPU's scratch; `put` has made room.
        unsafe {
            let data = &raw const (*self.space.scratch).socket;
            if let Some(place) = self.put(arg, arg_status::READ, size_of::<SocketData>() as u64) {
                for word in 0..size_of::<SocketData>() / 8 {
                    write_volatile(place.cast::<u64>().add(word), read_volatile(data.cast::<u64>().add(word)));
                }
            }
            Ok(&*data)
        }
    }

    /// Reads a text to behind where its header will be. Returns its length.
    #[inline(always)]
    fn read_text(&mut self, arg: u32, offset: u64) -> Option<u64> {
        let raw = self.raw(arg)?;
        let kind = arg!(arg, kind);
        if raw == 0 {
            return (arg!(arg, flags) & flag::NULLABLE != 0).then_some(0);
        }
        if kind == kind::BUFFER {
            let length = self.buffer_length(arg)?;
            self.hand_over(raw);
            let user = u64::from(arg!(arg, flags) & flag::USER);
            return (read_buffer(self.space.number, offset, length, user) == 0).then_some(length);
        }
        // SAFETY: inside the scratch: `offset` is at most LAST_TEXT.
        unsafe {
            let to = (&raw mut (*self.space.scratch).args).cast::<u8>().add(offset as usize);
            if kind == kind::STRING || kind == kind::INNER_STRING {
                let raw = if kind == kind::INNER_STRING { at(raw, arg!(arg, size)) } else { raw };
                let read = if arg!(arg, flags) & flag::USER != 0 {
                    bpf_probe_read_user_str(to.cast(), MAX_PATH as u32, raw as *const c_void)
                } else {
                    bpf_probe_read_kernel_str(to.cast(), MAX_PATH as u32, raw as *const c_void)
                };
                // The zero at the end is counted; without one the text is longer than what was read.
                return match read {
                    1..4096 => Some(read as u64 - 1),
                    _ => None,
                };
            }
            let path = match kind {
                kind::FILE => at(raw, kernel!(file_path)),
                kind::DENTRY => raw,
                kind::BINPRM => at(pointer(at(raw, kernel!(bprm_file)))?, kernel!(file_path)),
                _ => raw,
            };
            let built = path::build(self.space, path, kind == kind::DENTRY);
            let copied =
                built.length != 0 && copy(to, MAX_PATH as u64, path::bytes(self.space.scratch, built), built.length);
            copied.then_some(built.length)
        }
    }

    /// Puts down what the decision did not need and the event should have: numbers and sockets; texts have been read.
    #[inline(always)]
    pub(crate) fn complete(&mut self) {
        for arg in 0..MAX_ARGS as u32 {
            // SAFETY: inside the scratch.
            if unsafe { read_volatile(&raw const (*self.space.scratch).read) } >> arg & 1 == 1 {
                continue;
            }
            // Whether it could be read is in what is put down.
            match arg!(arg, kind) {
                kind::NONE => {}
                number if kind::is_number(number) => drop(self.read_number(arg)),
                socket if kind::is_socket(socket) => drop(self.read_socket(arg).is_ok()),
                report if kind::is_report(report) => {
                    let raw = self.raw(arg).unwrap_or_default();
                    self.hand_over(raw);
                    let (space, arg, kind) = (self.space.number, u64::from(arg), u64::from(report));
                    let unread = if kind::is_object(report) {
                        put_object(space, arg, kind)
                    } else {
                        put_report(space, arg, kind)
                    };
                    if unread != 0 {
                        self.unreadable(arg as u32);
                    }
                }
                _ => drop(self.put(arg, arg_status::NOT_READ, 0)),
            }
        }
    }
}

impl<S: Source> Event for Happening<S> {
    type Text = Text;

    #[inline(always)]
    fn planned(&self, dimension: u32) -> bool {
        contains(&dimensions(), dimension)
    }

    #[inline(always)]
    fn planned_any(&self, set: &DimensionSet) -> bool {
        intersects(&dimensions(), set)
    }

    #[inline(always)]
    fn words(&self) -> u32 {
        words()
    }

    #[inline(always)]
    fn kind(&self, arg: u32) -> u32 {
        arg!(arg, kind)
    }

    #[inline(always)]
    fn class(&self) -> u32 {
        self.class
    }

    #[inline(always)]
    fn inherited(&mut self) -> Result<Inherited, Unreadable> {
        // SAFETY: a map's value or null.
        match unsafe { self.record.as_ref() } {
            Some(record) => Ok(Inherited { marks: record.marks, unknown: record.flags & PROCESS_LINEAGE_UNKNOWN != 0 }),
            None => Err(Unreadable),
        }
    }

    #[inline(always)]
    fn binary(&mut self, generation: u64, slot: u32) -> Result<BinaryIds, Unreadable> {
        if self.record.is_null() {
            return Err(Unreadable);
        }
        executable::ids_of(self.record, generation, slot).ok_or(Unreadable)
    }

    #[inline(always)]
    fn pid(&mut self) -> u32 {
        (bpf_get_current_pid_tgid() >> 32) as u32
    }

    #[inline(always)]
    fn own_pid(&mut self) -> Result<u32, Unreadable> {
        // SAFETY: a map's value or null; every writer writes the same.
        unsafe {
            if let Some(record) = self.record.as_mut() {
                if record.own_tgid == 0 {
                    record.own_tgid = identity::own_tgid(self.task).unwrap_or_default();
                }
                if record.own_tgid != 0 {
                    return Ok(record.own_tgid);
                }
            }
        }
        crate::map::count(Place::ProcessUnreadable, 0);
        Err(Unreadable)
    }

    #[inline(always)]
    fn namespace(&mut self, kind: u32) -> Result<u32, Unreadable> {
        match namespace::inode(self.task, kind) {
            Some(inode) => Ok(inode),
            None => {
                crate::map::count(Place::ProcessUnreadable, 0);
                Err(Unreadable)
            }
        }
    }

    #[inline(always)]
    fn capabilities(&mut self, set: u32) -> Result<u64, Unreadable> {
        let offset = match set {
            0 => kernel!(cred_cap_effective),
            1 => kernel!(cred_cap_inheritable),
            _ => kernel!(cred_cap_permitted),
        };
        match pointer(at(self.task, kernel!(task_cred))).and_then(|cred| value(at(cred, offset))) {
            Some(capabilities) => Ok(capabilities),
            None => {
                crate::map::count(Place::ProcessUnreadable, 0);
                Err(Unreadable)
            }
        }
    }

    #[inline(always)]
    fn number(&mut self, arg: u32) -> Result<u64, Unreadable> {
        self.read_number(arg)
    }

    #[inline(always)]
    fn socket(&mut self, arg: u32) -> Result<&SocketData, Unreadable> {
        self.read_socket(arg)
    }

    #[inline(always)]
    fn text(&mut self, arg: u32) -> Result<Text, Unreadable> {
        // SAFETY: inside the scratch.
        let cursor = unsafe { read_volatile(&raw const (*self.space.scratch).cursor) };
        let offset = opaque(cursor + size_of::<ArgHeader>() as u64);
        if offset > LAST_TEXT {
            return Err(self.unreadable(arg));
        }
        match self.read_text(arg, offset) {
            Some(whole) if arg!(arg, kind) == kind::BUFFER && whole > MAX_BUFFER => {
                // Nobody knows how it ends.
                if contains(&dimensions(), argument(arg, Facet::Postfix)) {
                    return Err(self.unreadable(arg));
                }
                self.put(arg, arg_status::CUT, MAX_BUFFER);
                Ok(Text { offset, length: MAX_BUFFER })
            }
            Some(length) => {
                self.put(arg, arg_status::READ, length);
                Ok(Text { offset, length })
            }
            None => Err(self.unreadable(arg)),
        }
    }
}
