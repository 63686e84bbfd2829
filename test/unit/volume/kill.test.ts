import test from 'brittle'
import type { Assert } from 'brittle'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { FAULT_POINTS } from '../../../lib/base/fault-point.ts'
import { CHUNK_BYTES } from '../../../lib/base/limits.ts'
import { Overlay } from '../../../lib/volume/overlay.ts'
import { Volume } from '../../../lib/volume/volume.ts'
import { MemoryBase } from '../../helpers/memory-base.ts'
import { NUMBERED_CHUNKS, newestNumber, numberedContent } from '../../helpers/numbered-content.ts'

const script = path.join(import.meta.dirname, '../../helpers/flush-writer.js')

test('overlay: every acknowledged flush survives SIGKILL at any time', async (t) => {
  t.timeout(60_000)
  for (let round = 0; round < 5; round++) await killed(t, {}, 100 + round * 37)
})

test('overlay: and at every step', async (t) => {
  t.timeout(60_000)
  for (const point of FAULT_POINTS.overlay) {
    for (const count of [2, 4, 11]) {
      await killed(t, { HYPERPARCEL_TEST_KILL_AT: `${point}:${count}` }, null)
    }
  }
})

/** Writes until it is killed, that long after its first flush or by itself, and looks at what is left. */
async function killed(t: Assert, env: NodeJS.ProcessEnv, afterMs: number | null): Promise<void> {
  const file = path.join(await t.tmp(), 'overlay')
  const child = spawn(process.execPath, [script, file], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env }
  })
  let printed = ''
  child.stdout.setEncoding('utf8')
  child.stdout.on('data', (text: string) => (printed += text))
  const closed = once(child, 'close')
  if (afterMs !== null) {
    await once(child.stdout, 'data')
    setTimeout(() => child.kill('SIGKILL'), afterMs)
  }
  t.is((await closed)[1], 'SIGKILL')
  const numbers = (what: string) =>
    [...printed.matchAll(new RegExp(`^${what} (\\d+)$`, 'gm'))].map(([, number]) => Number(number))
  const flushed = numbers('flushed').at(-1) ?? 0
  const versions = new Set(numbers('version').map(String))
  const why = `${Object.values(env).join()}: flushed up to ${flushed}, ${versions.size} versions`

  const overlay = await Overlay.open(file, {
    unsealKey: (sealed) => Buffer.from(sealed),
    committed: (id) => versions.has(id)
  })
  if (overlay.baseId !== '0' && !versions.has(overlay.baseId)) t.fail(`lies on ${overlay.baseId}`)
  const volume = new Volume(new MemoryBase(numberedContent(Number(overlay.baseId))), overlay)
  const all = Buffer.alloc(volume.size)
  await volume.pread(all, 0)
  await volume.close()
  let wrong = 0
  for (let chunk = 0; chunk < NUMBERED_CHUNKS; chunk++) {
    // The flushed one, or one that was written after it.
    const content = all.subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES)
    const newest = newestNumber(chunk, flushed)
    const allowed = [newest, newestNumber(chunk, flushed + 7)].map((number) => number % 251)
    const same = content.every((byte) => byte === content[0])
    if (!same || !allowed.includes(content[0])) wrong++
  }
  t.is(wrong, 0, why)
}
