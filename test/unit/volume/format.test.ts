/** Golden files of an overlay, as each format was written once. Regenerate never: a new format gets a new one. */
import test from 'brittle'
import type { Assert } from 'brittle'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import sodium from 'sodium-universal'
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

function goldenFile(format: number): Buffer {
  const file = new URL(`../../../../test/fixtures/format-${format}/overlay.hex`, import.meta.url)
  return Buffer.from(readFileSync(fileURLToPath(file), 'utf8').replaceAll('\n', ''), 'hex')
}
const golden = goldenFile(2)
const base = () => new MemoryBase(Buffer.alloc(16 * CHUNK_BYTES, 1))

test('overlay format 2: the golden file opens, and its header encodes to the same bytes', async (t) => {
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
  t.is(header?.claim?.sequence, 3)
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

test('overlay format: newer and older ones are refused and left alone', async (t) => {
  const header = decodeOverlayHeader(golden.subarray(0, OVERLAY_HEADER_BYTES))!
  const key = SEAL.unsealKey(header.sealedKey)
  const newer = encodeOverlayHeader({ ...header, counter: 3 }, key)
  newer.writeUInt16LE(3, 4)
  sodium.crypto_generichash(newer.subarray(4064), newer.subarray(0, 4064))
  const mixed = Buffer.concat([golden.subarray(0, 8192), newer, golden.subarray(12_288)])
  await refused(t, mixed, 'FORMAT_TOO_NEW')
  await refused(t, goldenFile(1), 'FORMAT_TOO_OLD')
})

async function refused(t: Assert, bytes: Buffer, code: string): Promise<void> {
  const file = new FaultyFile(bytes)
  try {
    await Overlay.open('x', { ...SEAL, openFile: file.open })
    t.fail()
  } catch (err) {
    t.is((err as HyperparcelError).code, code)
    t.ok((err as HyperparcelError).hint)
  }
  t.ok(file.content.equals(bytes))
}
