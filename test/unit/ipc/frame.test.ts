import test from 'brittle'
import * as fc from 'fast-check'
import { PassThrough } from 'node:stream'
import type { Socket } from 'node:net'
import { FRAME, FrameParser, writeFrame, type Frame } from '../../../lib/ipc/frame.ts'

const frame = fc.record({
  kind: fc.integer({ min: 0, max: 4 }),
  id: fc.integer({ min: 0, max: 0xffff_ffff }),
  json: fc.oneof(fc.jsonValue(), fc.constant(undefined)),
  attachments: fc.array(fc.uint8Array({ maxLength: 2000 }), { maxLength: 3 })
})

test('frames come back as they were, however the stream is cut', (t) => {
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 8 }),
      fc.infiniteStream(fc.nat(700)),
      (frames, cuts) => {
        const stream = new PassThrough({ highWaterMark: 2 ** 24 })
        for (const { kind, id, json, attachments } of frames) {
          writeFrame(
            stream as unknown as Socket,
            kind,
            id,
            json,
            attachments.map((a) => Buffer.from(a))
          )
        }
        const bytes = (stream.read() ?? Buffer.alloc(0)) as Buffer
        const seen: Frame[] = []
        const parser = new FrameParser((one) => seen.push(one))
        for (let at = 0; at < bytes.byteLength;) {
          const length = cuts.next().value as number
          parser.push(Buffer.from(bytes.subarray(at, at + length)))
          at += length
        }
        const plain = (all: { kind: number; id: number; json: unknown; bytes: Buffer }[]) =>
          all.map((one) => [one.kind, one.id, JSON.stringify(one.json), one.bytes.toString('hex')])
        const want = frames.map((one) => ({ ...one, bytes: Buffer.concat(one.attachments) }))
        const got = seen.map((one) => ({ ...one, bytes: one.attachment }))
        return JSON.stringify(plain(want)) === JSON.stringify(plain(got))
      }
    )
  )
  t.pass()
})

test('rubbish is refused with a coded error, or waits for more', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      const parser = new FrameParser(() => {})
      try {
        parser.push(Buffer.from(bytes))
        return true
      } catch (err) {
        return (err as { code: string }).code === 'FORMAT_INVALID'
      }
    }),
    { numRuns: 2000 }
  )
  t.pass()
})

test('a frame that is too large is not sent', async (t) => {
  const stream = new PassThrough() as unknown as Socket
  const huge = [Buffer.alloc(32 * 1024 * 1024)]
  await t.exception(() => writeFrame(stream, FRAME.REQUEST, 1, null, huge), /too large/)
})
