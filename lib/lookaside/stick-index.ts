/**
 * The index of a stick in memory, and how it is read: frame by frame, up to the first one that does not verify. What a
 * killed fill, a worn-out medium or a prankster left behind it is as if it were not there.
 */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { HyperparcelError } from '../base/errors.ts'
import {
  STICK_HEADER_BYTES,
  STICK_INDEX,
  STICK_JOURNAL,
  decodeStickHeader,
  type StickFrame,
  type StickVersion
} from '../format/stick.ts'
import { LogTree } from './log-tree.ts'
import { frameBytes, isOurs, openFrame } from './stick-seal.ts'

/** Of the largest index that is read: some terabytes of blocks. */
const INDEX_BYTES_MAX = 1024 ** 3

export class StickIndex {
  readonly logs = new Map<string, LogTree>()
  readonly #byNumber = new Map<number, LogTree>()
  cards: Buffer[] = []
  version: StickVersion | null = null
  complete = false
  /** Something in it did not verify. */
  damaged = false

  log(key: Buffer): LogTree | undefined {
    return this.logs.get(key.toString('hex'))
  }

  addLog(key: Buffer): LogTree {
    let log = this.log(key)
    if (log === undefined) {
      log = new LogTree(this.#byNumber.size, Buffer.from(key))
      this.#put(log)
    }
    return log
  }

  /** Throws `DATA_CORRUPT`, `FORMAT_INVALID`. */
  apply(frame: StickFrame): void {
    for (const head of frame.logs) {
      let log = this.#byNumber.get(head.number)
      if (log === undefined) this.#put((log = new LogTree(head.number, Buffer.from(head.key))))
      else if (!log.key.equals(head.key)) throw invalid()
      log.take(head)
    }
    for (const { log, node } of frame.nodes) this.#numbered(log).put(node)
    for (const block of frame.blocks) this.#numbered(block.log).blocks.set(block.index, block)
    if (frame.cards.length > 0) this.cards = frame.cards.map((card) => Buffer.from(card))
    if (frame.version === null) return
    this.version = copyOf(frame.version)
    this.complete = frame.complete
  }

  /** Bytes of all blocks. */
  get bytes(): number {
    let bytes = 0
    for (const { blocks } of this.logs.values())
      for (const block of blocks.values()) bytes += block.bytes
    return bytes
  }

  #put(log: LogTree): void {
    this.logs.set(log.key.toString('hex'), log)
    this.#byNumber.set(log.number, log)
  }

  #numbered(number: number): LogTree {
    const log = this.#byNumber.get(number)
    if (log === undefined) throw invalid()
    return log
  }
}

export interface ReadIndex {
  index: StickIndex
  /** Of the journal: its salt, what of it verified, how many frames; null where there is none. */
  journal: { salt: Buffer; bytes: number; frames: number } | null
}

/**
 * Reads a parcel's folder. Null where nothing of it is ours to read: no index, or another fleet's.
 * Rejects with `FORMAT_TOO_NEW`, or the system's error.
 */
export async function readIndex(folder: string, key: Buffer): Promise<ReadIndex | null> {
  const index = new StickIndex()
  const whole = await readFrames(path.join(folder, STICK_INDEX), key, index)
  const journal = await readFrames(path.join(folder, STICK_JOURNAL), key, index)
  if (whole === null && journal === null) return null
  return { index, journal }
}

async function readFrames(
  file: string,
  key: Buffer,
  index: StickIndex
): Promise<ReadIndex['journal']> {
  let data: Buffer
  try {
    data = await readFile(file)
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw err
  }
  try {
    if (data.byteLength > INDEX_BYTES_MAX) throw invalid()
    const header = decodeStickHeader(data)
    if (!isOurs(header, key)) return null
    return applyFrames(data, Buffer.from(header.salt), key, index)
  } catch (err) {
    if ((err as { code?: string }).code === 'FORMAT_TOO_NEW') throw err
    index.damaged = true
    return null
  }
}

function applyFrames(
  data: Buffer,
  salt: Buffer,
  key: Buffer,
  index: StickIndex
): NonNullable<ReadIndex['journal']> {
  let at = STICK_HEADER_BYTES
  let frames = 0
  while (at < data.byteLength) {
    const bytes = frameBytes(data.subarray(at))
    try {
      if (bytes === null || at + bytes > data.byteLength) throw invalid()
      index.apply(openFrame(data.subarray(at, at + bytes), salt, frames, key))
    } catch {
      index.damaged = true
      break
    }
    at += bytes
    frames++
  }
  return { salt, bytes: at, frames }
}

function copyOf({ parcel, version, number, annex }: StickVersion): StickVersion {
  return {
    parcel: Buffer.from(parcel),
    version: Buffer.from(version),
    number,
    annex: annex && { log: Buffer.from(annex.log), block: annex.block }
  }
}

function invalid(): HyperparcelError {
  return new HyperparcelError('FORMAT_INVALID', 'The index of a stick does not hold together')
}
