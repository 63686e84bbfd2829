/**
 * An overlay's file in memory that remembers what was synced, so that a test can cut the power at any moment:
 * of the writes since the last sync any may be missing or torn, sector by sector.
 */
import type { Random } from './random.ts'
import type { OpenOverlayFile, OverlayFile } from '../../lib/volume/overlay-file.ts'

const SECTOR_BYTES = 512

type Change =
  | { type: 'write'; position: number; data: Buffer }
  | { type: 'truncate'; length: number }
  /** Stands where the sync began: it covers what is before, once it is done. */
  | { type: 'sync'; done: boolean }

export class FaultyFile implements OverlayFile {
  /** As the page cache sees it. */
  content: Buffer = Buffer.alloc(0)
  /** Since it was made, in the order in which they reached the page cache. */
  readonly changes: Change[] = []
  /** Once set, nothing changes any more: the machine is off. */
  off = false
  /** The file may not grow beyond. */
  lengthMax = Infinity
  failSync: Error | null = null
  #base: Buffer = Buffer.alloc(0)

  /** Give it as `openFile`; opens the same file again and again. */
  readonly open: OpenOverlayFile = () => Promise.resolve(this)

  constructor(content?: Buffer) {
    if (content === undefined) return
    this.content = Buffer.from(content)
    this.#base = Buffer.from(content)
  }

  /** What a machine that lost power now, or after `upTo` changes, may find. */
  afterPowerCut(random: Random, upTo = this.changes.length): Buffer {
    let synced = upTo
    while (synced > 0 && !isSync(this.changes[synced - 1])) synced--
    let content: Buffer = Buffer.from(this.#base)
    for (let i = 0; i < synced; i++) content = apply(content, this.changes[i])
    const lost = random.next()
    for (let i = synced; i < upTo; i++) {
      if (random.next() < lost) continue
      const change = this.changes[i]
      if (change.type === 'write' && random.next() < 0.3) content = tear(content, change, random)
      else content = apply(content, change)
    }
    return content
  }

  pread(
    buffer: Buffer,
    at: number,
    length: number,
    position: number,
    done: (error: Error | null, bytes: number) => void
  ): void {
    setImmediate(() => {
      const end = Math.min(this.content.byteLength, position + length)
      done(null, end <= position ? 0 : this.content.copy(buffer, at, position, end))
    })
  }

  pwrite(
    buffer: Buffer,
    at: number,
    length: number,
    position: number,
    done: (error: Error | null) => void
  ): void {
    setImmediate(() => {
      const room = Math.max(0, Math.min(length, this.lengthMax - position))
      if (room > 0) {
        const data = Buffer.from(buffer.subarray(at, at + room))
        this.#change({ type: 'write', position, data })
      }
      done(room < length ? noSpace() : null)
    })
  }

  async datasync(): Promise<void> {
    const sync = { type: 'sync' as const, done: false }
    if (!this.off) this.changes.push(sync)
    await new Promise((resolve) => setImmediate(resolve))
    if (this.failSync !== null) throw this.failSync
    sync.done = !this.off
  }

  truncate(length: number): Promise<void> {
    this.#change({ type: 'truncate', length })
    return Promise.resolve()
  }

  size(): Promise<number> {
    return Promise.resolve(this.content.byteLength)
  }

  allocate(): Promise<void> {
    return Promise.resolve()
  }

  freeBytes(): Promise<number> {
    const left = this.lengthMax - this.content.byteLength
    return Promise.resolve(Number.isFinite(left) ? Math.max(0, left) : 2 ** 40)
  }

  publish(): Promise<void> {
    return Promise.resolve()
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  remove(): Promise<void> {
    this.content = Buffer.alloc(0)
    return Promise.resolve()
  }

  #change(change: Change): void {
    if (this.off) return
    this.changes.push(change)
    this.content = apply(this.content, change)
  }
}

const isSync = (change: Change): boolean => change.type === 'sync' && change.done

function apply(content: Buffer, change: Change): Buffer {
  if (change.type === 'sync') return content
  if (change.type === 'truncate') return resize(content, change.length)
  const end = change.position + change.data.byteLength
  const grown = end > content.byteLength ? resize(content, end) : content
  change.data.copy(grown, change.position)
  return grown
}

function tear(content: Buffer, change: Change & { type: 'write' }, random: Random): Buffer {
  let torn = content
  const { position, data } = change
  for (let at = 0; at < data.byteLength;) {
    const stop = Math.min(data.byteLength, at + SECTOR_BYTES - ((position + at) % SECTOR_BYTES))
    if (random.next() < 0.5) {
      torn = apply(torn, { type: 'write', position: position + at, data: data.subarray(at, stop) })
    }
    at = stop
  }
  return torn
}

/** Backed by more than is asked, so that growing by appends stays cheap. */
function resize(content: Buffer, length: number): Buffer {
  const room = content.buffer.byteLength - content.byteOffset
  if (length <= room && content.byteOffset === 0 && room < 2 ** 26) {
    const resized = Buffer.from(content.buffer, 0, length)
    if (length > content.byteLength) resized.fill(0, content.byteLength)
    return resized
  }
  const store = Buffer.from(new ArrayBuffer(Math.max(4096, length * 2)), 0, length)
  content.copy(store)
  return store
}

function noSpace(): Error {
  return Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
}
