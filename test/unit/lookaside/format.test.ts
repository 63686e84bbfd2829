/** What was once written on a stick is readable for ever; what is damaged or too new is refused. */
import { readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import test from 'brittle'
import {
  STICK_HEADER_BYTES,
  decodeFrame,
  decodeStickHeader,
  emptyFrame,
  encodeFrame,
  encodeStickHeader,
  type StickFrame
} from '../../../lib/format/stick.ts'
import {
  frameBytes,
  isOurs,
  newHeader,
  openFrame,
  sealFrame
} from '../../../lib/lookaside/stick-seal.ts'

const FIXTURE = fileURLToPath(
  new URL('../../../../test/fixtures/format-1/stick-index.hex', import.meta.url)
)
const KEY = Buffer.alloc(32, 1)

const frame: StickFrame = {
  logs: [
    {
      number: 0,
      key: Buffer.alloc(32, 2),
      length: 3,
      signature: Buffer.alloc(64, 3),
      manifest: Buffer.alloc(40, 4)
    }
  ],
  blocks: [{ log: 0, index: 2, part: 5, offset: 70_000, bytes: 66_000 }],
  nodes: [{ log: 0, node: { index: 4, size: 66_000, hash: Buffer.alloc(32, 6) } }],
  cards: [Buffer.alloc(150, 7)],
  version: {
    parcel: Buffer.alloc(16, 8),
    version: Buffer.alloc(32, 9),
    number: 12,
    annex: { log: Buffer.alloc(32, 10), block: 11 }
  },
  complete: true
}

test('a golden index', async (t) => {
  if (process.env['HYPERPARCEL_FIXTURES'] === 'write') {
    const header = newHeader(KEY)
    const frames = [emptyFrame(), frame].map((each, i) => sealFrame(each, header.salt, i, KEY))
    const data = Buffer.concat([encodeStickHeader(header), ...frames])
    await writeFile(FIXTURE, `${data.toString('hex')}\n`, { flag: 'wx' }).catch(() => {})
  }
  const data = Buffer.from((await readFile(FIXTURE, 'utf8')).trim(), 'hex')
  const header = decodeStickHeader(data)
  t.ok(isOurs(header, KEY))
  t.absent(isOurs(header, Buffer.alloc(32, 2)))
  const first = frameBytes(data.subarray(STICK_HEADER_BYTES))!
  const at = STICK_HEADER_BYTES + first
  const sealed = data.subarray(at, at + frameBytes(data.subarray(at))!)
  t.is(at + sealed.byteLength, data.byteLength)
  t.alike(openFrame(sealed, header.salt, 1, KEY), frame)
  await t.exception(() => openFrame(sealed, header.salt, 0, KEY), /verify/, 'in another place')
  await t.exception(() => openFrame(sealed, Buffer.alloc(16), 1, KEY), /verify/, 'of another file')
  t.alike(decodeFrame(encodeFrame(frame)), frame)
})

test('what is no index, or of a later format, is refused', async (t) => {
  const header = encodeStickHeader(newHeader(KEY))
  const newer = Buffer.from(header)
  newer[4] = 2
  await t.exception(() => decodeStickHeader(newer), /Format 2/)
  await t.exception(() => decodeStickHeader(Buffer.alloc(100)), /not the index/)
  await t.exception(() => decodeStickHeader(header.subarray(0, 20)), /too early/)
  t.is(frameBytes(Buffer.from([255, 255, 255, 255])), null, 'no frame is that large')
  await t.exception(() => decodeFrame(Buffer.alloc(5 * 1024 * 1024)), /too large/)
  await t.exception(() => decodeFrame(Buffer.from([1])))
})
