/**
 * `node flush-writer.js FILE`: writes numbered chunks over and over to an overlay in FILE, and prints `flushed N` after
 * each flush that covers the number N. Now and then all of it becomes a version: `version N` when that exists, before
 * the overlay lets go of what is in it. Ends by being killed.
 */
import { writeSync } from 'node:fs'
import { CHUNK_BYTES } from '../../lib/base/limits.ts'
import { ZeroBase } from '../../lib/volume/base.ts'
import { Overlay } from '../../lib/volume/overlay.ts'
import { Volume } from '../../lib/volume/volume.ts'
import { MemoryBase } from './memory-base.ts'
import { NUMBERED_CHUNKS, numberedContent } from './numbered-content.ts'

const sizeBytes = NUMBERED_CHUNKS * CHUNK_BYTES
const overlay = await Overlay.create(process.argv[2], {
  volume: 0,
  name: 'disk0',
  sizeBytes,
  baseId: '0',
  sealKey: (key) => Buffer.from(key)
})
const volume = new Volume(new ZeroBase(sizeBytes), overlay)
for (let number = 1; ; number++) {
  const offset = (number % NUMBERED_CHUNKS) * CHUNK_BYTES
  await volume.pwrite(Buffer.alloc(CHUNK_BYTES, number % 251), offset, false)
  if (number % 7 !== 0) continue
  await volume.flush()
  writeSync(1, `flushed ${number}\n`)
  if (number % 140 === 0) await commit(String(number))
}

async function commit(id: string): Promise<void> {
  const frozen = volume.freeze()
  await frozen.markCommit(id)
  writeSync(1, `version ${id}\n`)
  await frozen.release(new MemoryBase(numberedContent(Number(id))), id)
}
