/** What a plain Debian needs to be a parcel on a serial console: files that lie over those of its packages. */
import type { DiskFile } from './files.ts'

/** A shell for root on the serial console, with nothing to type before it. */
const AUTOLOGIN = `[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200,38400,9600 %I dumb
`

/** As the small guest has it: `/run/tick` counts seconds in RAM. */
const TICK = `[Unit]
Description=A counter in RAM
[Service]
ExecStart=/bin/sh -c 'n=0; while :; do n=$$((n+1)); echo $$n > /run/tick.new; mv /run/tick.new /run/tick; sleep 1; done'
[Install]
WantedBy=multi-user.target
`

/** Timers that would start work in the midst of a measurement, and need a network. */
const MASKED = [
  'apt-daily.timer',
  'apt-daily-upgrade.timer',
  'dpkg-db-backup.timer',
  'e2scrub_all.timer',
  'fstrim.timer',
  'systemd-tmpfiles-clean.timer'
]

export const DEBIAN_FILES: DiskFile[] = [
  { name: 'etc/hostname', content: 'parcel\n' },
  { name: 'etc/hosts', content: '127.0.0.1 localhost parcel\n' },
  {
    name: 'etc/fstab',
    content:
      '/dev/vda / ext4 noatime,errors=remount-ro 0 1\ntmpfs /run tmpfs mode=755,size=50% 0 0\n'
  },
  { name: 'etc/resolv.conf', content: 'nameserver 10.0.2.3\n' },
  // empty, not missing: else the first boot asks questions on the console
  { name: 'etc/machine-id', content: '' },
  {
    name: 'etc/systemd/network/50-ether.network',
    content: '[Match]\nType=ether\n[Network]\nDHCP=ipv4\n'
  },
  { name: 'etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf', content: AUTOLOGIN },
  { name: 'etc/systemd/system/tick.service', content: TICK },
  // the console's echo stays readable for programs
  { name: 'root/.inputrc', content: 'set enable-bracketed-paste off\n' },
  { name: 'root/hello', content: 'This file is on the disk of the parcel.\n' }
]

/**
 * Makes the disk, as root: `sh -e FILE` with the tree to be made, the userland as tar, the folder with files over
 * it, the disk to be made, its bytes, and its UUID. The tree's folder `dev` stays empty: the kernel fills it.
 */
export const MAKE_DISK = `
tree=$1 userland=$2 over=$3 disk=$4 bytes=$5 uuid=$6
trap 'rm -rf "$tree"' EXIT # others than root may not, outside
mkdir "$tree"
tar -x -p --numeric-owner --exclude='./dev/*' -C "$tree" -f "$userland"
cp -r --no-preserve=ownership "$over/." "$tree"
enable() {
  mkdir -p "$tree/etc/systemd/system/multi-user.target.wants"
  ln -sf "$1" "$tree/etc/systemd/system/multi-user.target.wants/"
}
enable /etc/systemd/system/tick.service
enable /lib/systemd/system/systemd-networkd.service
for unit in ${MASKED.join(' ')}; do
  ln -sf /dev/null "$tree/etc/systemd/system/$unit"
done
sed -i 's/^root:[^:]*:/root::/' "$tree/etc/shadow"
chroot "$tree" depmod "$(ls "$tree/usr/lib/modules")"
truncate -s "$bytes" "$disk"
mkfs.ext4 -q -F -b 4096 -L parcel -U "$uuid" -E "hash_seed=$uuid" -d "$tree" "$disk"
`
