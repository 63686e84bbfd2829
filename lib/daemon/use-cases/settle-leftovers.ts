/** What a run that crashed left behind: kept or dropped, as the user says. */
import { mkdir } from 'node:fs/promises'
import { HyperparcelError } from '../../base/errors.ts'
import type { ParcelInfo } from '../../fleet/index.ts'
import { dropLeftovers } from '../../runner/leftovers.ts'
import type { Leftovers } from '../../runner/protocol.ts'
import type { Params } from '../api.ts'
import { headVersion } from '../versions/heads.ts'
import type { FleetNode } from '../node.ts'
import type { Runner } from '../runners/runners.ts'

export interface Settled {
  /** The disks of a crashed run are to be kept. */
  keep: boolean
  /** Bytes of them that cannot be read. */
  damagedBytes: number
}

/** Rejects with `CRASH_CHOICE` until the user says what becomes of a crashed run. */
export async function settleLeftovers(
  node: FleetNode,
  parcel: ParcelInfo,
  runner: Runner,
  params: Pick<Params<'resume'>, 'fromCrash'>
): Promise<Settled> {
  const stateDirectory = node.stateDirectory(parcel.id)
  await mkdir(stateDirectory, { recursive: true, mode: 0o700 })
  const left = await runner.process.call('leftovers', {
    stateDirectory,
    overlayKey: node.overlayKey.toString('hex')
  })
  if (!left.dirty) return { keep: false, damagedBytes: 0 }
  if (params.fromCrash === 'version') {
    await dropLeftovers(stateDirectory)
    return { keep: false, damagedBytes: 0 }
  }
  if (left.unreadable !== null) throw unreadable(parcel.name, left.unreadable)
  if (params.fromCrash === 'disk') {
    const base = headVersion(node, parcel.id)?.version.toString('hex') ?? null
    if (base !== left.base) {
      throw new HyperparcelError(
        'CRASH_CHOICE',
        `The disk of ${parcel.name} belongs to an older version`,
        {
          hint: 'Only --from-crash version is possible: the parcel was continued since.'
        }
      )
    }
    return { keep: true, damagedBytes: left.damaged.reduce((sum, { bytes }) => sum + bytes, 0) }
  }
  const damage = left.damaged.map(
    ({ volume, bytes }) => `; ${bytes} bytes of ${volume} are damaged and cannot be read`
  )
  throw new HyperparcelError(
    'CRASH_CHOICE',
    `${parcel.name} ended without being suspended: its disk has changes that no version has${damage.join('')}`,
    {
      hint: `\`hyperparcel resume ${parcel.name} --from-crash disk\` boots from that disk (as after a power cut); \`--from-crash version\` instead goes back to the last version and drops the changes.`,
      ...(damage.length > 0 ? { context: { damaged: left.damaged } } : {})
    }
  )
}

function unreadable(
  name: string,
  { volume, error }: NonNullable<Leftovers['unreadable']>
): HyperparcelError {
  return new HyperparcelError(
    error.code,
    `${name} ended without being suspended, and the changes of its ${volume} cannot be used: ${error.message}`,
    {
      hint: `${error.hint ?? 'Check the disk.'} \`hyperparcel resume ${name} --from-crash version\` goes back to the last version and drops the changes.`,
      context: { volume }
    }
  )
}

/** For what cannot go on before the user has decided. */
export function crashed(name: string): HyperparcelError {
  return new HyperparcelError(
    'CRASH_CHOICE',
    `${name} ended without being suspended: its disk may have changes that no version has`,
    {
      hint: `Decide on them first: \`hyperparcel resume ${name} --from-crash disk\`, or \`--from-crash version\`.`
    }
  )
}
