/** Blocks as they are stored here, for whoever checks them; and keys of logs as a runner gets them. */
import type { LogKeys } from '../../chunk/segment.ts'
import { Reply } from '../../ipc/channel.ts'
import type { RecordPlace } from '../../parcel/mark.ts'
import type { HostApi, LogKeysJson, PlaceJson } from '../../runner/protocol.ts'
import type { LogStorePort } from '../../store/ports.ts'

const NOT_STORED = -1
const UNREADABLE = -2
const EMPTY = Buffer.alloc(0)

export function keysJson(log: Buffer, { id, data, meta }: LogKeys): LogKeysJson {
  const [i, d, m] = [id, data, meta].map((key) => key.toString('hex'))
  return { log: log.toString('hex'), id: i, data: d, meta: m }
}

export function placeJson({ version, log, block, annex }: RecordPlace): PlaceJson {
  return {
    version: version.toString('hex'),
    log: log.toString('hex'),
    block,
    annex: annex ? { log: annex.log.toString('hex'), block: annex.block } : null
  }
}

export async function storedBlocks(
  store: LogStorePort,
  { log: name, blocks }: HostApi['blocks.stored']['params']
): Promise<Reply> {
  const log = await store.open(Buffer.from(name, 'hex'))
  const lengths: number[] = []
  const found: Buffer[] = []
  for (const block of blocks) {
    if (!(await log.has(block))) {
      lengths.push(NOT_STORED)
      continue
    }
    const data = await log.read(block).catch(unreadable)
    lengths.push(data === null ? UNREADABLE : data.byteLength)
    found.push(data ?? EMPTY)
  }
  return new Reply({ lengths }, found)
}

/** Whatever the disk says instead of the block is a bad block, unless the store is about to close. */
function unreadable(err: unknown): null {
  const { code } = err as { code?: string }
  if (code === 'STORE_CLOSED' || code === 'SESSION_CLOSED') throw err
  return null
}
