/**
 * Fills a parcel's folder on a stick.
 *
 * Invariants
 * - The index that is there names only what is there, all the time: new blocks go to new parts, old parts are deleted
 *   after an index without them has replaced the old one.
 * - What the journal names was synced before. A fill that was killed loses at most one part; the next one goes on.
 * - One fill at a time, on this machine.
 */
import { mkdir, open, rename, rm, writeFile, type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { HyperparcelError } from '../base/errors.ts'
import { syncDirectory } from '../base/files.ts'
import { tryLock, type FileLock } from '../base/lock.ts'
import {
  FRAME_BLOCKS_MAX,
  PART_HEADER_BYTES,
  STICK_INDEX,
  STICK_JOURNAL,
  emptyFrame,
  encodeStickHeader,
  partHeader,
  partName,
  type StickBlock,
  type StickFrame,
  type StickVersion
} from '../format/stick.ts'
import type { Proof } from '../format/fetch.ts'
import { rootSpans } from '../store/tree.ts'
import type { LogTree } from './log-tree.ts'
import {
  MARGIN_BYTES,
  blocksOf,
  dropLost,
  frameOf,
  freeBytes,
  partsIn,
  sizesOf,
  split,
  tooSmall,
  translated
} from './stick-files.ts'
import { StickIndex, readIndex } from './stick-index.ts'
import { newHeader, sealFrame } from './stick-seal.ts'

/** A part is synced and noted when it has that many bytes. FAT has no files of 4 GiB and more. */
const PART_BYTES = 64 * 1024 ** 2
const LOCK = 'lock'

export interface FillOptions {
  folder: string
  key: Buffer
  /** Of all devices. */
  cards: Buffer[]
  partBytes?: number
  /** Bytes free; asks the file system by default. */
  freeBytes?: (folder: string) => Promise<number>
}

interface Part {
  number: number
  file: FileHandle
  bytes: number
}

export class StickFill {
  readonly #opts: FillOptions
  readonly #lock: FileLock
  readonly #index: StickIndex
  /** Blocks that the version needs, by log. */
  readonly #needed = new Map<LogTree, Set<number>>()
  readonly #journal: FileHandle
  #salt: Buffer
  #sequence: number
  #frame: StickFrame = emptyFrame()
  #part: Part | null = null
  #nextPart = 0
  /** Written by this fill. */
  bytes = 0

  private constructor(
    opts: FillOptions,
    lock: FileLock,
    index: StickIndex,
    journal: { file: FileHandle; salt: Buffer; frames: number },
    nextPart: number
  ) {
    this.#opts = opts
    this.#lock = lock
    this.#index = index
    this.#journal = journal.file
    this.#salt = journal.salt
    this.#sequence = journal.frames
    this.#nextPart = nextPart
    this.#frame.cards = opts.cards
  }

  /** Rejects with `STICK_BUSY` while another fill is at it, `STICK_FOREIGN`, `FORMAT_TOO_NEW` or the system's error. */
  static async begin(opts: FillOptions): Promise<StickFill> {
    const { folder, key } = opts
    await mkdir(folder, { recursive: true })
    const lock = tryLock(path.join(folder, LOCK))
    if (lock === null) {
      throw new HyperparcelError('STICK_BUSY', `Another fill of ${folder} is under way`, {
        hint: 'Wait until it ends.'
      })
    }
    try {
      const read = await readIndex(folder, key)
      const index = read?.index ?? new StickIndex()
      const journal = await openJournal(folder, key, read?.journal ?? null)
      const parts = await partsIn(folder)
      const used = new Set(blocksOf(index).map(({ part }) => part))
      for (const part of parts) if (!used.has(part)) await rm(path.join(folder, partName(part)))
      dropLost(index, await sizesOf(folder, [...used]))
      return new StickFill(opts, lock, index, journal, 1 + Math.max(-1, ...parts))
    } catch (err) {
      lock.release()
      throw err
    }
  }

  /**
   * The version needs these blocks of a log, of which the author signed so many. Returns those that are not there yet,
   * and of those that are one under each root of the log as it was, whose way up to the new roots is to come.
   */
  need(
    key: Buffer,
    runs: [number, number][],
    proof: Pick<Proof, 'upgrade' | 'manifest'>
  ): { missing: [number, number][]; renew: number[] } {
    const log = this.#index.addLog(key)
    const before = log.length
    const { upgrade, manifest } = proof
    const { length, signature, nodes } = upgrade!
    log.take({ length, signature, manifest: manifest ?? Buffer.alloc(0) })
    this.#frame.logs.push(log.head())
    this.#note(log, nodes)
    const needed = new Set<number>()
    this.#needed.set(log, needed)
    const missing: [number, number][] = []
    for (const [start, count] of runs) {
      for (let block = start; block < start + count; block++) {
        needed.add(block)
        if (log.blocks.has(block)) continue
        const last = missing.at(-1)
        if (last !== undefined && last[0] + last[1] === block) last[1]++
        else missing.push([block, 1])
      }
    }
    if (before >= length) return { missing, renew: [] }
    const spans = [...rootSpans(before)]
    const renew = spans.flatMap(({ start, blocks }) => {
      for (const block of log.blocks.keys()) {
        if (block >= start && block < start + blocks && needed.has(block)) return [block]
      }
      return []
    })
    return { missing, renew }
  }

  /** More of the tree, for readers that know the log at another length. */
  cover(key: Buffer, nodes: Proof['upgrade'] & object): void {
    this.#note(this.#index.addLog(key), nodes.nodes)
  }

  /** Is there room for about that many bytes? Makes some where old versions are in the way; rejects with `DISK_FULL`. */
  async room(bytes: number): Promise<void> {
    if ((await this.#missingBytes(bytes)) <= 0) return
    await this.#replaceIndex(false)
    const missing = await this.#missingBytes(bytes)
    if (missing > 0) throw tooSmall(missing)
  }

  /** Way up of a block that is there already. */
  renew(key: Buffer, block: number, beside: NonNullable<Proof['block']>['nodes']): void {
    const log = this.#index.addLog(key)
    this.#noteFresh(log, log.putPath(block, null, beside))
  }

  /** Throws `DATA_CORRUPT` where it is not what its log says. */
  async add(
    key: Buffer,
    { index: block, nodes, value }: NonNullable<Proof['block']>
  ): Promise<void> {
    const log = this.#index.addLog(key)
    const fresh = log.putPath(block, value, nodes)
    const part = this.#part ?? (await this.#startPart())
    await part.file.write(value, 0, value.byteLength, part.bytes).catch(translated)
    const place = { log: log.number, index: block, part: part.number, offset: part.bytes }
    const entry: StickBlock = { ...place, bytes: value.byteLength }
    part.bytes += value.byteLength
    this.bytes += value.byteLength
    log.blocks.set(block, entry)
    this.#frame.blocks.push(entry)
    this.#noteFresh(log, fresh)
    const full = this.#frame.blocks.length >= FRAME_BLOCKS_MAX / 2
    if (part.bytes >= (this.#opts.partBytes ?? PART_BYTES) || full) await this.#endPart()
  }

  /** All of the version is there. Returns the bytes that the stick holds then. */
  async end(version: StickVersion): Promise<number> {
    await this.#endPart()
    this.#index.version = version
    this.#index.cards = this.#opts.cards
    await this.#moveTheFew()
    await this.#replaceIndex(true)
    await this.#close()
    return this.#index.bytes
  }

  /** Keeps what is there, for the next one to go on. */
  async stop(): Promise<void> {
    await this.#endPart().catch(() => {})
    await this.#close()
  }

  async #close(): Promise<void> {
    await this.#journal.close().catch(() => {})
    this.#lock.release()
  }

  #note(log: LogTree, nodes: { index: number; size: number; hash: Buffer }[]): void {
    const fresh = nodes.filter(({ index }) => !log.nodes.has(index))
    for (const node of nodes) log.put(node)
    this.#noteFresh(log, fresh)
  }

  #noteFresh(log: LogTree, nodes: { index: number; size: number; hash: Buffer }[]): void {
    for (const node of nodes) this.#frame.nodes.push({ log: log.number, node })
  }

  async #missingBytes(bytes: number): Promise<number> {
    const free = await (this.#opts.freeBytes ?? freeBytes)(this.#opts.folder)
    return bytes + MARGIN_BYTES - free
  }

  async #startPart(): Promise<Part> {
    const number = this.#nextPart++
    const file = await open(path.join(this.#opts.folder, partName(number)), 'wx').catch(translated)
    await file.write(partHeader()).catch(translated)
    this.#part = { number, file, bytes: PART_HEADER_BYTES }
    return this.#part
  }

  async #endPart(): Promise<void> {
    const part = this.#part
    this.#part = null
    if (part !== null) {
      await part.file.sync().catch(translated)
      await part.file.close()
      await syncDirectory(this.#opts.folder)
    }
    await this.#writeFrames()
  }

  /** Notes what was synced, in frames that are not too large. */
  async #writeFrames(): Promise<void> {
    const frame = this.#frame
    this.#frame = emptyFrame()
    const sealed = split(frame).map((each) =>
      sealFrame(each, this.#salt, this.#sequence++, this.#opts.key)
    )
    if (sealed.length === 0) return
    for (const data of sealed) await this.#journal.appendFile(data).catch(translated)
    await this.#journal.sync()
  }

  /** Parts of which little is needed would keep their space for ever: what is needed of them moves. */
  async #moveTheFew(): Promise<void> {
    const { folder } = this.#opts
    const sizes = await sizesOf(folder, await partsIn(folder))
    const live = new Map<number, StickBlock[]>()
    for (const block of this.#neededBlocks()) {
      const blocks = live.get(block.part)
      if (blocks === undefined) live.set(block.part, [block])
      else blocks.push(block)
    }
    for (const [part, blocks] of live) {
      const needed = blocks.reduce((sum, { bytes }) => sum + bytes, 0)
      if (2 * needed >= (sizes.get(part) ?? 0)) continue
      if ((await this.#missingBytes(needed)) > 0) return
      await this.#move(part, blocks)
    }
    await this.#endPart()
  }

  async #move(part: number, blocks: StickBlock[]): Promise<void> {
    const file = await open(path.join(this.#opts.folder, partName(part)), 'r')
    try {
      for (const block of blocks) {
        const data = Buffer.alloc(block.bytes)
        const { bytesRead } = await file.read(data, 0, block.bytes, block.offset)
        const log = [...this.#index.logs.values()].find(({ number }) => number === block.log)!
        if (bytesRead !== block.bytes || !log.fits(block.index, data))
          log.blocks.delete(block.index)
        else await this.add(log.key, { index: block.index, nodes: [], value: data })
      }
    } finally {
      await file.close()
    }
  }

  #neededBlocks(): StickBlock[] {
    const blocks: StickBlock[] = []
    for (const [log, needed] of this.#needed) {
      for (const block of log.blocks.values()) if (needed.has(block.index)) blocks.push(block)
    }
    return blocks
  }

  /** A new index of what is needed; then everything else may go. */
  async #replaceIndex(complete: boolean): Promise<void> {
    await this.#endPart()
    for (const log of this.#index.logs.values()) {
      const needed = this.#needed.get(log)
      for (const block of log.blocks.keys())
        if (needed?.has(block) !== true) log.blocks.delete(block)
    }
    this.#index.complete = complete
    if (!complete) this.#index.version = null
    const { folder, key } = this.#opts
    const header = newHeader(key)
    const frames = split(frameOf(this.#index)).map((frame, i) =>
      sealFrame(frame, header.salt, i, key)
    )
    const fresh = path.join(folder, `${STICK_INDEX}.new`)
    await writeFile(fresh, [encodeStickHeader(header), ...frames], { flush: true }).catch(
      translated
    )
    await rename(fresh, path.join(folder, STICK_INDEX))
    await syncDirectory(folder)
    if (complete) await rm(path.join(folder, STICK_JOURNAL), { force: true })
    else await this.#restartJournal()
    const used = new Set(blocksOf(this.#index).map(({ part }) => part))
    for (const part of await partsIn(folder)) {
      if (!used.has(part)) await rm(path.join(folder, partName(part)), { force: true })
    }
    await syncDirectory(folder)
  }

  /** What it named is in the index now. */
  async #restartJournal(): Promise<void> {
    await this.#journal.truncate(0)
    this.#salt = await journalHeader(this.#journal, this.#opts.key)
    this.#sequence = 0
  }
}

async function openJournal(
  folder: string,
  key: Buffer,
  known: { salt: Buffer; bytes: number; frames: number } | null
): Promise<{ file: FileHandle; salt: Buffer; frames: number }> {
  const file = await open(path.join(folder, STICK_JOURNAL), 'a+')
  try {
    if (known !== null) {
      await file.truncate(known.bytes)
      return { file, salt: known.salt, frames: known.frames }
    }
    await file.truncate(0)
    return { file, salt: await journalHeader(file, key), frames: 0 }
  } catch (err) {
    await file.close()
    throw err
  }
}

async function journalHeader(file: FileHandle, key: Buffer): Promise<Buffer> {
  const header = newHeader(key)
  await file.appendFile(encodeStickHeader(header)).catch(translated)
  await file.sync()
  return header.salt
}
