//! What a node says of itself, measured on the kernel this runs on. Needs root; run by `cargo xtask vm test`.

use stockade_enforcer_kernel::btf::KernelBtf;
use stockade_enforcer_kernel::{facts, offsets, twins};

mod guest;

use guest::in_guest;

#[test]
fn hooks_are_listed_with_argument_names_and_types() {
    if !in_guest() {
        return;
    }
    let btf = KernelBtf::read().unwrap();
    let facts = facts::facts(Some(&btf));
    assert!(facts.lsm_hooks.len() > 150, "{}", facts.lsm_hooks.len());
    let connect = &facts.lsm_hooks["socket_connect"];
    let shown: Vec<_> = connect.iter().map(|p| format!("{} {}", p.ty, p.name)).collect();
    assert_eq!(shown, ["struct socket * sock", "struct sockaddr * address", "int addrlen"]);
    let mmap = &facts.lsm_hooks["mmap_file"];
    let shown: Vec<_> = mmap.iter().map(|p| format!("{} {}", p.ty, p.name)).collect();
    assert_eq!(shown, ["struct file * file", "unsigned long reqprot", "unsigned long prot", "unsigned long flags"]);
    assert!(facts.features.contains("btf") && facts.features.contains("cgroup2"), "{:?}", facts.features);
    assert!(facts.features.contains("perf_events"), "root may open perf events: {:?}", facts.features);
    // Debian's kernels are built without error injection.
    assert!(!facts.features.contains("override_return"), "{:?}", facts.features);
    let old = ["5.10.", "6.1."].iter().any(|release| facts.kernel_release.starts_with(release));
    assert_eq!(facts.features.contains("kprobe_multi"), !old, "{}: {:?}", facts.kernel_release, facts.features);
}

#[test]
fn the_functions_of_real_policies_have_the_twins_that_were_measured() {
    if !in_guest() {
        return;
    }
    let btf = KernelBtf::read().unwrap();
    let hooks = btf.lsm_hooks().unwrap();
    let resolve =
        |function: &str, used: &[u32]| twins::resolve(function, btf.function(function).as_deref(), used, &hooks);
    for name in [
        "socket_connect",
        "socket_bind",
        "file_open",
        "file_permission",
        "kernel_read_file",
        "kernel_load_data",
        "kernel_module_request",
        "path_truncate",
        "path_unlink",
        "inode_mkdir",
        "inode_follow_link",
        "inode_copy_up",
        "bprm_creds_from_file",
        "capset",
        "perf_event_alloc",
        "sb_mount",
        "task_getscheduler",
        "bpf",
    ] {
        let twin = resolve(&format!("security_{name}"), &[0]).unwrap();
        assert_eq!((twin.hook.as_str(), twin.arguments.as_slice()), (name, &[0][..]), "{name}");
    }
    assert_eq!(resolve("security_bprm_check", &[0]).unwrap().hook, "bprm_check_security");
    assert_eq!(resolve("security_mmap_file", &[0, 1, 2]).unwrap().arguments, [0, 1, 3]);
    assert!(!resolve("security_bprm_committed_creds", &[0]).unwrap().can_deny);
    let release = facts::facts(None).kernel_release;
    let before = |name: &str| release.starts_with("5.10.") || (name != "5.10" && release.starts_with("6.1."));
    assert_eq!(resolve("security_file_truncate", &[]).is_err(), before("6.1"), "{release}");
    assert_eq!(resolve("security_bpf_map_alloc", &[]).is_ok(), before("6.1"), "{release}");
    assert_eq!(resolve("security_bpf_map_create", &[]).is_ok(), !before("6.1"), "{release}");
}

#[test]
fn every_offset_that_paths_processes_and_sockets_need_is_found() {
    if !in_guest() {
        return;
    }
    let btf = KernelBtf::read().unwrap();
    let mut kernel = offsets::kernel(&btf);
    // One of the two is on each kernel: which one decides how ancestors are read.
    let ancestors = (kernel.cgroup_ancestor_ids, kernel.cgroup_ancestors);
    assert!(ancestors.0 != u32::MAX || ancestors.1 != u32::MAX);
    let missing: Vec<_> = stockade_enforcer_common::offset::Kernel::FIELDS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !name.starts_with("cgroup_ancestor"))
        .filter(|name| kernel.field_mut(name).is_some_and(|offset| *offset == u32::MAX))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let file = btf.field("file", "f_path.dentry").unwrap();
    assert_eq!(file.offset(), kernel.file_path + kernel.path_dentry);
    assert_ne!(kernel.rename_lock, 0, "root reads kallsyms");
    // Where the helper is missing programs walk the cgroups themselves.
    let old = facts::facts(None).kernel_release.starts_with("5.10.");
    let helpers = stockade_enforcer_common::offset::feature::ANCESTOR_CGROUP;
    assert!(old || kernel.features & helpers != 0);
}
