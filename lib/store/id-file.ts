/**
 * The chunk ids of the segments of one log, by block index, in a flat file of fixed records. Bytes in
 * `lib/format/README.md`.
 *
 * It is a cache of what the sealed segments say and can be rebuilt from them. Never synced: a record that was
 * lost or torn reads as not known.
 */
import { open, type FileHandle } from 'node:fs/promises'
import { ID_RECORD_BYTES, UNKNOWN, readIdRecord, writeIdRecord } from '../format/id-record.ts'
import { CHUNK_ID_BYTES } from '../base/limits.ts'

/** Records that are read at once: 130 KiB. */
export const RECORDS_MAX = 256

/** Records of consecutive blocks. */
export interface IdRecords {
  /** Chunks of each: 0 where the block is no segment, `UNKNOWN` where nothing is known of it. */
  chunks: Int8Array
  /** The ids of record `i` start at `i × ID_RECORD_BYTES + 8`. */
  data: Buffer
}

export class IdFile {
  readonly #log: Buffer
  readonly #file: FileHandle

  private constructor(log: Buffer, file: FileHandle) {
    this.#log = log
    this.#file = file
  }

  /** Opens the file, an empty one where there is none. @param log key of the log that it is about */
  static async open(path: string, log: Buffer): Promise<IdFile> {
    const made = await open(path, 'a', 0o600)
    await made.close()
    return new IdFile(log, await open(path, 'r+'))
  }

  /**
   * Notes what consecutive blocks are.
   * @param chunks chunks of each segment, 0 for a block that is none
   * @param ids of all of them, 32 bytes each
   */
  async put(first: number, chunks: number[], ids: Buffer): Promise<void> {
    const data = Buffer.alloc(chunks.length * ID_RECORD_BYTES)
    let at = 0
    for (let i = 0; i < chunks.length; i++) {
      const some = ids.subarray(at, (at += chunks[i] * CHUNK_ID_BYTES))
      writeIdRecord(data, i * ID_RECORD_BYTES, this.#log, first + i, some)
    }
    await this.#file.write(data, 0, data.byteLength, first * ID_RECORD_BYTES)
  }

  /** Nothing is known of the blocks in [start, end) any more. */
  async wipe(start: number, end: number): Promise<void> {
    const zeros = Buffer.alloc(RECORDS_MAX * ID_RECORD_BYTES)
    const stop = Math.min(end, await this.length())
    for (let at = start; at < stop; at += RECORDS_MAX) {
      const bytes = Math.min(RECORDS_MAX, stop - at) * ID_RECORD_BYTES
      await this.#file.write(zeros, 0, bytes, at * ID_RECORD_BYTES)
    }
  }

  /** What is known of up to `RECORDS_MAX` consecutive blocks. */
  async read(first: number, count: number): Promise<IdRecords> {
    const data = Buffer.allocUnsafe(count * ID_RECORD_BYTES)
    const at = first * ID_RECORD_BYTES
    const { bytesRead } = await this.#file.read(data, 0, data.byteLength, at)
    const chunks = new Int8Array(count).fill(UNKNOWN)
    for (let i = 0; (i + 1) * ID_RECORD_BYTES <= bytesRead; i++) {
      chunks[i] = readIdRecord(data, i * ID_RECORD_BYTES, this.#log, first + i)
    }
    return { chunks, data }
  }

  /** Blocks that records may exist of. */
  async length(): Promise<number> {
    return Math.ceil((await this.#file.stat()).size / ID_RECORD_BYTES)
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}
