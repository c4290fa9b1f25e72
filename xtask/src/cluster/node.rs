//! A node: a virtual machine whose disk is the node image, with what is particular to it in an archive behind its initramfs.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::{
    process::{Run, which},
    vm::initramfs::Archive,
};

use super::{
    addresses::{API_SERVER, NETWORK_PREFIX, NODES, Node, PODS, REGISTRY},
    node_image::NodeImage,
    pki::Pki,
    sandbox::Sandbox,
};

/// Megabytes. Less and the kubelet starts to evict; more and two nodes do not fit beside a build.
const MEMORY: u32 = 1536;

/// Starts a node. Its console goes to `DIR/NODE.log`; its disk is the image, and what it writes is forgotten.
pub(crate) fn boot(node: Node, sandbox: &Sandbox, image: &NodeImage, pki: &Pki, dir: &Path) -> Result<()> {
    let kernel = image.kernel(node);
    let initrd = initrd(node, &kernel.initrd, pki, dir)?;
    let disk = format!("file={},if=virtio,format=raw,snapshot=on,cache=unsafe", image.disk().display());
    let tap = format!("tap,id=net,ifname={},script=no,downscript=no", node.tap());
    let mut command = sandbox.command("qemu-system-x86_64");
    command
        // One processor: attaching programs on a busy hook with two of them panics under this emulator.
        .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1", "-m", &MEMORY.to_string()])
        .args(["-nographic", "-no-reboot", "-kernel"])
        .arg(&kernel.vmlinuz)
        .arg("-initrd")
        .arg(&initrd)
        .args(["-append", "console=ttyS0 quiet panic=-1 lsm=lockdown,capability,bpf net.ifnames=0"])
        .args(["-drive", &disk])
        .args(["-netdev", &tap, "-device", &format!("virtio-net-pci,netdev=net,mac={}", node.mac())])
        // A container runtime asks for much randomness, and nothing else here provides it.
        .args(["-device", "virtio-rng-pci"])
        // Where the emulator keeps what the guest writes to its disk.
        .env("TMPDIR", dir);
    sandbox.daemon(&mut command, dir, &node.name())
}

/// Makes a key for the nodes, and a program that is `ssh` with their names and this key.
pub(crate) fn write_ssh(dir: &Path, program: &Path) -> Result<()> {
    Run::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "rig", "-f"]).arg(ssh_key(dir)).run()?;
    let mut config = String::new();
    for node in NODES {
        writeln!(config, "Host {}\n  HostName {}", node.name(), node.address())?;
    }
    // The nodes make their own keys at each start, in a network that nobody else is in.
    let key = ssh_key(dir);
    writeln!(
        config,
        "Host *\n  User root\n  IdentityFile {}\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR",
        key.display()
    )?;
    let file = dir.join("ssh-config");
    fs::write(&file, config)?;
    let ssh = which("ssh").context("ssh is not installed")?;
    fs::write(program, format!("#!/bin/sh\nexec {} -F '{}' \"$@\"\n", ssh.display(), file.display()))?;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The private key for the nodes.
fn ssh_key(dir: &Path) -> PathBuf {
    dir.join("ssh-key")
}

/// The image's initramfs with an archive of this node's files behind it: the kernel unpacks one after the other.
fn initrd(node: Node, base: &Path, pki: &Pki, dir: &Path) -> Result<PathBuf> {
    let mut whole = fs::read(base).with_context(|| format!("cannot read {}", base.display()))?;
    // The kernel looks for the next archive at a multiple of four.
    whole.resize(whole.len().next_multiple_of(4), 0);
    whole.extend(files(node, pki, dir)?.finish());
    let initrd = dir.join(format!("{}.initrd", node.name()));
    fs::write(&initrd, whole)?;
    Ok(initrd)
}

fn files(node: Node, pki: &Pki, dir: &Path) -> Result<Archive> {
    let mut archive = Archive::default();
    let mut add = |file: &str, contents: &[u8]| archive.file(&format!("rig/{file}"), 0o600, contents);
    let name = node.name();
    add("node.env", environment(node)?.as_bytes());
    add("kubelet.yaml", kubelet().as_bytes());
    add("kube-proxy.yaml", kube_proxy().as_bytes());
    add("pods.conflist", pod_network(node).as_bytes());
    add("hosts.toml", registry_host().as_bytes());
    add("kubelet.kubeconfig", pki.kubeconfig(&format!("{name}-client"))?.as_bytes());
    add("kube-proxy.kubeconfig", pki.kubeconfig("kube-proxy")?.as_bytes());
    for (from, file) in [
        (pki.ca(), "ca.crt"),
        (pki.cert(&format!("{name}-serving")), "kubelet.crt"),
        (pki.key(&format!("{name}-serving")), "kubelet.key"),
        (ssh_key(dir).with_extension("pub"), "authorized_keys"),
    ] {
        add(file, &fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?);
    }
    Ok(archive)
}

fn environment(node: Node) -> Result<String> {
    let mut text = format!(
        "NODE={}\nADDRESS={}/{NETWORK_PREFIX}\nGATEWAY={API_SERVER}\nREGISTRY={REGISTRY}\nROUTES='",
        node.name(),
        node.address()
    );
    for other in NODES.into_iter().filter(|other| *other != node) {
        writeln!(text, "{} via {}", other.pods(), other.address())?;
    }
    ensure!(!text.contains('"'), "a value that the shell would not take as it is");
    text.push_str("'\n");
    Ok(text)
}

/// The kubelet knows its callers by certificate or token, and asks the API server what they may do.
fn kubelet() -> String {
    "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: /etc/rig/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: /etc/rig/kubelet.crt
tlsPrivateKeyFile: /etc/rig/kubelet.key
cgroupDriver: cgroupfs
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
failSwapOn: false
# The disk is small and forgotten afterwards: running low on it must not evict what is tested.
evictionHard: {nodefs.available: \"0%\", nodefs.inodesFree: \"0%\", imagefs.available: \"0%\", memory.available: \"0%\"}
"
    .to_owned()
}

fn kube_proxy() -> String {
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: {PODS}
clientConnection: {{kubeconfig: /etc/rig/kube-proxy.kubeconfig}}
conntrack: {{maxPerCore: 0}}
"
    )
}

fn pod_network(node: Node) -> String {
    let subnet = node.pods();
    format!(
        r#"{{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false,
    "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{subnet}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
]}}
"#
    )
}

fn registry_host() -> String {
    format!(
        "server = \"https://{REGISTRY}\"\n\n[host.\"https://{REGISTRY}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = \"/etc/rig/ca.crt\"\n"
    )
}
