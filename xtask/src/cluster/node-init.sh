#!/bin/sh
# Process 1 of a node: what a node needs, in the order in which it needs it. No systemd, no udev.
# What is particular to a node and a run is in /etc/rig, put there by the initramfs.
set -u
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
. /etc/rig/node.env
say() { echo "$NODE: $* ($(cut -d' ' -f1 /proc/uptime) s)" > /dev/console; }

mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
# As systemd does: a pod that mounts a path of the host with propagation needs it.
mount --make-rshared /
hostname "$NODE"
ulimit -n 65536

# Nothing loads drivers by itself without udev.
for module in virtio_net overlay br_netfilter veth bridge nf_conntrack; do modprobe "$module"; done
until [ -e /sys/class/net/eth0 ]; do sleep 0.05; done
ip link set lo up
ip link set eth0 up
ip address add "$ADDRESS" dev eth0
ip route add default via "$GATEWAY"
echo "$ROUTES" | while read -r route; do [ -z "$route" ] || eval "ip route add $route"; done
sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
# Debian's defaults, which its systemd packages would set: what an agent may do depends on them.
sysctl -qw kernel.unprivileged_bpf_disabled=2 kernel.perf_event_paranoid=3

mkdir -p /etc/dropbear /etc/cni/net.d "/etc/containerd/certs.d/$REGISTRY" /root/.ssh
cp /etc/rig/pods.conflist /etc/cni/net.d/
cp /etc/rig/hosts.toml "/etc/containerd/certs.d/$REGISTRY/"
cp /etc/rig/authorized_keys /root/.ssh/
chmod -R go= /root /root/.ssh

dropbear -R -s -E 2> /var/log/dropbear.log
say "containerd starts"
containerd > /var/log/containerd.log 2>&1 &
until ctr version > /dev/null 2>&1; do sleep 0.2; done

say "kubelet starts"
controlplane kube-proxy --config=/etc/rig/kube-proxy.yaml --hostname-override="$NODE" > /var/log/kube-proxy.log 2>&1 &
while :; do
    controlplane kubelet --config=/etc/rig/kubelet.yaml --kubeconfig=/etc/rig/kubelet.kubeconfig \
        --node-ip="${ADDRESS%/*}" --hostname-override="$NODE" >> /var/log/kubelet.log 2>&1
    say "kubelet ended with $?: $(tail -n 3 /var/log/kubelet.log)"
    sleep 1
done
