/**
 * Small documents: four bytes of magic, one byte of format, then the fields. A document has exactly one
 * encoding; any other that would decode to the same is refused, so a hash or a signature of its bytes is one
 * of its content.
 */
import { HyperparcelError } from '../base/errors.ts'
import type { Codec } from './fields.ts'
import { decodeWith, encodeWith, invalid } from './fields.ts'

export const DOCUMENT_HEADER_BYTES = 5

export interface DocumentFormat<T> {
  readonly magic: string
  readonly format: number
  readonly bytesMax: number
  encode(value: T): Buffer
  /** Throws `FORMAT_INVALID`, or `FORMAT_TOO_NEW` for a format of a later release. */
  decode(data: Uint8Array): T
}

export interface DocumentOptions<T> {
  /** How errors call it, with its article: `a device card`. */
  what: string
  /** Four ASCII characters. */
  magic: string
  format: number
  /** Checked before anything is decoded. */
  bytesMax: number
  body: Codec<T>
}

export function defineDocument<T>(opts: DocumentOptions<T>): DocumentFormat<T> {
  const { what, magic, format, bytesMax, body } = opts
  const header = Buffer.from(magic + String.fromCharCode(format), 'latin1')

  function encode(value: T): Buffer {
    const fields = encodeWith(body, value)
    const data = Buffer.allocUnsafeSlow(header.byteLength + fields.byteLength)
    header.copy(data)
    fields.copy(data, header.byteLength)
    if (data.byteLength > bytesMax)
      throw invalid(`${data.byteLength} bytes are too much for ${what}`)
    return data
  }

  function decode(input: Uint8Array): T {
    const data = Buffer.from(input.buffer, input.byteOffset, input.byteLength)
    if (data.byteLength > bytesMax)
      throw invalid(`${data.byteLength} bytes are too much for ${what}`)
    if (data.byteLength < header.byteLength || !data.subarray(0, 4).equals(header.subarray(0, 4))) {
      throw invalid(`This is not ${what}`)
    }
    if (data[4] > format) {
      throw new HyperparcelError(
        'FORMAT_TOO_NEW',
        `Format ${data[4]} of ${what} is not known here`,
        {
          hint: 'It was written by a newer Hyperparcel: update this device.'
        }
      )
    }
    if (data[4] !== format) throw invalid(`Format ${data[4]} of ${what} never existed`)
    const value = decodeWith(body, data.subarray(header.byteLength))
    if (!encode(value).equals(data)) throw invalid(`This is not the one encoding of ${what}`)
    return value
  }

  return { magic, format, bytesMax, encode, decode }
}
