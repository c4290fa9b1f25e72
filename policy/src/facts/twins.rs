//! Which LSM hook stands for a kernel function that a policy names, as data.
//!
//! Policies hook `security_x` with a kprobe. The LSM hook behind it sees every call and can refuse it. For about two
//! thirds of the names both are called the same; the rest is the table below. Arguments are found by name and type in the
//! running kernel's BTF, never by position alone: hooks gain, lose and reorder arguments between releases.

use std::collections::BTreeMap;

use super::BtfParam;

/// Every LSM hook of a kernel with its parameters, as its BTF has them.
pub type Hooks = BTreeMap<String, Vec<BtfParam>>;

/// One row: the function, and the hooks that stand for it, newest name first.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// `security_…`.
    pub function: &'static str,
    /// Without `bpf_lsm_`.
    pub hooks: &'static [&'static str],
}

const fn row(function: &'static str, hooks: &'static [&'static str]) -> Row {
    Row { function, hooks }
}

/// Arguments that the hook calls by another name: `security_mmap_file` hands its `prot` on as `reqprot`, and computes the
/// hook's `prot` from it.
const ALIASES: &[(&str, &str, &str)] = &[("mmap_file", "prot", "reqprot")];

/// The functions whose hook has another name than what follows `security_`.
pub const RENAMED: &[Row] = &[
    row("security_bprm_check", &["bprm_check_security"]),
    row("security_bpf_map_alloc", &["bpf_map_alloc_security"]),
    row("security_bpf_map_create", &["bpf_map_create"]),
    row("security_bpf_map_free", &["bpf_map_free", "bpf_map_free_security"]),
    row("security_bpf_prog_alloc", &["bpf_prog_alloc_security"]),
    row("security_bpf_prog_free", &["bpf_prog_free", "bpf_prog_free_security"]),
    row("security_create_user_ns", &["userns_create"]),
    row("security_settime64", &["settime"]),
    row("security_sock_rcv_skb", &["socket_sock_rcv_skb"]),
    row("security_prepare_creds", &["cred_prepare"]),
    row("security_transfer_creds", &["cred_transfer"]),
    row("security_file_alloc", &["file_alloc_security"]),
    row("security_file_free", &["file_free_security"]),
    row("security_inode_alloc", &["inode_alloc_security"]),
    row("security_inode_free", &["inode_free_security"]),
    row("security_sb_alloc", &["sb_alloc_security"]),
    row("security_sb_free", &["sb_free_security"]),
    row("security_sk_alloc", &["sk_alloc_security"]),
    row("security_sk_free", &["sk_free_security"]),
    row("security_ipc_permission", &["ipc_permission"]),
    row("security_msg_msg_alloc", &["msg_msg_alloc_security"]),
    row("security_msg_msg_free", &["msg_msg_free_security"]),
    row("security_msg_queue_alloc", &["msg_queue_alloc_security"]),
    row("security_msg_queue_free", &["msg_queue_free_security"]),
    row("security_shm_alloc", &["shm_alloc_security"]),
    row("security_shm_free", &["shm_free_security"]),
    row("security_sem_alloc", &["sem_alloc_security"]),
    row("security_sem_free", &["sem_free_security"]),
    row("security_task_getsecid_obj", &["task_getsecid_obj"]),
    row("security_sk_clone", &["sk_clone_security"]),
];

/// Hooks that the kernel has and that no program may use, or whose arguments changed meaning, so that a policy that names
/// the function does not mean the hook.
pub const UNUSABLE: &[(&str, &str)] = &[
    ("audit_rule_match", "the kernel does not let programs attach to it"),
    ("key_getsecurity", "the kernel does not let programs attach to it"),
    ("xfrm_decode_session", "the kernel does not let programs attach to it"),
    ("ismaclabel", "the kernel does not let programs attach to it"),
    ("setprocattr", "the kernel does not let programs attach to it"),
    ("getprocattr", "the kernel does not let programs attach to it"),
    ("inode_copy_up_xattr", "its first argument means another thing from 6.12 on"),
    ("inode_listsecurity", "the kernel does not let programs attach to it"),
    ("inode_getsecurity", "the kernel does not let programs attach to it"),
    ("inode_need_killpriv", "the kernel does not let programs attach to it"),
    ("vm_enough_memory", "the kernel does not let programs attach to it"),
    ("getselfattr", "the kernel does not let programs attach to it"),
];

/// Hooks that return nothing, and so can refuse nothing.
pub const VOID: &[&str] = &[
    "bprm_committing_creds",
    "bprm_committed_creds",
    "cred_free",
    "cred_transfer",
    "cred_getsecid",
    "current_getsecid_subj",
    "d_instantiate",
    "file_free_security",
    "file_release",
    "file_set_fowner",
    "inet_csk_clone",
    "inet_conn_established",
    "inode_free_security",
    "inode_free_security_rcu",
    "inode_getsecid",
    "inode_invalidate_secctx",
    "inode_post_setxattr",
    "ipc_getsecid",
    "key_free",
    "msg_msg_free_security",
    "msg_queue_free_security",
    "path_post_mknod",
    "release_secctx",
    "req_classify_flow",
    "sb_delete",
    "sb_free_mnt_opts",
    "sb_free_security",
    "secmark_refcount_dec",
    "secmark_refcount_inc",
    "sem_free_security",
    "shm_free_security",
    "sk_clone_security",
    "sk_free_security",
    "sk_getsecid",
    "sock_graft",
    "task_free",
    "task_getsecid",
    "task_getsecid_obj",
    "task_getsecid_subj",
    "task_to_inode",
    "bpf_map_free",
    "bpf_map_free_security",
    "bpf_prog_free",
    "bpf_prog_free_security",
];

/// The LSM hook that stands for a function, on one kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twin {
    /// The hook, without `bpf_lsm_`.
    pub hook: String,
    /// For each argument that was asked for, its position in the hook.
    pub arguments: Vec<u32>,
    /// Whether a program there can refuse the operation.
    pub can_deny: bool,
}

/// Why no LSM hook stands for a function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTwin {
    /// The name is not that of an LSM entry.
    #[error("`{function}` is not an LSM function")]
    NotLsm {
        /// The function.
        function: String,
    },
    /// This kernel has no such hook.
    #[error("this kernel has no LSM hook for `{function}`")]
    Absent {
        /// The function.
        function: String,
    },
    /// Programs cannot use the hook.
    #[error("the LSM hook `{hook}` cannot be used: {why}")]
    Unusable {
        /// The hook.
        hook: String,
        /// Why.
        why: &'static str,
    },
    /// The function itself is not in BTF, so its arguments cannot be compared with the hook's.
    #[error("this kernel has no function `{function}`, or does not describe it")]
    NoFunction {
        /// The function.
        function: String,
    },
    /// The hook does not get an argument that the policy reads.
    #[error("the LSM hook `{hook}` does not get argument {index} of `{function}`{}", .name.as_deref().map(|n| format!(" (`{n}`)")).unwrap_or_default())]
    Argument {
        /// The function.
        function: String,
        /// The hook.
        hook: String,
        /// The argument's position in the function.
        index: u32,
        /// Its name there, if it has one.
        name: Option<String>,
    },
}

/// Whether a program at `hook` can refuse the operation.
#[must_use]
pub fn can_deny(hook: &str) -> bool {
    !VOID.contains(&hook)
}

/// Why programs cannot use `hook`, if they cannot.
#[must_use]
pub fn unusable(hook: &str) -> Option<&'static str> {
    UNUSABLE.iter().find(|(name, _)| *name == hook).map(|(_, why)| *why)
}

/// The hooks that `security_NAME` may call, whichever of them a kernel has: newest name first.
pub fn of(name: &str) -> impl Iterator<Item = &str> {
    let renamed = RENAMED.iter().find(|row| row.function.strip_prefix("security_") == Some(name));
    renamed.map_or(&[][..], |row| row.hooks).iter().copied().chain([name])
}

/// Finds the hook for `function`, whose parameters are `parameters` (`None`: BTF does not have it), of which the policy
/// reads those at the positions `used`.
pub fn resolve(function: &str, parameters: Option<&[BtfParam]>, used: &[u32], hooks: &Hooks) -> Result<Twin, NoTwin> {
    let Some(plain) = function.strip_prefix("security_") else {
        return Err(NoTwin::NotLsm { function: function.into() });
    };
    let Some((hook, of_hook)) = of(plain).filter_map(|name| hooks.get_key_value(name)).next() else {
        return Err(NoTwin::Absent { function: function.into() });
    };
    if let Some(why) = unusable(hook) {
        return Err(NoTwin::Unusable { hook: hook.clone(), why });
    }
    let arguments = if used.is_empty() {
        Vec::new()
    } else {
        let parameters = parameters.ok_or_else(|| NoTwin::NoFunction { function: function.into() })?;
        used.iter()
            .map(|index| {
                let wanted = parameters.get(*index as usize);
                position(hook, wanted, parameters, of_hook).ok_or_else(|| NoTwin::Argument {
                    function: function.into(),
                    hook: hook.clone(),
                    index: *index,
                    name: wanted.map(|parameter| parameter.name.clone()).filter(|name| !name.is_empty()),
                })
            })
            .collect::<Result<_, _>>()?
    };
    Ok(Twin { hook: hook.clone(), arguments, can_deny: can_deny(hook) })
}

/// Where the hook has the function's argument: the one of the same name and type; or, where names differ, the only one of
/// its type on both sides.
fn position(name: &str, wanted: Option<&BtfParam>, function: &[BtfParam], hook: &[BtfParam]) -> Option<u32> {
    let wanted = wanted?;
    let alias = ALIASES.iter().find(|(of, from, _)| *of == name && *from == wanted.name);
    let wanted_name = alias.map_or(wanted.name.as_str(), |(_, _, to)| *to);
    let same = |parameter: &BtfParam| parameter.name == wanted_name && parameter.ty == wanted.ty;
    let found = if wanted_name.is_empty() { None } else { hook.iter().position(same) };
    let found = found.or_else(|| {
        let same_type = |of: &[BtfParam]| of.iter().filter(|parameter| parameter.ty == wanted.ty).count();
        // A name that the hook uses for an argument of another type is a change of meaning, not of spelling.
        let renamed = !hook.iter().any(|parameter| parameter.name == wanted_name);
        let only = renamed && same_type(function) == 1 && same_type(hook) == 1;
        only.then(|| hook.iter().position(|parameter| parameter.ty == wanted.ty)).flatten()
    })?;
    u32::try_from(found).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(text: &str) -> Vec<BtfParam> {
        let parse = |one: &str| {
            let (ty, name) = one.trim().rsplit_once([' ', '*']).unwrap();
            let star = if one.contains('*') { " *" } else { "" };
            BtfParam { name: name.into(), ty: format!("{}{star}", ty.trim_end_matches(['*', ' '])) }
        };
        text.split(',').map(parse).collect()
    }

    fn hooks(rows: &[(&str, &str)]) -> Hooks {
        rows.iter().map(|(name, text)| ((*name).to_owned(), parameters(text))).collect()
    }

    #[test]
    fn an_argument_is_found_by_name_wherever_the_hook_has_it() {
        let function = parameters("struct file *file, unsigned long prot, unsigned long flags");
        let hooks = hooks(&[(
            "mmap_file",
            "struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags",
        )]);
        let twin = resolve("security_mmap_file", Some(&function), &[0, 1, 2], &hooks).unwrap();
        assert_eq!(twin, Twin { hook: "mmap_file".into(), arguments: vec![0, 1, 3], can_deny: true });
    }

    #[test]
    fn the_names_that_differ_are_in_the_table_for_old_and_new_kernels() {
        let old = hooks(&[
            ("bpf_map_alloc_security", "struct bpf_map *map"),
            ("bprm_check_security", "struct linux_binprm *bprm"),
        ]);
        let new = hooks(&[("bpf_map_create", "struct bpf_map *map, union bpf_attr *attr")]);
        let map = parameters("struct bpf_map *map");
        assert_eq!(resolve("security_bpf_map_alloc", Some(&map), &[0], &old).unwrap().hook, "bpf_map_alloc_security");
        assert_eq!(resolve("security_bpf_map_create", Some(&map), &[0], &new).unwrap().hook, "bpf_map_create");
        assert_eq!(resolve("security_bprm_check", None, &[], &old).unwrap().hook, "bprm_check_security");
        assert!(matches!(resolve("security_bpf_map_alloc", Some(&map), &[0], &new), Err(NoTwin::Absent { .. })));
    }

    #[test]
    fn an_argument_the_hook_does_not_get_is_named() {
        let function = parameters("struct inode *old_dir, struct dentry *old_dentry, unsigned int flags");
        let hooks = hooks(&[("inode_rename", "struct inode *old_dir, struct dentry *old_dentry")]);
        let error = resolve("security_inode_rename", Some(&function), &[0, 2], &hooks).unwrap_err();
        assert!(
            error.to_string().contains("does not get argument 2") && error.to_string().contains("flags"),
            "{error}"
        );
    }

    #[test]
    fn a_name_with_another_type_is_no_match() {
        let function = parameters("struct dentry *src");
        let hooks = hooks(&[("inode_copy_up", "char *src, struct dentry *other")]);
        assert!(matches!(
            resolve("security_inode_copy_up", Some(&function), &[0], &hooks),
            Err(NoTwin::Argument { index: 0, .. })
        ));
    }

    #[test]
    fn hooks_without_a_verdict_cannot_deny() {
        let hooks = hooks(&[("bprm_committed_creds", "struct linux_binprm *bprm")]);
        assert!(!resolve("security_bprm_committed_creds", None, &[], &hooks).unwrap().can_deny);
    }

    #[test]
    fn what_is_no_lsm_function_has_no_twin() {
        assert!(matches!(resolve("tcp_connect", None, &[], &Hooks::new()), Err(NoTwin::NotLsm { .. })));
    }
}
