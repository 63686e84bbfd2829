/**
 * What a volume may contain, chunk by chunk: the content of the last finished change, and, for a crash, of
 * everything since the last flush. Contents are numbered; 0 is zeros.
 */
import { CHUNK_BYTES } from '../../../lib/base/limits.ts'

export const SEAL = {
  sealKey: (key: Buffer) => Buffer.from(key.map((byte) => byte ^ 0x5a)),
  unsealKey: (sealed: Buffer) => Buffer.from(sealed.map((byte) => byte ^ 0x5a))
}

/** A chunk whose every 8 bytes say its number, so that a mixture is noticed. */
export function chunkOf(number: number): Buffer {
  const chunk = Buffer.alloc(CHUNK_BYTES)
  if (number === 0) return chunk
  for (let at = 0; at < CHUNK_BYTES; at += 8) {
    chunk.writeUInt32LE(number, at)
    chunk.writeUInt32LE(at, at + 4)
  }
  return chunk
}

/** The number of a chunk, or −1 when it is no whole chunk that was ever written. */
export function numberOf(chunk: Buffer): number {
  const number = chunk.readUInt32LE(0)
  return chunk.equals(chunkOf(number)) ? number : -1
}

export class VolumeModel {
  /** What reads must return when nothing is under way. */
  readonly now: number[]
  /** What a crash may leave. */
  readonly possible: Set<number>[]

  constructor(numbers: number[]) {
    this.now = numbers.slice()
    this.possible = numbers.map((number) => new Set([number]))
  }

  /** A change is submitted. */
  begin(chunk: number, number: number): void {
    this.possible[chunk].add(number)
  }

  /** It finished. */
  end(chunk: number, number: number): void {
    this.now[chunk] = number
  }

  /** What a flush that begins now makes durable; call the result when it ended. */
  flush(): () => void {
    const before = this.now.slice()
    const since = this.possible.map((numbers) => numbers.size)
    return () => {
      for (let chunk = 0; chunk < before.length; chunk++) {
        // Numbers are unique, and a set keeps their order: what came later stays possible.
        const later = [...this.possible[chunk]].slice(since[chunk])
        this.possible[chunk] = new Set([before[chunk], ...later])
      }
    }
  }
}
