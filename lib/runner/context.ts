/**
 * What a session works with: the version it lies on, the keys of its logs, and the way to their blocks.
 * After a commit it lies on the new version.
 */
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../base/errors.ts'
import type { LogKeys } from '../chunk/segment.ts'
import { decodeVersion, versionId, type VersionRecord } from '../format/version.ts'
import { ChunkThreads } from '../parcel/chunk-threads.ts'
import { LogTable } from '../parcel/log-table.ts'
import { readPack } from '../parcel/pack-index.ts'
import { withReissuedMap } from '../parcel/reissued-version.ts'
import { VersionReader } from '../parcel/version-reader.ts'
import { ReadOnlyStore } from '../store/read-only-store.ts'
import { PackSource } from '../volume/pack-source.ts'
import type { TouchTrace } from '../volume/touch-trace.ts'
import { Seeds } from './seeds/seeds.ts'
import { BlockSource } from './block-source.ts'
import type { Host } from './host.ts'
import type { LogKeysJson, OpenParams } from './protocol.ts'
import { keysFromJson } from './remote-sink.ts'

export class Context {
  readonly params: OpenParams
  readonly host: Host
  readonly parcel: Buffer
  readonly dedupKey: Buffer
  readonly overlayKey: Buffer
  readonly logs: LogTable
  readonly source: BlockSource
  readonly seeds: Seeds
  /** For the work of commits. */
  readonly threads = new ChunkThreads()
  /** Stored since the version, by commits that ended before there was another: unsealed and sealed bytes. */
  readonly ahead = { bytesNew: 0, bytesStored: 0 }
  /** Null for a parcel that has no version yet. */
  version: VersionReader | null
  versionId: Buffer | null
  /** A version whose publication was not answered: nobody knows yet whether it exists. */
  undecided: { record: VersionRecord; id: Buffer } | null = null
  /** What to read first; null for none, and for a version that was made since. */
  pack: PackSource | null = null
  /** What is touched of the version that was opened. */
  trace: TouchTrace | null = null
  readonly #local: ReadOnlyStore
  readonly #keys = new Map<string, LogKeys>()

  private constructor(params: OpenParams, record: VersionRecord | null, host: Host) {
    this.params = params
    this.host = host
    this.parcel = Buffer.from(params.parcel, 'hex')
    this.dedupKey = Buffer.from(params.dedupKey, 'hex')
    this.overlayKey = Buffer.from(params.overlayKey, 'hex')
    this.logs = new LogTable(record?.logs.map((log) => log.key))
    this.#local = new ReadOnlyStore({ directory: params.storeDirectory })
    this.source = new BlockSource(host, this.#local, this.logs)
    this.seeds = new Seeds({
      host,
      dedupKey: this.dedupKey,
      logKey: (number) => this.logs.keyOf(number)
    })
    this.seeds.use(params.seeds)
    for (const keys of params.keys) this.addKeys(keys)
    this.version = record === null ? null : this.#reader(record)
    this.versionId = params.version === null ? null : Buffer.from(params.version, 'hex')
  }

  /**
   * @param attachment the version record, empty for a new parcel, and behind it the reissued map that it is read
   * through, both checked against the id that the version was named by; then the head of a pack
   */
  static async open(params: OpenParams, attachment: Buffer, host: Host): Promise<Context> {
    if (params.version === null) return new Context(params, null, host)
    const encoded = attachment.subarray(0, params.recordBytes)
    const headAt = attachment.byteLength - (params.pack?.headBytes ?? 0)
    const reissued = attachment.subarray(params.recordBytes, headAt)
    if (versionId(encoded).toString('hex') !== params.version) {
      throw new HyperparcelError('DATA_CORRUPT', 'A version record is not the one it was named as')
    }
    const record = decodeVersion(encoded)
    const version = Buffer.from(params.version, 'hex')
    const read = reissued.byteLength === 0 ? record : withReissuedMap(record, version, reissued)
    const context = new Context(params, read, host)
    await context.#local.ready()
    context.#openPack(attachment.subarray(headAt))
    return context
  }

  #tellBad(log: string, block: number, reason: HyperparcelError): void {
    this.host.call('badPack', { log, block, error: reason.toJSON() }).catch(safetyCatch)
  }

  /** It comes from now on. One that is of no use here is none. */
  #openPack(head: Buffer): void {
    const { pack } = this.params
    if (pack === null || this.version === null) return
    const log = Buffer.from(pack.keys.log, 'hex')
    const { block } = pack
    const onbad = (reason: HyperparcelError) => this.#tellBad(pack.keys.log, block, reason)
    try {
      this.pack = new PackSource({
        index: readPack(head, this.version.record),
        log,
        block,
        keys: keysFromJson(pack.keys),
        dedupKey: this.dedupKey,
        read: (index, urgent) => this.source.readAny(log, index, urgent),
        onbad
      })
    } catch (err) {
      onbad(HyperparcelError.from(err))
      return
    }
    this.pack.start()
  }

  addKeys(json: LogKeysJson): void {
    this.#keys.set(json.log, keysFromJson(json))
  }

  /** Keys of a log by its number in `logs`. */
  keysOf(number: number): LogKeys {
    const keys = this.#keys.get(this.logs.keyOf(number).toString('hex'))
    if (keys === undefined) {
      throw new HyperparcelError('KEY_MISSING', 'A version references a log without a known key')
    }
    return keys
  }

  /** Gets the keys of logs that a version to come needs, so that nothing can fail once it exists. */
  async prepare(record: VersionRecord): Promise<void> {
    const unknown = record.logs
      .map((log) => log.key.toString('hex'))
      .filter((log) => !this.#keys.has(log))
    if (unknown.length === 0) return
    const { json } = await this.host.call('logKeys', { logs: unknown })
    for (const keys of json.keys) this.addKeys(keys)
  }

  /** Goes on from a version that was just committed, and prepared before. */
  advance(record: VersionRecord, id: Buffer): void {
    this.logs.extend(record.logs.map((log) => log.key))
    this.version = this.#reader(record)
    this.versionId = id
    this.pack = null
    this.trace?.end()
    this.ahead.bytesNew = this.ahead.bytesStored = 0
  }

  /** Bytes of device state and of the pack up to an answer, as far as they have come; null without a pack. */
  get answerBytes(): number | null {
    if (this.pack === null || this.version === null) return null
    return this.pack.answerBytes + (this.version.record.state?.bytes ?? 0)
  }

  /** Opens the local store anew, to read blocks that came since. */
  async refresh(): Promise<void> {
    await this.#local.refresh()
  }

  async close(): Promise<void> {
    this.pack?.end()
    this.seeds.close()
    await this.threads.close()
    await this.#local.close()
  }

  #reader(record: VersionRecord): VersionReader {
    return new VersionReader(record, this.source, (number) => this.keysOf(number).meta)
  }
}
