/** Heads of segments (560 bytes each: which chunks are in them, sealed) as devices and caches give them to each other. */
import * as v from 'valibot'
import { segmentHead } from '../../format/segment.ts'
import { PeerReply } from '../../net/calls.ts'
import type { LogStorePort } from '../../store/ports.ts'
import { Hex } from './call-params.ts'

export const HEADS_MAX = 64

const Block = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const Params = v.object({
  log: Hex(32),
  blocks: v.pipe(v.array(Block), v.maxLength(HEADS_MAX))
})
export const HeadsAnswer = v.object({
  lengths: v.pipe(v.array(Block), v.maxLength(HEADS_MAX))
})

/** Of a log that the peer may have, what is stored here; a length of 0 where that is nothing, or no segment. */
export async function giveHeads(
  store: LogStorePort,
  mayServe: (log: Buffer) => boolean,
  params: unknown
): Promise<PeerReply> {
  const { log: name, blocks } = v.parse(Params, params)
  const key = Buffer.from(name, 'hex')
  const log = mayServe(key) ? await store.peek(key) : null
  const heads: Buffer[] = []
  for (const block of blocks) {
    const is = log !== null && block < log.durableLength && (await log.has(block))
    const stored = is ? await log.read(block).catch(() => null) : null
    heads.push((stored && segmentHead(stored)) ?? Buffer.alloc(0))
  }
  const lengths = heads.map(({ byteLength }) => byteLength)
  return new PeerReply({ lengths }, Buffer.concat(heads))
}
