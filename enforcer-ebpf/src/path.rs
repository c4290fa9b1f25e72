//! The path of a dentry on a mount, from the root of the mount tree, by our own walk: `bpf_d_path` is refused in most hooks.

use crate::read::{at, pointer, value};
use crate::rodata::kernel;
use crate::scratch::Scratch;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use stockade_enforcer_common::counter::Place;
use stockade_enforcer_common::process::MAX_PATH;

/// Components and mount crossings that are walked.
const STEPS: usize = 100;

/// Where the path is in [`Scratch::path`].
#[derive(Clone, Copy)]
pub(crate) struct Built {
    /// Its first byte.
    pub(crate) start: u32,
    /// Its bytes.
    pub(crate) length: u32,
}

/// Where a walk is.
struct Walker {
    dentry: u64,
    mount: u64,
    root: u64,
}

impl Walker {
    /// Begins at a `struct path`.
    #[inline(always)]
    fn of(path: u64) -> Option<Self> {
        let vfsmount = pointer(at(path, kernel!(path_mnt)))?;
        let dentry = pointer(at(path, kernel!(path_dentry)))?;
        Some(Self {
            dentry,
            mount: vfsmount - u64::from(kernel!(mount_mnt)),
            root: pointer(at(vfsmount, kernel!(vfsmount_root)))?,
        })
    }

    /// From a mount's root to where it is mounted; `None`: this is the root of the tree.
    #[inline(always)]
    fn cross(&mut self) -> Option<()> {
        let parent = pointer(at(self.mount, kernel!(mount_parent)))?;
        if parent == self.mount {
            return None;
        }
        self.dentry = pointer(at(self.mount, kernel!(mount_mountpoint)))?;
        self.mount = parent;
        self.root = pointer(at(parent, kernel!(mount_mnt)) + u64::from(kernel!(vfsmount_root)))?;
        Some(())
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

/// Builds the path at `path`, the address of a `struct path`, or says what is to be counted.
#[inline(always)]
pub(crate) fn build(scratch: *mut Scratch, path: u64) -> Result<Built, Place> {
    let Some(mut here) = Walker::of(path) else { return Err(Place::PathUnreadable) };
    let lock = kernel!(rename_lock);
    let before = if lock == 0 { 0 } else { value::<u32>(lock).unwrap_or_default() };
    let mut position = MAX_PATH as u32;
    let (mut seen, mut done) = (0, false);
    for _ in 0..STEPS {
        if here.dentry == here.root {
            if here.cross().is_none() {
                done = true;
                break;
            }
            continue;
        }
        let Some(node) = Node::read(here.dentry) else { return Err(Place::PathUnreadable) };
        seen = mix(seen, here.dentry, &node);
        let length = (node.hash_length >> 32) as u32;
        if length > 255 || position < 256 {
            return Err(Place::PathTooLong);
        }
        position = prepend(scratch, position, node.name, length & 0xff).ok_or(Place::PathUnreadable)?;
        if node.parent == here.dentry {
            // Not in a tree: an anonymous file.
            done = true;
            break;
        }
        here.dentry = node.parent;
    }
    if !done {
        return Err(Place::PathTooLong);
    }
    let unchanged = if lock == 0 {
        again(path) == Some(seen)
    } else {
        before & 1 == 0 && value::<u32>(lock).unwrap_or_default() == before
    };
    if !unchanged {
        return Err(Place::PathChanged);
    }
    if position == MAX_PATH as u32 {
        position -= 1;
        // SAFETY: inside the buffer.
        unsafe { *(&raw mut (*scratch).path).cast::<u8>().add(position as usize) = b'/' }
    }
    Ok(Built { start: position, length: MAX_PATH as u32 - position })
}

/// Writes a slash and a name before `position`, which is at least 256.
#[inline(always)]
fn prepend(scratch: *mut Scratch, position: u32, name: u64, length: u32) -> Option<u32> {
    let start = position - length;
    // SAFETY: `start` is between 1 and MAX_PATH, and a name of 255 bytes fits after it because of the margin.
    unsafe {
        let buffer = (&raw mut (*scratch).path).cast::<u8>();
        if bpf_probe_read_kernel(buffer.add((start & 0x1fff) as usize).cast(), length, name as *const _) != 0 {
            return None;
        }
        let start = start - 1;
        *buffer.add((start & 0xfff) as usize) = b'/';
        Some(start)
    }
}

/// Walks once more and returns what was seen.
#[inline(always)]
fn again(path: u64) -> Option<u64> {
    let mut here = Walker::of(path)?;
    let mut seen = 0;
    for _ in 0..STEPS {
        if here.dentry == here.root {
            if here.cross().is_none() {
                return Some(seen);
            }
            continue;
        }
        let node = Node::read(here.dentry)?;
        seen = mix(seen, here.dentry, &node);
        if node.parent == here.dentry {
            return Some(seen);
        }
        here.dentry = node.parent;
    }
    None
}
