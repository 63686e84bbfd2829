/** Golden file of an overlay, as format 1 was written once. Regenerate never: a new format gets a new one. */
import test from 'brittle'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { HyperparcelError } from '../../../lib/base/errors.ts'
import { CHUNK_BYTES } from '../../../lib/base/limits.ts'
import {
  OVERLAY_HEADER_BYTES,
  decodeOverlayHeader,
  encodeOverlayHeader
} from '../../../lib/format/overlay.ts'
import { Overlay } from '../../../lib/volume/overlay.ts'
import { Volume } from '../../../lib/volume/volume.ts'
import { FaultyFile } from '../../helpers/faulty-file.ts'
import { MemoryBase } from '../../helpers/memory-base.ts'
import { SEAL, numberOf } from './model.ts'

const FILE = fileURLToPath(
  new URL('../../../../test/fixtures/format-1/overlay.hex', import.meta.url)
)
const golden = Buffer.from(readFileSync(FILE, 'utf8').replaceAll('\n', ''), 'hex')
const base = () => new MemoryBase(Buffer.alloc(16 * CHUNK_BYTES, 1))

test('overlay format 1: the golden file opens, and its header encodes to the same bytes', async (t) => {
  const file = new FaultyFile(golden)
  const seen = await Overlay.inspect('x', { ...SEAL, openFile: file.open })
  t.is(seen.name, 'disk1')
  t.is(seen.volume, 2)
  t.is(seen.baseId, 'version-1')
  t.is(seen.commitId, 'version-2')
  t.ok(seen.durable)
  const newest = golden.subarray(0, OVERLAY_HEADER_BYTES)
  const header = decodeOverlayHeader(newest)
  t.is(header?.counter, 2)
  t.is(header?.commitSequence, 3)
  t.ok(encodeOverlayHeader(header!, SEAL.unsealKey(header!.sealedKey)).equals(newest))

  const volume = new Volume(base(), await Overlay.open('x', { ...SEAL, openFile: file.open }))
  const all = Buffer.alloc(volume.size)
  await volume.pread(all, 0)
  const chunk = (n: number) => all.subarray(n * CHUNK_BYTES, (n + 1) * CHUNK_BYTES)
  t.is(numberOf(chunk(3)), 42)
  t.ok(chunk(5).equals(Buffer.alloc(CHUNK_BYTES, 1)))
  for (let n = 6; n < 10; n++) t.is(numberOf(chunk(n)), 0)
  t.ok(chunk(10).equals(Buffer.alloc(CHUNK_BYTES, 1)))

  const committed = () => true
  const taken = await Overlay.open('x', { ...SEAL, openFile: file.open, committed })
  t.is(taken.baseId, 'version-2')
  t.ok(taken.clean)
})

test('overlay format: a newer one is refused and left alone', async (t) => {
  const header = decodeOverlayHeader(golden.subarray(0, OVERLAY_HEADER_BYTES))!
  const key = SEAL.unsealKey(header.sealedKey)
  const newer = encodeOverlayHeader({ ...header, counter: 3 }, key)
  const { default: sodium } = await import('sodium-universal')
  newer.writeUInt16LE(2, 4)
  sodium.crypto_generichash(newer.subarray(4064), newer.subarray(0, 4064))
  const file = new FaultyFile(
    Buffer.concat([golden.subarray(0, 4096), newer, golden.subarray(8192)])
  )
  const before = Buffer.from(file.content)
  try {
    await Overlay.open('x', { ...SEAL, openFile: file.open })
    t.fail()
  } catch (err) {
    t.is((err as HyperparcelError).code, 'FORMAT_TOO_NEW')
  }
  t.ok(file.content.equals(before))
})
