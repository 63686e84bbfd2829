/**
 * `idle-suspend`: a guest that was resumed idles for a minute and is suspended, durable on return of the command;
 * against QEMU's own save of an equal guest that idles at the same time. Both have read many files before, so that
 * their memory is in use, as that of any machine that did some work. Only one of them runs while the other one is
 * measured.
 */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { SerialConsole } from '../../../examples/guest/serial-console.ts'
import { median, round, rowOf, type BenchRow, type Series } from '../framework.ts'
import { settleDisk, type BenchHome } from '../parts/bench-home.ts'
import { benchGuest } from '../parts/image.ts'
import { PlainQemu } from '../parts/plain-qemu.ts'
import type { Workspace } from '../parts/workspace.ts'

const ROW = { name: 'idle-suspend', unit: 's', better: 'lower', goal: 3 } as const
const BOOT_MS = 400_000
/** Fills the guest's memory with its page cache. */
const READ_FILES = 'find /usr /var -xdev -type f -exec cat {} + > /dev/null; sync'

export async function idleSuspendRow(workspace: Workspace): Promise<BenchRow[]> {
  const { directory, opts } = workspace
  const guest = await benchGuest(opts)
  const memoryMib = opts.small ? 128 : 512
  const idleMs = opts.small ? 1000 : 60_000
  const rounds = opts.rounds ?? (opts.small ? 1 : 5)
  const home = await workspace.home()
  await home.device.run(
    ...['create', 'guest', '--disk', guest.disk, '--memory', `${memoryMib}M`],
    ...['--kernel', guest.kernel, '--initrd', guest.initrd, '--append', guest.append]
  )
  opts.log(`idle-suspend: two guests of ${memoryMib} MiB boot`)
  const plain = await PlainQemu.start(directory, guest, memoryMib)
  try {
    await boot(home)
    await warmUp(plain.console)
    const ours: Series = { name: 'ours', samples: [] }
    const peer: Series = { name: 'QEMU migrate, zstd -1', samples: [] }
    const saved = path.join(directory, 'plain.state')
    const stored: number[] = []
    const pauses: number[] = []
    const inside: number[] = []
    let first: Record<string, number> = {}
    let steps = ''
    for (let turn = opts.small ? 0 : -1; turn < rounds; turn++) {
      opts.log(turn < 0 ? 'idle-suspend: after the boot' : `idle-suspend: round ${turn + 1}`)
      await sleep(idleMs, undefined, { signal: opts.signal })
      await settleDisk(opts)
      const theirs = await plain.save(saved)
      await settleDisk(opts)
      const { result, wallMs } = await home.device.run<Suspended>('suspend', 'guest')
      if (turn < 0) {
        first = {
          'ours, first one after the boot s': round(wallMs / 1000),
          'peer, first one s': round(theirs)
        }
      } else {
        peer.samples.push({ value: theirs })
        ours.samples.push({ value: wallMs / 1000 })
        stored.push(result.bytes_stored)
        pauses.push(result.pause_ms)
        inside.push(result.suspend_ms)
        steps = Object.entries(result.trace)
          .map(([step, ms]) => `${step} ${ms}`)
          .join(', ')
      }
      if (turn === rounds - 1) break
      await home.device.run('resume', 'guest')
      await plain.go()
    }
    const details = {
      'idle s': idleMs / 1000,
      'ours, without starting the command s': round(median(inside) / 1000),
      'ours, steps of the last one in ms': `(${steps})`,
      'ours, pause s': round(median(pauses) / 1000),
      'ours, stored MB': round(median(stored) / 1e6),
      'peer, stored MB': round((await stat(saved)).size / 1e6),
      ...first
    }
    return [rowOf({ ...ROW, details }, ours, [peer])]
  } finally {
    await plain.end()
  }
}

interface Suspended {
  suspend_ms: number
  pause_ms: number
  bytes_stored: number
  /** When each step ended. */
  trace: Record<string, number>
}

async function boot(home: BenchHome): Promise<void> {
  const { result } = await home.device.run<{ serial: string }>('resume', 'guest')
  const console = new SerialConsole(result.serial)
  try {
    await warmUp(console)
  } finally {
    console.close()
  }
}

async function warmUp(console: SerialConsole): Promise<void> {
  await console.ready(BOOT_MS)
  await console.run(READ_FILES, { timeoutMs: BOOT_MS })
}
