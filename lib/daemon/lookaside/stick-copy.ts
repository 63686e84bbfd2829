/** Copies blocks of logs to a stick, with all that proves them. */
import { HyperparcelError } from '../../base/errors.ts'
import { encodeProof, encodeProofs } from '../../lookaside/proof-batch.ts'
import type { LookasideApi } from '../../lookaside/protocol.ts'
import { KnownNodes } from '../../net/known-nodes.ts'
import type { Log, LogProof } from '../../store/ports.ts'
import type { UseCaseContext } from '../use-cases/context.ts'
import type { LookasideCalls } from './process.ts'

const BATCH_BYTES = 1024 * 1024
/** Blocks of which the size tells that of the others. */
const SAMPLES = 64
const ATTEMPTS_MAX = 5

export type Runs = [number, number][]

/** Blocks of a log that a version needs, all stored here. */
export interface Needed {
  log: Log
  runs: Runs
  /** Lengths at which others may know it: they get a proof of its present one. */
  lengths: number[]
}

interface Wanted {
  log: Log
  missing: Runs
  renew: number[]
}

export class StickCopy {
  readonly #process: LookasideCalls
  readonly #fill: number
  readonly #context: Pick<UseCaseContext, 'signal' | 'progress'>
  #done = 0
  #total = 0

  constructor(
    process: LookasideCalls,
    fill: number,
    context: Pick<UseCaseContext, 'signal' | 'progress'>
  ) {
    this.#process = process
    this.#fill = fill
    this.#context = context
  }

  async run(
    needed: Needed[],
    version: LookasideApi['fill.end']['params']['version']
  ): Promise<{ bytes: number; written: number }> {
    const wanted: Wanted[] = []
    for (const each of needed) {
      const found = await this.#need(each)
      if (found !== null) wanted.push(found)
    }
    this.#total = await estimate(wanted)
    await this.#process.call('fill.room', { fill: this.#fill, bytes: this.#total })
    for (const each of wanted) await this.#copy(each)
    this.#report('finishing the stick')
    return this.#process.call('fill.end', { fill: this.#fill, version })
  }

  async #need({ log, runs, lengths }: Needed): Promise<Wanted | null> {
    const proof = await lengthProof(log)
    if (proof === null) return null
    const params = { fill: this.#fill, log: log.key.toString('hex') }
    const attachments = [encodeProof(wire(proof))]
    const found = await this.#process.call('fill.need', { ...params, runs }, { attachments })
    for (const from of lengths) {
      const more = await log.proveLength(from, proof.upgrade!.length).catch(() => null)
      if (more === null) continue
      await this.#process.call('fill.cover', params, { attachments: [encodeProof(wire(more))] })
    }
    return { log, ...found }
  }

  async #copy({ log, missing, renew }: Wanted): Promise<void> {
    const known = new KnownNodes()
    for (const index of renew) {
      const { proof, levels } = await blockProof(log, index, known)
      known.add(index, levels)
      const block = { ...proof.block!, value: Buffer.alloc(0) }
      await this.#send(log, [{ ...proof, block }], true)
    }
    let batch: LogProof[] = []
    let bytes = 0
    let sending: Promise<unknown> = Promise.resolve()
    const flush = async () => {
      await sending
      const [proofs, count] = [batch, bytes]
      batch = []
      bytes = 0
      sending = this.#send(log, proofs, false).then(() => {
        this.#done += count
        this.#report('filling the stick')
      })
      sending.catch(() => {})
    }
    for (const [start, count] of missing) {
      for (let index = start; index < start + count; index++) {
        const { proof, levels } = await blockProof(log, index, known)
        known.add(index, levels)
        batch.push(proof)
        bytes += proof.block!.value.byteLength
        if (bytes >= BATCH_BYTES) await flush()
      }
    }
    if (batch.length > 0) await flush()
    await sending
  }

  async #send(log: Log, proofs: LogProof[], renew: boolean): Promise<void> {
    this.#context.signal.throwIfAborted()
    const params = { fill: this.#fill, log: log.key.toString('hex'), renew }
    await this.#process.call('fill.blocks', params, { attachments: encodeProofs(proofs.map(wire)) })
  }

  #report(phase: string): void {
    const total = Math.max(this.#total, this.#done)
    this.#context.progress({ phase, done: this.#done, total, unit: 'bytes' })
  }
}

async function blockProof(
  log: Log,
  index: number,
  known: KnownNodes
): Promise<{ proof: LogProof; levels: number }> {
  const levels = known.missing(index, log.durableLength)
  const proof = await log.proveBlock(index, levels)
  if (proof?.block != null) return { proof, levels: proof.block.nodes.length }
  throw new HyperparcelError('DATA_UNREACHABLE', 'A block of the version is not stored here', {
    hint: 'Fill again: it is fetched first.'
  })
}

/** The log may grow meanwhile: then again. */
async function lengthProof(log: Log): Promise<LogProof | null> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const proof = await log.proveLength(0, log.durableLength)
    if (proof !== null) return proof
  }
  return null
}

/** About the bytes of the blocks that are missing, and of what has to be noted of them. */
async function estimate(wanted: Wanted[]): Promise<number> {
  const all = wanted.flatMap(({ log, missing }) => missing.map((run) => ({ log, run })))
  const count = all.reduce((sum, { run }) => sum + run[1], 0)
  const step = Math.max(1, Math.floor(count / SAMPLES))
  let bytes = 0
  let samples = 0
  let passed = 0
  for (const { log, run } of all) {
    for (let at = (step - (passed % step)) % step; at < run[1]; at += step) {
      const block = await log.read(run[0] + at)
      bytes += (block?.byteLength ?? 0) + 200
      samples++
    }
    passed += run[1]
  }
  return samples === 0 ? 0 : Math.ceil((bytes / samples) * count * 1.05)
}

function wire({ block, upgrade, manifest }: LogProof) {
  return { block, upgrade, manifest }
}
