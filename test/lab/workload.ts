/**
 * What the guest does after a resume: reads, compresses, compiles and writes what has not been touched since it booted.
 * Each line is one step; their times are summed, so that the console costs nothing.
 */
import type { SerialConsole } from '../../examples/guest/serial-console.ts'

const STEP_MS_MAX = 3 * 3600_000

interface Step {
  name: string
  command: string
}

const DEBIAN: Step[] = [
  { name: 'list', command: 'ls -lR /usr/share/doc | wc -l' },
  { name: 'read', command: 'cat /usr/lib/gcc/x86_64-linux-gnu/12/*.a | md5sum' },
  { name: 'packages', command: 'dpkg-query -W | sort | awk "{ print \\$1 }" | wc -l' },
  { name: 'compress', command: 'tar -c /etc /usr/include | gzip -6 > /root/include.tgz' },
  { name: 'unpack', command: 'mkdir -p /root/u && tar -xzf /root/include.tgz -C /root/u && sync' },
  {
    name: 'compile',
    command: `cd /root && for n in 1 2 3; do echo '#include <stdio.h>' > p.c && echo 'int main(void) { puts("compiled"); return 0; }' >> p.c && gcc -O2 -o p p.c && ./p; done`
  },
  {
    name: 'perl',
    command: "perl -e 'my %h; $h{($_ * 7919) % 65537} += $_ for 1 .. 300000; print scalar(keys %h)'"
  },
  { name: 'search', command: 'grep -r size_t /root/u | wc -l' },
  { name: 'write', command: 'dd if=/dev/zero of=/root/zeros bs=1M count=32 conv=fsync 2>&1' }
]

const SMALL: Step[] = [
  { name: 'read', command: 'md5sum /bin/busybox' },
  { name: 'compress', command: 'tar -c /etc 2>/dev/null | gzip > /root/etc.tgz' },
  { name: 'write', command: 'dd if=/dev/zero of=/root/zeros bs=1M count=1 2>&1; sync' }
]

export interface Worked {
  workload_ms: number
  steps: Record<string, number>
}

export async function work(console: SerialConsole, small: boolean): Promise<Worked> {
  const steps: Record<string, number> = {}
  const began = performance.now()
  for (const { name, command } of small ? SMALL : DEBIAN) {
    const from = performance.now()
    await console.run(command, { timeoutMs: STEP_MS_MAX })
    steps[name] = Math.round(performance.now() - from)
  }
  return { workload_ms: Math.round(performance.now() - began), steps }
}
