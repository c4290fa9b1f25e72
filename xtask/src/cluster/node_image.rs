//! The disk that every node boots: Debian with containerd, the fixture's programs, and the modules of the nodes' kernels.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{
    cache::{Build, Cache, Inputs},
    process::{Run, which},
    versions::Versions,
    vm::{
        initramfs::Archive,
        kernel::{self, Image},
    },
};

use super::{
    addresses::{NODES, Node, REGISTRY},
    fixture::Fixture,
};

/// The release of the nodes' user space. Bookworm's containerd is older than what this Kubernetes works with.
const SUITE: &str = "trixie";

const PACKAGES: [&str; 13] = [
    "containerd",
    "runc",
    "containernetworking-plugins",
    "iproute2",
    "iptables",
    "nftables",
    "kmod",
    "procps",
    "mount",
    "conntrack",
    "socat",
    // To look at a node from outside of every pod.
    "dropbear-bin",
    "bpftool",
];

const NODE_INIT: &str = include_str!("node-init.sh");
const INITRAMFS_INIT: &str = include_str!("initramfs-init.sh");

/// Drivers that find the disk. The cloud kernels have them as modules.
const INITRAMFS_MODULES: [&str; 3] = ["virtio_pci", "virtio_blk", "ext4"];

/// The image, in the cache.
#[derive(Debug, Clone)]
pub(crate) struct NodeImage {
    folder: PathBuf,
}

/// A kernel and the initramfs that goes with it.
#[derive(Debug, Clone)]
pub(crate) struct BootFiles {
    /// The kernel's image.
    pub(crate) vmlinuz: PathBuf,
    /// Its initramfs.
    pub(crate) initrd: PathBuf,
}

impl NodeImage {
    /// The image for these programs, built now if the cache has none.
    pub(crate) fn build(cache: &Cache, fixture: &Fixture) -> Result<Self> {
        let base = base(cache)?;
        let versions = Versions::pinned()?;
        let fetch = |node: &Node| kernel::image(cache, versions.kernel(node.kernel)?);
        let kernels = NODES.iter().map(fetch).collect::<Result<Vec<_>>>()?;
        let mut inputs = Inputs::new()
            .text("base", path_key(&base))
            .text("control plane", path_key(fixture.control_plane()))
            .text("node-init", NODE_INIT)
            .text("initramfs-init", INITRAMFS_INIT)
            .text("containerd", containerd_config());
        for kernel in &kernels {
            inputs = inputs.text("kernel", &kernel.release);
        }
        let folder = cache.artifact("node", "the nodes' disk", inputs, |build| {
            let root = build.folder.join("root");
            build.progress.say("copying Debian");
            Run::new("cp").args(["-a", "--reflink=auto"]).arg(base.join("root")).arg(&root).log(build.log).run()?;
            install(&root, fixture)?;
            for kernel in &kernels {
                build.progress.say(format!("kernel {}", kernel.release));
                add_kernel(build, &root, kernel)?;
            }
            build.progress.say("writing the file system");
            let disk = build.folder.join("node.img");
            Run::new("mkfs.ext4").args(["-q", "-F", "-d"]).arg(&root).arg(&disk).arg("3500M").log(build.log).run()?;
            fs::remove_dir_all(&root).context("cannot remove the image's folder")
        })?;
        Ok(Self { folder })
    }

    /// The disk. Nobody may write to it.
    pub(crate) fn disk(&self) -> PathBuf {
        self.folder.join("node.img")
    }

    /// What a node boots.
    pub(crate) fn kernel(&self, node: Node) -> BootFiles {
        let named = |prefix: &str| self.folder.join(format!("{prefix}-{}", node.kernel));
        BootFiles { vmlinuz: named("vmlinuz"), initrd: named("initrd") }
    }
}

/// Debian alone: it changes least and takes longest.
fn base(cache: &Cache) -> Result<PathBuf> {
    let packages = PACKAGES.join(",");
    let inputs = Inputs::new().text("suite", SUITE).text("packages", &packages);
    cache.artifact("debian", "Debian for the nodes (a minute)", inputs, |build| {
        Run::as_root("debootstrap")
            .args(["--variant=minbase", &format!("--include={packages}"), SUITE])
            .arg(build.folder.join("root"))
            .arg(kernel::mirror()?)
            .log(build.log)
            .run()?;
        // What was downloaded is unpacked.
        fs::remove_dir_all(build.folder.join("root/var/cache/apt/archives")).context("no folder of packages")
    })
}

fn install(root: &Path, fixture: &Fixture) -> Result<()> {
    let controlplane = root.join("usr/bin/controlplane");
    fs::copy(fixture.program("kubelet").canonicalize()?, &controlplane).context("cannot copy the kubelet")?;
    let init = root.join("usr/sbin/node-init");
    fs::write(&init, NODE_INIT)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    fs::create_dir_all(root.join("etc/containerd"))?;
    fs::write(root.join("etc/containerd/config.toml"), containerd_config())?;
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n")?;
    Ok(())
}

fn containerd_config() -> String {
    format!(
        r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{REGISTRY}/pause:1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
"#
    )
}

/// Adds a kernel's modules to the root, and beside it what boots the kernel.
fn add_kernel(build: &Build<'_>, root: &Path, kernel: &Image) -> Result<()> {
    let modules = root.join("usr/lib/modules");
    fs::create_dir_all(&modules)?;
    Run::new("cp").arg("-a").arg(&kernel.modules).arg(&modules).log(build.log).run()?;
    // The initramfs has no xz, and the disk has room.
    Run::new("find")
        .arg(modules.join(&kernel.release))
        .args(["-name", "*.ko.xz", "-exec", "xz", "-d", "{}", "+"])
        .log(build.log)
        .run()?;
    Run::new("depmod").arg("-b").arg(root).arg(&kernel.release).log(build.log).run()?;
    fs::copy(&kernel.vmlinuz, build.folder.join(format!("vmlinuz-{}", kernel.name)))?;
    fs::write(build.folder.join(format!("initrd-{}", kernel.name)), initramfs(root, &kernel.release)?)?;
    Ok(())
}

/// busybox, the drivers in the order in which they must be loaded, and a script.
fn initramfs(root: &Path, release: &str) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["proc", "sys", "dev", "root", "rig"] {
        archive.folder(folder);
    }
    archive.host_file(&which("busybox").context("busybox is not installed")?, "bin/busybox")?;
    for applet in ["sh", "mount", "mkdir", "cp", "insmod", "switch_root", "sleep"] {
        archive.link(&format!("bin/{applet}"), "busybox");
    }
    let mut order = Vec::new();
    for module in INITRAMFS_MODULES {
        for file in module_files(root, release, module)? {
            let name = file.file_name().context("a module without a name")?.to_string_lossy().into_owned();
            if !order.contains(&name) {
                archive.file(&format!("modules/{name}"), 0o644, &fs::read(&file)?);
                order.push(name);
            }
        }
    }
    archive.file("modules/order", 0o644, (order.join("\n") + "\n").as_bytes());
    archive.file("init", 0o755, INITRAMFS_INIT.as_bytes());
    Ok(archive.finish())
}

/// The files of a module and of those that it needs, in the order of loading. None when it is built in.
fn module_files(root: &Path, release: &str, module: &str) -> Result<Vec<PathBuf>> {
    let list = Run::new("modprobe").arg("-d").arg(root).args(["-S", release, "--show-depends", module]).output()?;
    Ok(list.lines().filter_map(|line| line.strip_prefix("insmod ")).map(|path| PathBuf::from(path.trim())).collect())
}

/// The name of an artifact's folder says what it was built from.
fn path_key(folder: &Path) -> Vec<u8> {
    folder.file_name().unwrap_or_default().as_encoded_bytes().to_vec()
}
