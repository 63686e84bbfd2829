/**
 * The same store seen from another process, while the daemon has it open: blocks for the runner, without asking
 * the daemon. It sees what had been written when it was opened; `refresh()` opens it anew.
 *
 * Any failure (files compacted away beneath, a store that does not exist yet) reads as "not here": the caller
 * then asks the daemon. What is read is verified by the caller: segments are sealed.
 */
import path from 'node:path'
import Corestore from 'corestore'
import type Hypercore from 'hypercore'
import ReadyResource from 'ready-resource'
import { systemClock, type Clock } from '../base/clock.ts'
import { closeStore, openStorage, openStore } from './cores.ts'
import { CORES_DIRECTORY } from './log-store.ts'

/** Hypercore sessions kept open at once. */
const SESSIONS_MAX = 64
const REFRESH_INTERVAL_MS = 1000

export interface ReadOnlyStoreOptions {
  /** The directory of the daemon's `LogStore`. */
  directory: string
  clock?: Clock
  /** The store is not opened more often than that. */
  refreshIntervalMs?: number
}

/** One opening of the store. Closed when nobody reads from it any more. */
interface View {
  store: Corestore
  sessions: Map<string, Promise<Hypercore | null>>
  readers: number
  retired: boolean
}

export class ReadOnlyStore extends ReadyResource {
  readonly #directory: string
  readonly #clock: Clock
  readonly #refreshIntervalMs: number
  #view: View | null = null
  #refreshing: Promise<boolean> | null = null
  #refreshedAt = Number.NEGATIVE_INFINITY

  constructor({ directory, clock, refreshIntervalMs }: ReadOnlyStoreOptions) {
    super()
    this.#directory = path.join(directory, CORES_DIRECTORY)
    this.#clock = clock ?? systemClock
    this.#refreshIntervalMs = refreshIntervalMs ?? REFRESH_INTERVAL_MS
  }

  protected override async _open(): Promise<void> {
    await this.refresh()
  }

  protected override async _close(): Promise<void> {
    await this.#refreshing
    this.#retire(this.#view)
    this.#view = null
  }

  /** A block that was stored when the view was opened, else null. */
  read(key: Buffer, index: number): Promise<Buffer | null> {
    return this.#with(key, null, (core) => core.get(index, { wait: false }))
  }

  /** Was that block stored when the view was opened? */
  has(key: Buffer, index: number): Promise<boolean> {
    return this.#with(key, false, (core) => core.has(index))
  }

  /**
   * Opens the store anew, to see what was written since. False when that was not possible or was done less than
   * the refresh interval ago; what was seen before is then still seen. Concurrent calls share one opening.
   */
  async refresh(): Promise<boolean> {
    if (this.#refreshing !== null) return this.#refreshing
    const now = this.#clock.monotonic()
    if (now - this.#refreshedAt < this.#refreshIntervalMs) return false
    this.#refreshedAt = now
    this.#refreshing = this.#reopen()
    try {
      return await this.#refreshing
    } finally {
      this.#refreshing = null
    }
  }

  async #reopen(): Promise<boolean> {
    // Files may vanish between the reading of the list of files and their opening: then once more.
    for (let attempt = 0; attempt < 3; attempt++) {
      const store = new Corestore(openStorage(this.#directory, { readOnly: true }), {
        readOnly: true
      })
      try {
        await openStore(store, this.#directory)
        this.#retire(this.#view)
        this.#view = { store, sessions: new Map(), readers: 0, retired: false }
        return true
      } catch {
        // once more
      }
    }
    return false
  }

  async #with<T>(key: Buffer, absent: T, fn: (core: Hypercore) => Promise<T>): Promise<T> {
    const view = this.#view
    if (view === null) return absent
    view.readers++
    try {
      const core = await this.#session(view, key)
      return core === null ? absent : await fn(core)
    } catch {
      return absent
    } finally {
      if (--view.readers === 0 && view.retired) closeView(view)
    }
  }

  #session(view: View, key: Buffer): Promise<Hypercore | null> {
    const id = key.toString('hex')
    let session = view.sessions.get(id)
    if (session !== undefined) return session
    session = open(view.store, key)
    view.sessions.set(id, session)
    session.then(
      (core) => core === null && view.sessions.delete(id),
      () => view.sessions.delete(id)
    )
    if (view.sessions.size > SESSIONS_MAX && view.readers === 1) this.#forget(view)
    return session
  }

  /** Nobody else reads: the oldest session can go. */
  #forget(view: View): void {
    const [id, session] = view.sessions.entries().next().value!
    view.sessions.delete(id)
    session.then((core) => core?.close()).catch(() => {})
  }

  #retire(view: View | null): void {
    if (view === null) return
    view.retired = true
    if (view.readers === 0) closeView(view)
  }
}

async function open(store: Corestore, key: Buffer): Promise<Hypercore | null> {
  const core = store.get({ key, createIfMissing: false })
  try {
    await core.ready()
    return core
  } catch {
    return null
  }
}

function closeView(view: View): void {
  closeStore(view.store).catch(() => {})
}
