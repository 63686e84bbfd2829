/**
 * `node flush-writer.js FILE`: writes numbered chunks over and over to an overlay in FILE, and prints after each
 * flush the last number that it covers. Ends by being killed.
 */
import { CHUNK_BYTES } from '../../lib/base/limits.ts'
import { ZeroBase } from '../../lib/volume/base.ts'
import { Overlay } from '../../lib/volume/overlay.ts'
import { Volume } from '../../lib/volume/volume.ts'

const CHUNKS = 64
const sizeBytes = CHUNKS * CHUNK_BYTES
const overlay = await Overlay.create(process.argv[2], {
  volume: 0,
  name: 'disk0',
  sizeBytes,
  baseId: '',
  sealKey: (key) => Buffer.from(key)
})
const volume = new Volume(new ZeroBase(sizeBytes), overlay)
for (let number = 1; ; number++) {
  await volume.pwrite(
    Buffer.alloc(CHUNK_BYTES, number % 251),
    (number % CHUNKS) * CHUNK_BYTES,
    false
  )
  if (number % 7 !== 0) continue
  await volume.flush()
  process.stdout.write(`${number}\n`)
}
