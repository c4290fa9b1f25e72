//! Arguments that no rule asks about and events report: credentials and user namespaces.

use crate::argument::put;
use crate::read::{at, pointer, value};
use crate::rodata::{kernel, reads};
use crate::scratch::of;
use core::ptr::{read_volatile, write_volatile};
use stockade_enforcer_common::event::{CredentialsData, UserNamespaceData, arg_status};
use stockade_enforcer_common::plan::{MAX_ARGS, kind};

/// Puts down what is at [`crate::scratch::Scratch::address`]; 0 if it could be read. A function that the verifier looks at once, and whose stack is
/// its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn put_report(space: u64, position: u64, kind: u64) -> u64 {
    let scratch = of(space);
    if scratch.is_null() || !reads(kind::is_report) || position >= MAX_ARGS as u64 {
        return 1;
    }
    // SAFETY: the space is this run's alone.
    let raw = unsafe { read_volatile(&raw const (*scratch).address) };
    if raw == 0 {
        return 1;
    }
    let kind = kind as u32;
    if kind == kind::USER_NAMESPACE {
        let Some(data) = user_namespace(raw) else { return 1 };
        if let Some(place) =
            put(scratch, position as u32, kind, arg_status::READ, size_of::<UserNamespaceData>() as u64)
        {
            // SAFETY: `put` has made room.
            unsafe { write_volatile(place.cast::<UserNamespaceData>(), data) }
        }
        return 0;
    }
    // Read before it is put down: what cannot be read is put down as such.
    let (Some(ids), Some(capabilities)) = (value::<[u32; 9]>(at(raw, kernel!(cred_uid))), capabilities(raw)) else {
        return 1;
    };
    let Some(namespace) = pointer(at(raw, kernel!(cred_user_ns))).and_then(user_namespace) else { return 1 };
    let length = size_of::<CredentialsData>() as u64;
    if let Some(place) = put(scratch, position as u32, kind, arg_status::READ, length) {
        let place = place.cast::<CredentialsData>();
        // SAFETY: `put` has made room.
        unsafe {
            write_volatile((&raw mut (*place).ids).cast::<[u32; 9]>(), ids);
            write_volatile(&raw mut (*place).reserved, 0);
            write_volatile(&raw mut (*place).capabilities, capabilities);
            write_volatile(&raw mut (*place).user_namespace, namespace);
        }
    }
    0
}

/// Effective, inheritable, permitted.
#[inline(always)]
fn capabilities(cred: u64) -> Option<[u64; 3]> {
    Some([
        value(at(cred, kernel!(cred_cap_effective)))?,
        value(at(cred, kernel!(cred_cap_inheritable)))?,
        value(at(cred, kernel!(cred_cap_permitted)))?,
    ])
}

#[inline(always)]
fn user_namespace(raw: u64) -> Option<UserNamespaceData> {
    Some(UserNamespaceData {
        level: value(at(raw, kernel!(user_level)))?,
        inode: value(at(raw, kernel!(user_inum)))?,
        owner: [value(at(raw, kernel!(user_owner)))?, value(at(raw, kernel!(user_group)))?],
    })
}
