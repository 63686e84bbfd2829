/** The texts that make the guest: its kernel command line, the initramfs' `init`, and what is on its disk. */

export const KERNEL_APPEND = 'console=ttyS0 quiet loglevel=3 random.trust_bootloader=on panic=1'

/** What the guest's shell on the serial console prints when it is ready. */
export const GUEST_PROMPT = 'parcel# '

/** Loads the modules and goes on from the disk; without a disk it stays here, with a shell. */
export const INITRAMFS_INIT = `#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for m in $($b cat /modules/order); do $b insmod /modules/$m; done
n=0
while [ ! -b /dev/vda ] && [ $n -lt 20 ]; do n=$((n+1)); $b sleep 0.1; done
if $b mount -t ext4 -o noatime /dev/vda /disk; then
  for d in proc sys dev; do $b mount --move /$d /disk/$d; done
  exec $b switch_root /disk /sbin/init
fi
$b --install -s /bin
export PATH=/bin PS1='${GUEST_PROMPT}'
exec setsid -c sh -i </dev/ttyS0 >/dev/ttyS0 2>&1
`

/**
 * Runs once, before the console. \`/run/tick\` counts seconds in RAM. The guest agent corrects the clock
 * when the host asks; a guest without one keeps the old time, although its hardware clock is right.
 */
const RC = `#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
hostname parcel
mount -t tmpfs -o size=90%,mode=755 tmpfs /run
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
ip link set lo up
if ip link set eth0 up 2>/dev/null; then
  ip addr add 10.0.2.15/24 dev eth0
  ip route add default via 10.0.2.2
fi
(
  n=0
  while :; do
    n=$((n+1))
    echo $n > /run/tick.new
    mv /run/tick.new /run/tick
    sleep 1
  done
) &
for p in /sys/class/virtio-ports/*; do
  [ "$(cat $p/name)" = org.qemu.guest_agent.0 ] || continue
  (while :; do qemu-ga -t /run -m virtio-serial -p /dev/\${p##*/} >/dev/null 2>&1; sleep 1; done) &
done
acpid -c /etc/acpi -l /dev/null -p /run/acpid.pid
`

const INITTAB = `::sysinit:/etc/rc
ttyS0::respawn:-/bin/sh
::ctrlaltdel:/bin/reboot
::shutdown:/bin/sync
::shutdown:/bin/mount -o remount,ro /
`

const PROFILE = `export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
PS1='${GUEST_PROMPT}'
cd /root
`

export interface DiskFile {
  name: string
  content: string
  mode?: number
}

export const DISK_FILES: DiskFile[] = [
  { name: 'etc/rc', content: RC, mode: 0o755 },
  { name: 'etc/inittab', content: INITTAB },
  { name: 'etc/profile', content: PROFILE },
  { name: 'etc/passwd', content: 'root::0:0:root:/root:/bin/sh\n' },
  { name: 'etc/group', content: 'root:x:0:\n' },
  { name: 'etc/resolv.conf', content: 'nameserver 10.0.2.3\n' },
  { name: 'etc/acpi/PWRF/00000080', content: '#!/bin/sh\npoweroff\n', mode: 0o755 },
  { name: 'root/hello', content: 'This file is on the disk of the parcel.\n' }
]
