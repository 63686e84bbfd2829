/** What is stored on this device and no more: for whoever checks it or packs it anew. */
import type { LogKeys } from '../chunk/segment.ts'
import type { StoredBlocks } from '../parcel/verify.ts'
import type { ReadOnlyStore } from '../store/read-only-store.ts'
import type { Host } from './host.ts'
import { keysFromJson } from './remote-sink.ts'

/** From our own opening of the store; what that does not have, the daemon is asked for. */
export class StoredHere implements StoredBlocks {
  readonly #host: Host
  readonly #local: ReadOnlyStore
  readonly #keys = new Map<string, LogKeys>()

  constructor(host: Host, local: ReadOnlyStore) {
    this.#host = host
    this.#local = local
  }

  async read(log: Buffer, blocks: number[]): Promise<(Buffer | 'unreadable' | null)[]> {
    const found: (Buffer | 'unreadable' | null)[] = await Promise.all(
      blocks.map((block) => this.#local.read(log, block))
    )
    const absent = blocks.filter((_, i) => found[i] === null)
    if (absent.length === 0) return found
    const { json, attachment } = await this.#host.call('blocks.stored', {
      log: log.toString('hex'),
      blocks: absent
    })
    let at = 0
    for (const [i, length] of json.lengths.entries()) {
      const place = blocks.indexOf(absent[i])
      if (length >= 0) found[place] = attachment.subarray(at, (at += length))
      else if (length === -2) found[place] = 'unreadable'
    }
    return found
  }

  async keysOf(log: Buffer): Promise<LogKeys> {
    const name = log.toString('hex')
    let keys = this.#keys.get(name)
    if (keys === undefined) {
      const { json } = await this.#host.call('logKeys', { logs: [name] })
      keys = keysFromJson(json.keys[0])
      this.#keys.set(name, keys)
    }
    return keys
  }
}
