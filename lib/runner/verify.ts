/** verify: reads everything that is stored of some versions, in a process that may open it. Fetches nothing. */
import type { Progress } from '../base/progress.ts'
import type { LogKeys } from '../chunk/segment.ts'
import { Verifier, type StoredBlocks } from '../parcel/verify.ts'
import { ReadOnlyStore } from '../store/read-only-store.ts'
import type { Host } from './host.ts'
import type { VerifyParams, VerifySummary } from './protocol.ts'
import { keysFromJson } from './remote-sink.ts'

const REPORT_MS = 200

export async function verifyVersions(
  host: Host,
  params: VerifyParams,
  signal: AbortSignal,
  event: (progress: Progress) => void
): Promise<VerifySummary> {
  const local = new ReadOnlyStore({ directory: params.storeDirectory })
  await local.ready()
  try {
    const verifier = new Verifier(new Stored(host, local), Buffer.from(params.dedupKey, 'hex'))
    let reported = 0
    for (const { version, name, log, block } of params.versions) {
      const ontick = () => {
        signal.throwIfAborted()
        if (performance.now() - reported < REPORT_MS) return
        reported = performance.now()
        event({ phase: `checking ${name}`, done: verifier.bytes, unit: 'bytes' })
      }
      await verifier.version(Buffer.from(version, 'hex'), Buffer.from(log, 'hex'), block, ontick)
    }
    const { checked, bytes, missing, bad } = verifier
    const found = bad.map(({ log, ...rest }) => ({ log: log.toString('hex'), ...rest }))
    return { checked, bytes, missing, bad: found }
  } finally {
    await local.close()
  }
}

/** From our own opening of the store; what that does not have, the daemon is asked for. */
class Stored implements StoredBlocks {
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
