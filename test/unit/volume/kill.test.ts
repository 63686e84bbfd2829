import test from 'brittle'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { CHUNK_BYTES } from '../../../lib/base/limits.ts'
import { ZeroBase } from '../../../lib/volume/base.ts'
import { Overlay } from '../../../lib/volume/overlay.ts'
import { Volume } from '../../../lib/volume/volume.ts'

const CHUNKS = 64
const script = path.join(import.meta.dirname, '../../helpers/flush-writer.js')

test('overlay: every acknowledged flush survives SIGKILL', async (t) => {
  t.timeout(60_000)
  for (let round = 0; round < 5; round++) {
    const file = path.join(await t.tmp(), 'overlay')
    const child = spawn(process.execPath, [script, file], { stdio: ['ignore', 'pipe', 'inherit'] })
    let printed = ''
    child.stdout.setEncoding('utf8')
    child.stdout.on('data', (text: string) => (printed += text))
    await once(child.stdout, 'data')
    await new Promise((resolve) => setTimeout(resolve, 100 + round * 37))
    child.kill('SIGKILL')
    await once(child, 'close')
    const flushed = Number(printed.slice(0, printed.lastIndexOf('\n')).split('\n').at(-1))
    t.ok(flushed > 0, `flushed up to ${flushed}`)

    const overlay = await Overlay.open(file, { unsealKey: (sealed) => Buffer.from(sealed) })
    const volume = new Volume(new ZeroBase(CHUNKS * CHUNK_BYTES), overlay)
    const all = Buffer.alloc(volume.size)
    await volume.pread(all, 0)
    await volume.close()
    // Chunk n holds the newest number that is n modulo 64: the flushed one, or one written after it.
    for (let chunk = 0; chunk < CHUNKS; chunk++) {
      const content = all.subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES)
      const newest = flushed - ((flushed - chunk + CHUNKS) % CHUNKS)
      const allowed = [newest, newest + CHUNKS].map((n) => Math.max(0, n) % 251)
      const same = content.every((byte) => byte === content[0])
      if (!same || !allowed.includes(content[0])) {
        return t.fail(`chunk ${chunk} has ${content[0]}, allowed are ${allowed.join()}`)
      }
    }
  }
})
