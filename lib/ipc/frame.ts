/**
 * Frames between processes of one device, over a Unix socket.
 *
 * | offset | bytes | field |
 * | --- | --- | --- |
 * | 0 | 4 | length of what follows, little endian |
 * | 4 | 1 | kind, see `FRAME` |
 * | 5 | 4 | id of the request it belongs to |
 * | 9 | 4 | length of the JSON part |
 * | 13 | n | JSON, UTF-8 |
 * | 13 + n | rest | attachment: raw bytes, so that segments are never encoded |
 */
import type { Socket } from 'node:net'
import { IPC_FRAME_BYTES_MAX } from '../base/limits.ts'
import { HyperparcelError } from '../base/errors.ts'

export const FRAME = {
  REQUEST: 0,
  RESPONSE: 1,
  ERROR: 2,
  EVENT: 3,
  CANCEL: 4
} as const

const HEADER_BYTES = 13

export interface Frame {
  kind: number
  id: number
  json: unknown
  /** Owned by the receiver. */
  attachment: Buffer
}

const EMPTY = Buffer.alloc(0)
/** Memory of that size is worth to be kept, and how many of them. */
const SPARE_BYTES_MIN = 256 * 1024
const SPARE_BYTES_MAX = 4 * 1024 * 1024
const SPARES_MAX = 4

/** Writes one frame; returns false when the socket asks to wait for `drain`. */
export function writeFrame(
  socket: Socket,
  kind: number,
  id: number,
  json: unknown,
  attachments: Buffer[] = []
): boolean {
  const body = json === undefined ? EMPTY : Buffer.from(JSON.stringify(json))
  let length = HEADER_BYTES - 4 + body.byteLength
  for (const a of attachments) length += a.byteLength
  if (length > IPC_FRAME_BYTES_MAX) {
    throw new HyperparcelError('INTERNAL', `A frame of ${length} bytes is too large to send`)
  }
  const header = Buffer.allocUnsafe(HEADER_BYTES)
  header.writeUInt32LE(length, 0)
  header.writeUInt8(kind, 4)
  header.writeUInt32LE(id, 5)
  header.writeUInt32LE(body.byteLength, 9)
  socket.cork()
  socket.write(header)
  let ready = socket.write(body)
  for (const a of attachments) ready = socket.write(a)
  socket.uncork()
  return ready
}

/** Cuts a byte stream into frames. Feed it with `push`. Throws on a frame that is too large or malformed. */
export class FrameParser {
  readonly #onframe: (frame: Frame) => void
  readonly #prefix = Buffer.alloc(4)
  #prefixBytes = 0
  #body: Buffer | null = null
  #bodyBytes = 0
  /** Memory of frames that nobody looks at any more. */
  readonly #spare: ArrayBufferLike[] = []

  constructor(onframe: (frame: Frame) => void) {
    this.#onframe = onframe
  }

  push(data: Buffer): void {
    let offset = 0
    while (offset < data.byteLength) {
      if (this.#body === null) {
        const taken = data.copy(this.#prefix, this.#prefixBytes, offset)
        offset += taken
        this.#prefixBytes += taken
        if (this.#prefixBytes < 4) return
        const length = this.#prefix.readUInt32LE(0)
        if (length > IPC_FRAME_BYTES_MAX || length < HEADER_BYTES - 4) {
          throw new HyperparcelError('FORMAT_INVALID', `A frame announces ${length} bytes`)
        }
        this.#prefixBytes = 0
        this.#body = this.#allocate(length)
        this.#bodyBytes = 0
      }
      const taken = data.copy(this.#body, this.#bodyBytes, offset)
      offset += taken
      this.#bodyBytes += taken
      if (this.#bodyBytes < this.#body.byteLength) return
      const body = this.#body
      this.#body = null
      this.#onframe(decode(body))
    }
  }

  /** Uses the memory of an attachment again. */
  recycle({ buffer }: Buffer): void {
    const fits = buffer.byteLength >= SPARE_BYTES_MIN && buffer.byteLength <= SPARE_BYTES_MAX
    if (fits && this.#spare.length < SPARES_MAX) this.#spare.push(buffer)
  }

  #allocate(bytes: number): Buffer {
    if (bytes < SPARE_BYTES_MIN || bytes > SPARE_BYTES_MAX) return Buffer.allocUnsafeSlow(bytes)
    const index = this.#spare.findIndex((memory) => memory.byteLength >= bytes)
    if (index === -1) return Buffer.allocUnsafeSlow(roundUp(bytes)).subarray(0, bytes)
    const [memory] = this.#spare.splice(index, 1)
    return Buffer.from(memory, 0, bytes)
  }
}

/** A power of two, so that the next frame fits too. */
function roundUp(bytes: number): number {
  return 2 ** Math.ceil(Math.log2(bytes))
}

function decode(body: Buffer): Frame {
  const jsonBytes = body.readUInt32LE(5)
  if (jsonBytes > body.byteLength - 9) {
    throw new HyperparcelError('FORMAT_INVALID', 'A frame has a JSON part longer than itself')
  }
  return {
    kind: body.readUInt8(0),
    id: body.readUInt32LE(1),
    json: jsonBytes === 0 ? undefined : parse(body.toString('utf8', 9, 9 + jsonBytes)),
    attachment: body.subarray(9 + jsonBytes)
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch (err) {
    throw new HyperparcelError('FORMAT_INVALID', 'A frame has a JSON part that is no JSON', {
      cause: err
    })
  }
}
