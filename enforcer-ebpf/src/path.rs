//! The path of a dentry on a mount, from the root of the mount tree, by our own walk: `bpf_d_path` is refused in most hooks.

use crate::map::count;
use crate::read::{at, pointer, value};
use crate::rodata::{kernel, reads};
use crate::scratch::{Scratch, Space, of};
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use core::ptr::{read_volatile, write_volatile};
use stockade_enforcer_common::counter::Place;
use stockade_enforcer_common::plan::kind;
use stockade_enforcer_common::process::MAX_PATH;
use stockade_enforcer_common::verifier::opaque;

/// Components and mount crossings that are walked, in one call and in all. The verifier looks at the function once, however
/// often it is called.
const STEPS: usize = 4;
const CALLS: usize = 25;
/// Times that a path which changes meanwhile is walked.
const TRIES: usize = 32;

/// Where the path is in [`Scratch::path`]. Always whole, so that nothing undefined is ever spilled.
#[derive(Clone, Copy)]
pub(crate) struct Built {
    /// Its first byte.
    pub(crate) start: u64,
    /// Its bytes; 0 where it could not be built.
    pub(crate) length: u64,
}

impl Built {
    /// A path that could not be built.
    pub(crate) const NONE: Self = Self { start: 0, length: 0 };
}

/// Where a walk is, and a digest of what it has seen: two walks can be compared.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Walker {
    dentry: u64,
    mount: u64,
    root: u64,
    seen: u64,
}

/// What a part of a walk came to; numbers, because functions return numbers.
mod walked {
    pub(super) const ON: u64 = 0;
    pub(super) const TO_THE_ROOT: u64 = 1;
    pub(super) const UNREADABLE: u64 = 2;
    pub(super) const TOO_LONG: u64 = 3;
}

impl Walker {
    /// Begins at a dentry; nothing is known of a mount.
    #[inline(always)]
    const fn of_dentry(dentry: u64) -> Self {
        Self { dentry, mount: 0, root: 0, seen: 0 }
    }

    /// Begins at a `struct path`.
    #[inline(always)]
    fn of(path: u64) -> Option<Self> {
        let vfsmount = pointer(at(path, kernel!(path_mnt)))?;
        let dentry = pointer(at(path, kernel!(path_dentry)))?;
        Some(Self {
            dentry,
            mount: vfsmount - u64::from(kernel!(mount_mnt)),
            root: pointer(at(vfsmount, kernel!(vfsmount_root)))?,
            seen: 0,
        })
    }

    /// One step up; names are written where `names` is not 0.
    #[inline(always)]
    fn step(&mut self, scratch: *mut Scratch, names: u64) -> u64 {
        if self.dentry == self.root {
            return self.cross().unwrap_or(walked::UNREADABLE);
        }
        let Some(node) = Node::read(self.dentry) else { return walked::UNREADABLE };
        if reads_dentry() && self.mount == 0 && node.parent == self.dentry {
            // The root of a file system, whose name is a slash.
            return walked::TO_THE_ROOT;
        }
        self.seen = mix(self.seen, self.dentry, &node);
        if names != 0 {
            let written = prepend(scratch, &node);
            if written != walked::ON {
                return written;
            }
        }
        if node.parent == self.dentry {
            // Not in a tree: an anonymous file.
            return walked::TO_THE_ROOT;
        }
        self.dentry = node.parent;
        walked::ON
    }

    /// From a mount's root to where it is mounted.
    #[inline(always)]
    fn cross(&mut self) -> Option<u64> {
        let parent = pointer(at(self.mount, kernel!(mount_parent)))?;
        if parent == self.mount {
            return Some(walked::TO_THE_ROOT);
        }
        self.dentry = pointer(at(self.mount, kernel!(mount_mountpoint)))?;
        self.mount = parent;
        self.root = pointer(at(parent, kernel!(mount_mnt)) + u64::from(kernel!(vfsmount_root)))?;
        Some(walked::ON)
    }
}

/// What of a dentry a walk needs: `d_parent` and, where they lie side by side as on every kernel so far, the name.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Node {
    parent: u64,
    /// Hash in the low half, length in the high half.
    hash_length: u64,
    name: u64,
}

impl Node {
    #[inline(always)]
    fn read(dentry: u64) -> Option<Self> {
        let (parent, name) = (kernel!(dentry_parent), kernel!(dentry_name));
        let hash_length = kernel!(dentry_hash_length);
        if hash_length == parent + 8 && name == parent + 16 {
            return value(at(dentry, parent));
        }
        Some(Self {
            parent: value(at(dentry, parent))?,
            hash_length: value(at(dentry, hash_length))?,
            name: value(at(dentry, name))?,
        })
    }
}

/// Mixes what a walk has seen, so that two walks can be compared.
#[inline(always)]
fn mix(seen: u64, dentry: u64, node: &Node) -> u64 {
    (seen.rotate_left(7) ^ dentry).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ node.hash_length
}

/// Whether any argument is a dentry; the verifier drops what is for them otherwise.
#[inline(always)]
fn reads_dentry() -> bool {
    reads(|kind| kind == kind::DENTRY)
}

/// Builds the path at `path`, the address of a `struct path`, or of a `struct dentry` whose path ends at the root of its file
/// system; [`Built::NONE`] if it cannot be built, which is counted.
#[inline(always)]
pub(crate) fn build(space: Space, path: u64, dentry: bool) -> Built {
    let Space { number, scratch } = space;
    // By memory, because the address may be a pointer to the verifier, and functions take numbers.
    set_start(scratch, path);
    if reads_dentry() {
        // SAFETY: inside the scratch.
        unsafe { write_volatile(&raw mut (*scratch).from_dentry, u64::from(dentry)) }
    }
    if walk_path(number) != 0 {
        return Built::NONE;
    }
    let start = opaque(start(scratch));
    if start >= MAX_PATH as u64 { Built::NONE } else { Built { start, length: MAX_PATH as u64 - start } }
}

/// Walks from the `struct path` whose address is in [`Scratch::start`] of a space, again while it changes. 0: the path begins
/// there. A function that the verifier looks at once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_path(space: u64) -> u64 {
    let scratch = of(space);
    if scratch.is_null() {
        return 1;
    }
    let path = start(scratch);
    for _ in 0..TRIES {
        set_start(scratch, path);
        match walk_once(space) {
            WALKED => return 0,
            CHANGED => count(Place::PathRead, 0),
            _ => return 1,
        }
    }
    count(Place::PathChanged, 0);
    // Whoever renames without pause must not get past a rule by it.
    // SAFETY: the space is this run's alone.
    unsafe { write_volatile(&raw mut (*scratch).restless, 1) }
    1
}

/// What [`walk_once`] returns; anything else: it could not be walked, which has been counted.
const WALKED: u64 = 0;
const CHANGED: u64 = 1;

/// A function that the verifier looks at once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_once(space: u64) -> u64 {
    let scratch = of(space);
    if scratch.is_null() {
        return CHANGED + 1;
    }
    match walk(scratch, space) {
        walked::TO_THE_ROOT => WALKED,
        walked::ON => CHANGED,
        walked::TOO_LONG => {
            count(Place::PathTooLong, 0);
            CHANGED + 1
        }
        _ => {
            count(Place::PathUnreadable, 0);
            CHANGED + 1
        }
    }
}

/// Returns what the walk came to; [`walked::ON`]: it changed meanwhile.
#[inline(always)]
fn walk(scratch: *mut Scratch, space: u64) -> u64 {
    let path = start(scratch);
    let lock = kernel!(rename_lock);
    let before = if lock == 0 { 0 } else { value::<u32>(lock).unwrap_or_default() };
    set_start(scratch, MAX_PATH as u64);
    let first = to_the_root(scratch, space, path, 1);
    if first.come == walked::TOO_LONG {
        return walked::TOO_LONG;
    }
    // A rename anywhere moves the lock's sequence; whether it was in this path, a second walk tells.
    let quiet = lock != 0 && before & 1 == 0 && value::<u32>(lock).unwrap_or_default() == before;
    if !quiet {
        let second = to_the_root(scratch, space, path, 0);
        if second.come != first.come || second.seen != first.seen {
            return walked::ON;
        }
    }
    if start(scratch) == MAX_PATH as u64 {
        // SAFETY: inside the buffer.
        unsafe { *(&raw mut (*scratch).path).cast::<u8>().add(MAX_PATH - 1) = b'/' }
        set_start(scratch, MAX_PATH as u64 - 1);
    }
    first.come
}

/// What a whole walk came to, and a digest of what it has seen. Always whole, like [`Built`].
#[derive(Clone, Copy)]
struct Seen {
    come: u64,
    seen: u64,
}

/// Walks all the way.
#[inline(always)]
fn to_the_root(scratch: *mut Scratch, space: u64, path: u64, names: u64) -> Seen {
    // SAFETY: inside the scratch.
    let from_dentry = reads_dentry() && unsafe { read_volatile(&raw const (*scratch).from_dentry) } != 0;
    let walker = if from_dentry { Some(Walker::of_dentry(path)) } else { Walker::of(path) };
    let Some(walker) = walker else { return Seen { come: walked::UNREADABLE, seen: 0 } };
    // SAFETY: inside the scratch.
    unsafe { write_volatile(&raw mut (*scratch).walker, walker) }
    for _ in 0..CALLS {
        let come = walk_on(space, names);
        if come != walked::ON {
            // SAFETY: inside the scratch.
            return Seen { come, seen: unsafe { read_volatile(&raw const (*scratch).walker.seen) } };
        }
    }
    Seen { come: walked::TOO_LONG, seen: 0 }
}

/// Takes a few steps from where [`Scratch::walker`] of `space` is. A function that the verifier looks at once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_on(space: u64, names: u64) -> u64 {
    let scratch = of(space);
    if scratch.is_null() {
        return walked::UNREADABLE;
    }
    // SAFETY: inside the scratch.
    let mut walker = unsafe { read_volatile(&raw const (*scratch).walker) };
    for _ in 0..STEPS {
        let come = walker.step(scratch, names);
        if come != walked::ON {
            // SAFETY: inside the scratch.
            unsafe { write_volatile(&raw mut (*scratch).walker.seen, walker.seen) }
            return come;
        }
    }
    // SAFETY: inside the scratch.
    unsafe { write_volatile(&raw mut (*scratch).walker, walker) }
    walked::ON
}

/// The first byte of a path that has been built; at least 256 can be read from there.
#[inline(always)]
pub(crate) fn bytes(scratch: *mut Scratch, built: Built) -> *const u8 {
    let start = opaque(built.start);
    // SAFETY: inside the buffer, whatever the start.
    unsafe { (&raw const (*scratch).path).cast::<u8>().add(if start < MAX_PATH as u64 { start as usize } else { 0 }) }
}

#[inline(always)]
fn start(scratch: *mut Scratch) -> u64 {
    // SAFETY: inside the scratch.
    unsafe { read_volatile(&raw const (*scratch).start) }
}

#[inline(always)]
fn set_start(scratch: *mut Scratch, start: u64) {
    // SAFETY: inside the scratch.
    unsafe { write_volatile(&raw mut (*scratch).start, start) }
}

/// Writes a slash and a name before what there is.
#[inline(always)]
fn prepend(scratch: *mut Scratch, node: &Node) -> u64 {
    let length = opaque(node.hash_length >> 32);
    if length > 255 {
        return walked::TOO_LONG;
    }
    let begin = opaque(start(scratch).wrapping_sub(length));
    if begin == 0 || begin > MAX_PATH as u64 {
        return walked::TOO_LONG;
    }
    // SAFETY: a name of 255 bytes fits after MAX_PATH because of the margin.
    unsafe {
        let to = (&raw mut (*scratch).path).cast::<u8>().add(begin as usize);
        if bpf_probe_read_kernel(to.cast(), length as u32, node.name as *const _) != 0 {
            return walked::UNREADABLE;
        }
        *to.sub(1) = b'/';
    }
    set_start(scratch, begin - 1);
    walked::ON
}
