/**
 * The header of an overlay file on disk. Two pairs of copies, written in turns and synced, so that a torn write leaves
 * the other pair; the valid copy with the highest counter counts.
 *
 * Each sync writes a header, where there is something new to say: the claim of what the sync before covered (see
 * `live-slots.ts`), and changes that somebody waits for.
 */
import safetyCatch from 'safety-catch'
import { faultPoint } from '../base/fault-point.ts'
import { HyperparcelError } from '../base/errors.ts'
import {
  OVERLAY_HEADER_BYTES,
  OVERLAY_PAIR_BYTES,
  OVERLAY_SLOTS_AT,
  decodeOverlayHeader,
  encodeOverlayHeader,
  verifyOverlayHeader,
  type OverlayHeader,
  type SyncClaim
} from '../format/overlay.ts'
import type { LiveMoment, LiveSlots } from './live-slots.ts'
import type { OverlayFile } from './overlay-file.ts'

/** A sync for nothing but a claim comes after nothing was written for that long. */
const IDLE_MS = 1000

/** The newest authentic copy and the slot key. Throws `DATA_CORRUPT` when there is none, `FORMAT_TOO_…`. */
export async function readOverlayHeader(
  file: OverlayFile,
  unsealKey: (sealed: Buffer) => Buffer
): Promise<{ header: OverlayHeader; key: Buffer }> {
  const all = Buffer.alloc(OVERLAY_SLOTS_AT)
  await new Promise<void>((resolve, reject) => {
    file.pread(all, 0, all.byteLength, 0, (error) => (error === null ? resolve() : reject(error)))
  })
  const blocks: Buffer[] = []
  for (let at = 0; at < all.byteLength; at += OVERLAY_HEADER_BYTES) {
    blocks.push(all.subarray(at, at + OVERLAY_HEADER_BYTES))
  }
  const copies = blocks
    .map((block) => ({ block, header: decodeOverlayHeader(block) }))
    .sort((a, b) => (b.header?.counter ?? -1) - (a.header?.counter ?? -1))
  for (const { block, header } of copies) {
    if (header === null) continue
    const key = unsealKey(header.sealedKey)
    if (verifyOverlayHeader(block, key)) return { header, key }
  }
  throw new HyperparcelError('DATA_CORRUPT', 'The header of an overlay did not verify', {
    hint: 'The changes in it cannot be read. The last version of the parcel is not affected.'
  })
}

/** What the next header shall say, asked for by somebody who waits for it. */
interface Request {
  change: Partial<OverlayHeader>
  failure: Error | null
}

export class HeaderWriter {
  readonly #file: OverlayFile
  readonly #key: Buffer
  readonly #live: LiveSlots | null
  readonly #sync: () => Promise<void>
  #current: OverlayHeader
  #requests: Request[] = []
  /** Ends when the last one that needs no sync is written. */
  #last: Promise<void> = Promise.resolve()
  /** What the last sync covered; undefined before the first one: the claim stays as it is. */
  #synced: LiveMoment | null | undefined = undefined
  #idle: NodeJS.Timeout | null = null
  /** `LiveSlots.sequence` when the timer was set. */
  #idleSince = 0

  /**
   * @param current as it is on the disk, or as the first one shall be
   * @param live null where nothing need survive a crash: then a header is just written
   * @param sync makes everything written before durable, and calls `put` first
   */
  constructor(
    file: OverlayFile,
    key: Buffer,
    current: OverlayHeader,
    live: LiveSlots | null,
    sync: () => Promise<void>
  ) {
    this.#file = file
    this.#key = key
    this.#current = current
    this.#live = live
    this.#sync = sync
  }

  get current(): OverlayHeader {
    return this.#current
  }

  /** Something was synced that the header does not claim yet. */
  get behind(): boolean {
    return !sameClaim(this.#nextClaim(this.#current.floorSequence), this.#current.claim)
  }

  /** Durable when it resolves, where the overlay is; on an error the old header still counts. */
  async write(change: Partial<OverlayHeader>): Promise<void> {
    const request: Request = { change, failure: null }
    this.#requests.push(request)
    if (this.#live === null) await (this.#last = this.#last.then(() => this.#putOnly()))
    else await this.#sync()
    if (request.failure !== null) throw request.failure
    faultPoint('header-synced')
  }

  /**
   * Before a sync: notes what that one will cover, and writes what the last one did. Never rejects. `claimed` is false
   * when that could not be written; `synced` is to be called when the sync succeeded.
   */
  async put(): Promise<{ claimed: boolean; synced: () => void }> {
    const covered = this.#live?.now() ?? null
    const requests = this.#requests
    this.#requests = []
    const header = { ...this.#current }
    for (const { change } of requests) Object.assign(header, change)
    header.claim = this.#nextClaim(header.floorSequence)
    const needed = requests.length > 0 || !sameClaim(header.claim, this.#current.claim)
    const failure = needed ? await this.#write(header) : null
    for (const request of requests) request.failure = failure
    return {
      claimed: failure === null,
      synced: () => {
        if (needed && failure === null) this.#current = header
        this.#synced = covered
        this.#waitForIdle()
      }
    }
  }

  close(): void {
    if (this.#idle !== null) clearTimeout(this.#idle)
    this.#idle = null
  }

  async #putOnly(): Promise<void> {
    const { synced } = await this.put()
    synced()
  }

  async #write(header: OverlayHeader): Promise<Error | null> {
    header.counter++
    const block = encodeOverlayHeader(header, this.#key)
    const pair = Buffer.concat([block, block])
    const position = (header.counter % 2) * OVERLAY_PAIR_BYTES
    const failure = await new Promise<Error | null>((resolve) => {
      this.#file.pwrite(pair, 0, pair.byteLength, position, resolve)
    })
    faultPoint('headed')
    return failure
  }

  #nextClaim(floor: number): SyncClaim | null {
    if (this.#synced === undefined) return this.#current.claim
    return this.#synced === null ? null : this.#live!.marker.claim(this.#synced, floor)
  }

  /** What was just synced is claimed by the next sync, at the latest when nothing was written for a while. */
  #waitForIdle(): void {
    if (this.#live === null || this.#idle !== null || !this.behind) return
    this.#idleSince = this.#live.sequence
    this.#idle = setTimeout(() => {
      this.#idle = null
      if (this.#live!.sequence === this.#idleSince) this.#sync().catch(safetyCatch)
      else this.#waitForIdle()
    }, IDLE_MS).unref()
  }
}

function sameClaim(a: SyncClaim | null, b: SyncClaim | null): boolean {
  if (a === null || b === null) return a === b
  return (
    a.sequence === b.sequence && a.frozenSequence === b.frozenSequence && a.digest.equals(b.digest)
  )
}
