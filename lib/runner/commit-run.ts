/** One commit from start to end: the same for an import, a snapshot of a running VM and writable exports. */
import { faultPoint } from '../base/fault-point.ts'
import { HyperparcelError } from '../base/errors.ts'
import type { ProgressReporter } from '../base/progress.ts'
import type { Trace } from '../base/trace.ts'
import { CHUNK_BYTES } from '../base/limits.ts'
import { aheadFrom } from '../parcel/ahead.ts'
import { Commit, type CommitResult, type VolumeCommit } from '../parcel/commit.ts'
import { VolumeMap } from '../parcel/volume-map.ts'
import type { Context } from './context.ts'
import { commitFrozen, type FrozenChunks } from './frozen-commit.ts'
import type { CommitParams, CommitSummary } from './protocol.ts'
import { RemoteSink } from './remote-sink.ts'

/** How long another daemon is waited for when one ended while it published a version. */
const UNDECIDED_MS = 20_000

/** A volume of the new version. */
export interface VolumeInput {
  name: string
  sizeBytes: number
  readOnly: boolean
  /** What changed; null for one that is as it was. */
  frozen: FrozenChunks | null
  /** Starts from nothing even when the parent has a volume of that name (RAM after a boot). */
  fresh?: boolean
}

export interface NewVersion extends CommitResult {
  sink: RemoteSink
}

/** Begins a commit; `volumes` are those of the new version, in order. */
export async function beginCommit(
  context: Context,
  inputs: VolumeInput[]
): Promise<{ sink: RemoteSink; commit: Commit; volumes: VolumeCommit[] }> {
  const sink = await RemoteSink.begin(context.host)
  const since = aheadFrom(context.version?.record, sink.log)
  const commit = new Commit(sink, context.dedupKey, context.logs, context.threads, since)
  const volumes = inputs.map((input) => ({
    name: input.name,
    sizeBytes: input.sizeBytes,
    readOnly: input.readOnly,
    base: baseMap(context, input),
    changed: new Map()
  }))
  return { sink, commit, volumes }
}

/** Stores what changed and seals the version record. Nothing exists yet. */
export async function storeVersion(
  context: Context,
  inputs: VolumeInput[],
  params: CommitParams,
  state: Buffer[] | null,
  machine: string | null,
  progress: ProgressReporter
): Promise<NewVersion> {
  await settle(context, 0)
  if ((context.versionId?.toString('hex') ?? null) !== params.parent) {
    throw new HyperparcelError('COMMIT_STALE', 'The parcel lies on another version than expected', {
      hint: 'Nothing was lost: try again.'
    })
  }
  const { sink, commit, volumes } = await beginCommit(context, inputs)
  const total = inputs.reduce((sum, input) => sum + (input.frozen?.dirtyBytes ?? 0), 0)
  let done = 0
  for (const [i, input] of inputs.entries()) {
    if (input.frozen === null) continue
    await commitFrozen(commit, volumes[i], input.frozen, (bytes) => {
      done += bytes
      progress({ phase: `storing ${input.name}`, done, total, unit: 'bytes' })
    })
  }
  const meta = metaOf(context, params, machine)
  const made = await commit.finish(meta, volumes, state, context.ahead.bytesStored)
  faultPoint('stored')
  return { sink, ...made }
}

/** Makes the version exist, and goes on from it. Durable on return; on an error it does not exist. */
export async function publish(context: Context, made: NewVersion): Promise<void> {
  const { record, id, block, at, sink } = made
  context.addKeys({
    log: sink.log.toString('hex'),
    id: sink.keys.id.toString('hex'),
    data: sink.keys.data.toString('hex'),
    meta: sink.keys.meta.toString('hex')
  })
  await context.prepare(record)
  const params = {
    commit: sink.commit,
    block: at,
    version: id.toString('hex'),
    number: record.number,
    parent: record.parent?.toString('hex') ?? null,
    lease: record.lease?.toString('hex') ?? null,
    time: record.time,
    message: record.message,
    cause: record.cause,
    bytesNew: record.bytesNew,
    bytesStored: record.bytesStored,
    hasMemory: record.state !== null
  }
  try {
    await context.host.call('commit.publish', params, { attachments: [block] })
  } catch (err) {
    if ((err as { code?: string }).code !== 'DAEMON_GONE') throw err
    context.undecided = { record, id }
    if (!(await settle(context, UNDECIDED_MS))) throw err
    return
  }
  faultPoint('published')
  context.advance(record, id)
}

/**
 * A daemon that ended before it answered: only the next one can tell whether the version exists. Until then it
 * counts as not made; the overlays keep all changes. Returns whether it exists, and then goes on from it.
 */
async function settle(context: Context, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs
  while (context.undecided !== null) {
    const { record, id } = context.undecided
    if (!(await context.host.attachedWithin(deadline - performance.now()))) return false
    try {
      const { json } = await context.host.call('versionExists', { version: id.toString('hex') })
      context.undecided = null
      if (json) context.advance(record, id)
      return json
    } catch (err) {
      if ((err as { code?: string }).code !== 'DAEMON_GONE') throw err
    }
  }
  return false
}

export function summarize(made: NewVersion, pauseMs: number, trace?: Trace): CommitSummary {
  const { record, id } = made
  return {
    version: id.toString('hex'),
    number: record.number,
    bytesNew: record.bytesNew,
    bytesStored: record.bytesStored,
    pauseMs,
    trace: trace?.steps ?? {}
  }
}

export function metaOf(context: Context, params: CommitParams, machine: string | null) {
  const hex = (value: string | null) => (value === null ? null : Buffer.from(value, 'hex'))
  return {
    parcel: context.parcel,
    number: params.number,
    parent: hex(params.parent),
    lease: hex(params.lease),
    author: Buffer.from(params.author, 'hex'),
    time: params.time,
    message: params.message,
    cause: params.cause,
    machine
  }
}

function baseMap(context: Context, input: VolumeInput): VolumeMap {
  const known = context.version?.record.volumes.some((volume) => volume.name === input.name)
  if (known === true && input.fresh !== true) return context.version!.map(input.name)
  return new VolumeMap(Math.ceil(input.sizeBytes / CHUNK_BYTES), null, () => {
    throw new HyperparcelError('INTERNAL', 'An empty map has no blocks')
  })
}
