#!/bin/busybox sh
# Process 1 of a test guest: what a program expects of a machine, then /run.sh, then the end.
/bin/busybox mkdir -p /bin /sbin /proc /sys /dev /tmp /run /root /etc
/bin/busybox --install -s /bin
export PATH=/bin:/sbin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
ln -sf /proc/self/fd /dev/fd
ip link set lo up
ulimit -l unlimited
hostname guest
# The first serial port is the kernel's; what the program writes goes to the second one, as it is.
exec > /dev/ttyS1 2>&1 < /dev/null
stty -F /dev/ttyS1 raw -echo
# In a session of its own: process 1 is in no process group, and its children would not be either.
setsid sh /run.sh
echo "@guest ended with $?"
sync
poweroff -f
