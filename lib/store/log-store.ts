/**
 * All logs of this device: one Corestore, one process.
 *
 * Invariants (design §4)
 * - An append is not durable before `flush()`; nothing above `durableLength` is served or announced.
 * - A log is never appended to twice at the same index. An own log is retired for good when the store was not
 *   closed cleanly, when it has not exactly what was recorded at its clean close (rolled back), or when a peer
 *   proves a longer length. `current()` then starts a new one under a random name, recorded durably before
 *   the first append.
 * - `logs.json` says `clean` only while the store is closed.
 *
 * Events: `log` (log) for each log when it is first opened; `retired` (log, reason); `warning` (err) when a
 * flush in the background failed; `failed` (err), once, when the disk refused a write: RocksDB then takes none until the
 * store is opened anew.
 */
import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import Corestore from 'corestore'
import Hypercore from 'hypercore'
import ReadyResource from 'ready-resource'
import { HyperparcelError } from '../base/errors.ts'
import { closeStore, openStorage, openStore } from './cores.ts'
import { GroupCommit } from './group-commit.ts'
import { LogState, type OwnLog, type RetireReason } from './log-state.ts'
import { StoredLog, type LogHost, type LogMark } from './log.ts'
import type { LogStorePort } from './ports.ts'
import { reclaim, type ReclaimOptions } from './reclaim.ts'
import { Room, freeBytes } from './room.ts'
import { isWriteError, storeError } from './store-errors.ts'

/** Sub-directory with the Corestore. */
export const CORES_DIRECTORY = 'cores'
const STATE_FILE = 'logs.json'
/** Hypercore sessions kept open at once. */
const SESSIONS_MAX = 128
/** Blocks from elsewhere are flushed after that long, or that many bytes. */
const LAZY_FLUSH_MS = 1000
const LAZY_FLUSH_BYTES = 32 * 1024 * 1024

export interface LogStoreOptions {
  /** Created when it does not exist. */
  directory: string
  /** A database that is not open by then is damaged. */
  openTimeoutMs?: number
}

export class LogStore extends ReadyResource implements LogStorePort {
  readonly directory: string
  readonly #openTimeoutMs: number | undefined
  #store!: Corestore
  #state!: LogState
  readonly #host: LogHost
  readonly #logs = new Map<string, Promise<StoredLog>>()
  readonly #current = new Map<string, Promise<StoredLog>>()
  /** Keys (hex) of logs with something stored. */
  readonly #stored = new Set<string>()
  /** Logs with an open session, least recently opened first. */
  readonly #sessions = new Set<StoredLog>()
  #dirty = new Set<StoredLog>()
  readonly #flushes = new GroupCommit(() => this.#flush())
  readonly #room: Room
  #lazyTimer: NodeJS.Timeout | null = null
  #receivedBytes = 0
  #failed = false

  constructor({ directory, openTimeoutMs }: LogStoreOptions) {
    super()
    this.#openTimeoutMs = openTimeoutMs
    this.setMaxListeners(0)
    this.directory = directory
    this.#room = new Room({ directory })
    this.#host = {
      room: (bytes) => this.#room.claim(bytes),
      failed: (err) => this.#fail(err),
      session: (log) => this.#store.get({ key: log.key }),
      touch: (log) => this.#touch(log),
      dirty: (log, bytes) => this.#markDirty(log, bytes),
      outgrown: (log) => this.#retire(log.key, 'peer-knows-more')
    }
  }

  protected override async _open(): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 })
    this.#store = new Corestore(openStorage(path.join(this.directory, CORES_DIRECTORY)))
    await openStore(this.#store, this.directory, this.#openTimeoutMs)
    try {
      this.#state = await LogState.load(path.join(this.directory, STATE_FILE))
      // What a killed process wrote may still be in memory only.
      await this.#store.storage.db.flush()
      for (const info of await this.#infos()) this.#stored.add(info.key.toString('hex'))
      await this.#retireUnsafe()
      this.#state.clean = false
      await this.#state.save()
    } catch (err) {
      await closeStore(this.#store).catch(() => {})
      throw storeError(err)
    }
  }

  protected override async _close(): Promise<void> {
    if (this.#lazyTimer !== null) clearTimeout(this.#lazyTimer)
    if (!this.opened) return
    const open = await Promise.all(this.#logs.values())
    const own = open.filter((log) => log.writable)
    try {
      for (const log of own) await log.freeze()
      await this.flush()
      for (const log of own) await this.#recordLength(log)
      this.#state.clean = true
      await this.#state.save()
    } finally {
      await closeStore(this.#store)
    }
  }

  async current(purpose: string): Promise<StoredLog> {
    this.#assertOpen()
    let current = this.#current.get(purpose)
    if (current === undefined) {
      current = this.#resumeOrStart(purpose)
      this.#current.set(purpose, current)
      current.catch(() => this.#current.delete(purpose))
    }
    return current
  }

  open(key: Buffer): Promise<StoredLog> {
    const id = key.toString('hex')
    let log = this.#logs.get(id)
    if (log === undefined) {
      log = this.#load(Buffer.from(key))
      this.#logs.set(id, log)
      log.catch(() => this.#logs.delete(id))
    }
    return log
  }

  async peek(key: Buffer): Promise<StoredLog | null> {
    this.#assertOpen()
    const id = key.toString('hex')
    return this.#logs.has(id) || this.#stored.has(id) ? this.open(key) : null
  }

  async list(): Promise<Buffer[]> {
    this.#assertOpen()
    return [...this.#stored].map((id) => Buffer.from(id, 'hex'))
  }

  /** Every log that this device may append to. */
  ownLogs(): Promise<StoredLog[]> {
    this.#assertOpen()
    const own = this.#state.logs.filter((entry) => entry.retired === null)
    return Promise.all(own.map((entry) => this.open(Buffer.from(entry.key, 'hex'))))
  }

  /** Own logs that were retired, with the reason, for whoever wants to know. */
  retiredLogs(): { key: Buffer; purpose: string; reason: RetireReason }[] {
    return this.#state.logs
      .filter((own) => own.retired !== null)
      .map((own) => ({
        key: Buffer.from(own.key, 'hex'),
        purpose: own.purpose,
        reason: own.retired!
      }))
  }

  retire(key: Buffer): Promise<void> {
    return this.#retire(key, 'peer-knows-more')
  }

  /** Gives up a purpose: its log ends, its blocks are forgotten. The disk gets its space back by `compact`. */
  async drop(purpose: string): Promise<void> {
    const own = this.#state.current(purpose)
    if (own === undefined) return
    const key = Buffer.from(own.key, 'hex')
    await this.#retire(key, 'dropped')
    const log = await this.open(key)
    if (log.length > 0) await log.clear(0, log.length)
  }

  flush(): Promise<void> {
    return this.#flushes.commit()
  }

  /** Gives the disk space of cleared blocks back. Slow, in steps. Resolves with what is left for lack of room. */
  compact(opts: ReclaimOptions = {}): Promise<number> {
    return reclaim(this.#store.storage.db, () => freeBytes(this.directory), opts)
  }

  async #load(key: Buffer): Promise<StoredLog> {
    this.#assertOpen()
    const log = new StoredLog(this.#host, key)
    await log.load()
    const id = key.toString('hex')
    log.setWritable(this.#state.logs.some((own) => own.key === id && own.retired === null))
    if (log.length > 0) this.#stored.add(id)
    this.emit('log', log)
    return log
  }

  async #resumeOrStart(purpose: string): Promise<StoredLog> {
    let own = this.#state.current(purpose)
    if (own === undefined) {
      const name = randomBytes(16).toString('hex')
      const core = this.#store.get({ name })
      await core.ready()
      own = {
        key: core.key.toString('hex'),
        purpose,
        name,
        retired: null,
        length: 0,
        treeHash: null
      }
      await core.close()
      this.#state.logs.push(own)
      await this.#state.save()
    }
    return this.open(Buffer.from(own.key, 'hex'))
  }

  async #retire(key: Buffer, reason: RetireReason): Promise<void> {
    const id = key.toString('hex')
    const own = this.#state.logs.find((entry) => entry.key === id)
    if (own === undefined || own.retired !== null) return
    own.retired = reason
    this.#current.delete(own.purpose)
    const log = await this.#logs.get(id)
    log?.setWritable(false)
    await this.#state.save()
    this.emit('retired', log ?? (await this.open(key)), reason)
  }

  /** After opening: which own logs may not go on? */
  async #retireUnsafe(): Promise<void> {
    for (const own of this.#state.logs) {
      if (own.retired !== null) continue
      own.retired = this.#state.unclean ?? ((await this.#isIntact(own)) ? null : 'rolled-back')
    }
  }

  async #isIntact(own: OwnLog): Promise<boolean> {
    const core = this.#store.get({ key: Buffer.from(own.key, 'hex') })
    try {
      await core.ready()
      if (core.length !== own.length) return false
      return (await treeHash(core)) === own.treeHash
    } catch (err) {
      if (storeError(err).code !== 'DATA_CORRUPT') throw err
      return false // whoever reads it hears of that; nothing may be appended to it
    } finally {
      await core.close()
    }
  }

  async #recordLength(log: StoredLog): Promise<void> {
    const id = log.key.toString('hex')
    const own = this.#state.logs.find((entry) => entry.key === id)!
    own.length = log.length
    own.treeHash = log.length === 0 ? null : (await log.treeHash(log.length)).toString('hex')
  }

  async #flush(): Promise<void> {
    const logs = [...this.#dirty]
    this.#dirty = new Set()
    this.#receivedBytes = 0
    if (this.#lazyTimer !== null) clearTimeout(this.#lazyTimer)
    this.#lazyTimer = null
    const { unwritten } = this.#room
    let marks: LogMark[]
    try {
      marks = await Promise.all(logs.map((log) => log.mark()))
      await this.#store.storage.db.flush()
    } catch (err) {
      for (const log of logs) this.#dirty.add(log)
      if (isWriteError(err)) this.#fail(err)
      throw storeError(err)
    }
    this.#room.flushed(unwritten)
    for (let i = 0; i < logs.length; i++) logs[i].settle(marks[i])
  }

  #fail(err: unknown): void {
    if (this.#failed || this.closing !== null) return
    this.#failed = true
    this.emit('failed', storeError(err))
  }

  #markDirty(log: StoredLog, receivedBytes: number): void {
    if (!this.#dirty.has(log)) {
      this.#dirty.add(log)
      this.#stored.add(log.key.toString('hex'))
    }
    if (log.writable && receivedBytes === 0) return // appends: their commit flushes
    this.#receivedBytes += receivedBytes
    if (this.#receivedBytes >= LAZY_FLUSH_BYTES) this.#flushLazily()
    else this.#lazyTimer ??= setTimeout(() => this.#flushLazily(), LAZY_FLUSH_MS)
  }

  #flushLazily(): void {
    if (this.#lazyTimer !== null) clearTimeout(this.#lazyTimer)
    this.#lazyTimer = null
    this.#receivedBytes = 0
    this.flush().catch((err: unknown) => this.emit('warning', err))
  }

  #touch(log: StoredLog): void {
    this.#sessions.add(log)
    if (this.#sessions.size <= SESSIONS_MAX) return
    for (const other of this.#sessions) {
      if (other === log || !other.idle || this.#dirty.has(other)) continue
      this.#sessions.delete(other)
      other.suspend().catch((err: unknown) => this.emit('warning', err))
      return
    }
  }

  async #infos(): Promise<{ key: Buffer; length: number }[]> {
    const discoveryKeys: Buffer[] = []
    for await (const discoveryKey of this.#store.list()) discoveryKeys.push(discoveryKey)
    const infos = await this.#store.storage.getInfos(discoveryKeys, { hints: false })
    const out: { key: Buffer; length: number }[] = []
    for (const info of infos) {
      const length = info?.head?.length ?? 0
      if (info?.auth && length > 0) out.push({ key: info.auth.key, length })
    }
    return out
  }

  #assertOpen(): void {
    if (!this.opened || this.closing) {
      throw new HyperparcelError('STORE_CLOSED', 'The store is not open')
    }
  }
}

async function treeHash(core: Hypercore): Promise<string | null> {
  if (core.length === 0) return null
  return (await Hypercore.treeHashFromStorage(core, core.length)).toString('hex')
}
