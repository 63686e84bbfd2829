/** What the guest does before each of its ten versions: shell commands, one after the other. */

export interface Chapter {
  name: string
  command: string
}

/** The disk with packages, see `packages.ts`. */
const PACKAGES = '/dev/vdb'
const FILES = 4
const FUNCTIONS = 120

const IDLE = 'sleep 20'
const INSTALL = (set: string) =>
  `mkdir -p /mnt/debs && mount -o ro ${PACKAGES} /mnt/debs; DEBIAN_FRONTEND=noninteractive dpkg --force-depends --force-downgrade -i /mnt/debs/${set}/*.deb > /root/dpkg.log 2>&1 || echo failed; umount /mnt/debs; sync`
const SOURCES = `mkdir -p /root/program && cd /root/program && for i in $(seq ${FILES}); do for f in $(seq ${FUNCTIONS}); do echo "int f_$i_$f(int a, int b) { int s = $f; for (int k = 0; k < a; k++) { s += (k * b + $i) % (s | 1); if (s > $f * 1000) s -= b; } return s; }" | sed "s/f_/f_\${i}_\${f}_/"; done > part$i.c; done; echo 'int main(void) { return 0; }' > main.c; cd /root`
const COMPILE = `cd /root/program && for i in $(seq ${FILES}); do gcc -g -O2 -c part$i.c -o part$i.o || echo failed; done; gcc main.c part*.o -o program && ./program; cd /root; sync`
const EDIT = `cd /root/program && sed -i 's/% (s/% (3 + s/' part1.c part3.c; cd /root`
const LOOK = `find /usr/bin /usr/lib/x86_64-linux-gnu -type f -size -400k 2>/dev/null | head -n 1500 | xargs grep -l parcel 2>/dev/null | wc -l; ls -lR /usr > /root/listing`

export const DEBIAN_LIFE: Chapter[] = [
  { name: 'boot', command: 'true' },
  { name: 'idle', command: IDLE },
  { name: 'compile', command: `${SOURCES}; ${COMPILE}` },
  { name: 'install packages', command: INSTALL('old') },
  { name: 'idle', command: IDLE },
  { name: 'update packages', command: INSTALL('new') },
  { name: 'compile', command: `${EDIT}; ${COMPILE}` },
  { name: 'look for something', command: LOOK },
  { name: 'clean and compile', command: `rm /root/program/*.o; ${COMPILE}` },
  { name: 'idle', command: IDLE }
]

/** For the guest with nothing but busybox. */
export const SMALL_LIFE: Chapter[] = [
  { name: 'boot', command: 'true' },
  { name: 'write', command: 'head -c 1m /dev/urandom > /root/a; seq 50000 > /root/b; sync' },
  { name: 'copy', command: 'cp /root/a /root/c; cp /root/b /root/d; sync' }
]
