//! The inode numbers of a task's namespaces.

use crate::read::{at, pointer, value};
use crate::rodata::kernel;
use stockade_enforcer_common::dimension::NamespaceKind;
use stockade_enforcer_common::offset::MISSING;

/// `sizeof(struct upid)`.
const UPID: u64 = 16;

/// The inode number of the task's namespace of this kind.
#[inline(always)]
pub(crate) fn inode(task: u64, kind: u32) -> Option<u32> {
    let inode = namespace_inode(task, u64::from(kind));
    if inode == UNREADABLE { None } else { Some(inode as u32) }
}

/// What [`namespace_inode`] answers where it cannot be read.
const UNREADABLE: u64 = u64::MAX;

/// A function that the verifier looks at once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn namespace_inode(task: u64, kind: u64) -> u64 {
    read(task, kind as u32).map_or(UNREADABLE, u64::from)
}

#[inline(always)]
fn read(task: u64, kind: u32) -> Option<u32> {
    let (member, inode) = match kind {
        x if x == NamespaceKind::Uts as u32 => (kernel!(nsproxy_uts), kernel!(uts_inum)),
        x if x == NamespaceKind::Ipc as u32 => (kernel!(nsproxy_ipc), kernel!(ipc_inum)),
        x if x == NamespaceKind::Mnt as u32 => (kernel!(nsproxy_mnt), kernel!(mnt_inum)),
        x if x == NamespaceKind::PidForChildren as u32 => (kernel!(nsproxy_pid_for_children), kernel!(pid_inum)),
        x if x == NamespaceKind::Net as u32 => (kernel!(nsproxy_net), kernel!(net_inum)),
        x if x == NamespaceKind::Time as u32 => (kernel!(nsproxy_time), kernel!(time_inum)),
        x if x == NamespaceKind::TimeForChildren as u32 => (kernel!(nsproxy_time_for_children), kernel!(time_inum)),
        x if x == NamespaceKind::Cgroup as u32 => (kernel!(nsproxy_cgroup), kernel!(cgroup_inum)),
        x if x == NamespaceKind::Pid as u32 => return pid(task),
        x if x == NamespaceKind::User as u32 => return user(task),
        _ => return None,
    };
    if member == MISSING || inode == MISSING {
        return None;
    }
    let proxy = pointer(at(task, kernel!(task_nsproxy)))?;
    value(at(pointer(at(proxy, member))?, inode))
}

#[inline(always)]
fn pid(task: u64) -> Option<u32> {
    let pid = pointer(at(task, kernel!(task_thread_pid)))?;
    let level: u32 = value(at(pid, kernel!(pid_level)))?;
    let upid = at(pid, kernel!(pid_numbers)) + u64::from(level & 31) * UPID;
    value(at(pointer(at(upid, kernel!(upid_ns)))?, kernel!(pid_inum)))
}

#[inline(always)]
fn user(task: u64) -> Option<u32> {
    let cred = pointer(at(task, kernel!(task_cred)))?;
    value(at(pointer(at(cred, kernel!(cred_user_ns)))?, kernel!(user_inum)))
}
