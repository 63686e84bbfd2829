/**
 * Fields of small documents, on top of compact-encoding: each with its limit, checked before anything of that
 * size is allocated. Decoded buffers are views of the input.
 */
import c from 'compact-encoding'
import { HyperparcelError } from '../base/errors.ts'

/** The cursor of compact-encoding. */
export interface CodecState {
  start: number
  end: number
  buffer: Uint8Array | null
}

/** An encoder of compact-encoding. */
export interface Codec<T> {
  preencode(state: CodecState, value: T): void
  encode(state: CodecState, value: T): void
  decode(state: CodecState): T
}

export function invalid(message: string, cause?: unknown): HyperparcelError {
  return new HyperparcelError('FORMAT_INVALID', message, { cause })
}

/** Unsigned, at most 2^53 − 1, in 1, 3, 5 or 9 bytes. */
export const uint: Codec<number> = c.uint
export const bool: Codec<boolean> = c.bool

/** Exactly that many bytes. */
export function bytes(count: number): Codec<Buffer> {
  return {
    preencode(state, value) {
      if (value.byteLength !== count) {
        throw invalid(`A field has ${value.byteLength} bytes instead of ${count}`)
      }
      state.end += count
    },
    encode(state, value) {
      state.buffer!.set(value, state.start)
      state.start += count
    },
    decode(state) {
      return take(state, count)
    }
  }
}

/** A public key, a log's key, a hash. */
export const bytes32 = bytes(32)
/** An Ed25519 signature. */
export const bytes64 = bytes(64)
/** A parcel's id. */
export const bytes16 = bytes(16)

/** A length, then that many bytes. */
export function blob(bytesMax: number): Codec<Buffer> {
  return {
    preencode(state, value) {
      if (value.byteLength > bytesMax) throw invalid(`A field has more than ${bytesMax} bytes`)
      c.uint.preencode(state, value.byteLength)
      state.end += value.byteLength
    },
    encode(state, value) {
      c.uint.encode(state, value.byteLength)
      state.buffer!.set(value, state.start)
      state.start += value.byteLength
    },
    decode(state) {
      const count = c.uint.decode(state)
      if (count > bytesMax) throw invalid(`A field has more than ${bytesMax} bytes`)
      return take(state, count)
    }
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A length in bytes, then UTF-8. */
export function text(bytesMax: number): Codec<string> {
  const raw = blob(bytesMax)
  return {
    preencode: (state, value) => raw.preencode(state, Buffer.from(value)),
    encode: (state, value) => raw.encode(state, Buffer.from(value)),
    decode: (state) => utf8.decode(raw.decode(state))
  }
}

/** 0, or 1 and the value. */
export function optional<T>(field: Codec<T>): Codec<T | null> {
  return {
    preencode(state, value) {
      state.end++
      if (value !== null) field.preencode(state, value)
    },
    encode(state, value) {
      c.uint8.encode(state, value === null ? 0 : 1)
      if (value !== null) field.encode(state, value)
    },
    decode(state) {
      const present = c.uint8.decode(state)
      if (present > 1) throw invalid('An optional field is neither present nor absent')
      return present === 1 ? field.decode(state) : null
    }
  }
}

/** A count, then the values. */
export function list<T>(field: Codec<T>, countMax: number): Codec<T[]> {
  return {
    preencode(state, values) {
      if (values.length > countMax) throw invalid(`A list has more than ${countMax} entries`)
      c.uint.preencode(state, values.length)
      for (const value of values) field.preencode(state, value)
    },
    encode(state, values) {
      c.uint.encode(state, values.length)
      for (const value of values) field.encode(state, value)
    },
    decode(state) {
      const count = c.uint.decode(state)
      if (count > countMax) throw invalid(`A list has more than ${countMax} entries`)
      const values: T[] = []
      for (let i = 0; i < count; i++) values.push(field.decode(state))
      return values
    }
  }
}

/** One byte, one of the names; its number is what `numbers` says and never changes. */
export function oneOf<T extends string>(numbers: Readonly<Record<T, number>>): Codec<T> {
  const names = new Map<number, T>()
  for (const name of Object.keys(numbers) as T[]) names.set(numbers[name], name)
  return {
    preencode(state) {
      state.end++
    },
    encode: (state, value) => c.uint8.encode(state, numbers[value]),
    decode(state) {
      const number = c.uint8.decode(state)
      const name = names.get(number)
      if (name === undefined) throw invalid(`A field has the unknown value ${number}`)
      return name
    }
  }
}

/** The fields one after the other, in the order in which they are named here. */
export function struct<T>(fields: { [K in keyof T]: Codec<T[K]> }): Codec<T> {
  const names = Object.keys(fields) as (keyof T)[]
  return {
    preencode(state, value) {
      for (const name of names) fields[name].preencode(state, value[name])
    },
    encode(state, value) {
      for (const name of names) fields[name].encode(state, value[name])
    },
    decode(state) {
      const value: Partial<T> = {}
      for (const name of names) value[name] = fields[name].decode(state)
      return value as T
    }
  }
}

/** The value's bytes, in memory of their own. */
export function encodeWith<T>(codec: Codec<T>, value: T): Buffer {
  const state: CodecState = { start: 0, end: 0, buffer: null }
  codec.preencode(state, value)
  const buffer = Buffer.allocUnsafeSlow(state.end)
  state.buffer = buffer
  codec.encode(state, value)
  return buffer
}

/** The inverse; all of the bytes must belong to the value. Throws `FORMAT_INVALID`. */
export function decodeWith<T>(codec: Codec<T>, data: Buffer): T {
  const state: CodecState = { start: 0, end: data.byteLength, buffer: data }
  let value: T
  try {
    value = codec.decode(state)
  } catch (err) {
    if (err instanceof HyperparcelError) throw err
    throw invalid('A document ends too early or holds an impossible value', err)
  }
  if (state.start !== state.end) throw invalid('A document is longer than what it holds')
  return value
}

function take(state: CodecState, count: number): Buffer {
  if (state.end - state.start < count) throw invalid('A document ends too early')
  const value = state.buffer!.subarray(state.start, state.start + count)
  state.start += count
  return Buffer.from(value.buffer, value.byteOffset, count)
}
