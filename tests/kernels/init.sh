#!/bin/sh
# The first process of the guest: it runs the tests that the tiers xdp and netns
# have for the host's own kernel. Lines that begin with "guest: " are for the
# host, which judges by them.

export PATH=/bin HOME=/ LC_ALL=C RUST_BACKTRACE=1

mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
mount -t bpf none /sys/fs/bpf
mount -t tmpfs -o mode=0755 none /run
mount -t tmpfs -o mode=1777 none /tmp
for module in /modules/*; do
    insmod "$module"
done
ip link set lo up

run() {
    "$@" 2>&1
    echo "guest: $1 ended with $?"
}

read -r version < /proc/version
echo "guest: $version"
# Frame by frame, and attached: as root, and with CAP_BPF and CAP_NET_ADMIN alone.
run xdp frames:: model:: attach::auto attach::native attach::two_capabilities \
    attach::without_cap attach::every_map adoption::maps_of_another_abi \
    ten_restarts_in_native_mode wire::arping
# The daemon: as root, and as nobody with CAP_NET_RAW beside these two.
# They wait most of the time.
run netns --test-threads=3 responder::every_form status::every_field unprivileged::
read -r tainted < /proc/sys/kernel/tainted
echo "guest: taints $tainted"
echo "guest: end"

# The host ends the guest.
exec sleep 3600
