#!/bin/sh
# Finds the node's disk and hands over to it, together with what this run wants to tell the node.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/modules/$module"; done < /modules/order
until [ -b /dev/vda ]; do sleep 0.05; done
mount -t ext4 /dev/vda /root
mkdir -p /root/etc/rig
cp -a /rig/. /root/etc/rig/
for dir in dev sys proc; do mount --move "/$dir" "/root/$dir"; done
exec switch_root /root /usr/sbin/node-init
