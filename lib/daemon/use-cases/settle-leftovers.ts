/** What a run that crashed left behind: kept or dropped, as the user says. */
import { mkdir } from 'node:fs/promises'
import { HyperparcelError } from '../../base/errors.ts'
import type { ParcelInfo } from '../../fleet/index.ts'
import { dropLeftovers } from '../../runner/leftovers.ts'
import type { Params } from '../api.ts'
import { headVersion } from '../heads.ts'
import type { FleetNode } from '../node.ts'
import type { Runner } from '../runners.ts'

/** True when the disks of a crashed run are to be kept. Rejects with `CRASH_CHOICE` until the user says. */
export async function settleLeftovers(
  node: FleetNode,
  parcel: ParcelInfo,
  runner: Runner,
  params: Pick<Params<'resume'>, 'fromCrash'>
): Promise<boolean> {
  const stateDirectory = node.stateDirectory(parcel.id)
  await mkdir(stateDirectory, { recursive: true, mode: 0o700 })
  const left = await runner.process.call('leftovers', {
    stateDirectory,
    overlayKey: node.overlayKey.toString('hex')
  })
  if (!left.dirty) return false
  if (params.fromCrash === 'version') {
    await dropLeftovers(stateDirectory)
    return false
  }
  if (params.fromCrash === 'disk') {
    const base = headVersion(node, parcel.id)?.version.toString('hex') ?? null
    if (base === left.base) return true
    throw new HyperparcelError(
      'CRASH_CHOICE',
      `The disk of ${parcel.name} belongs to an older version`,
      {
        hint: 'Only --from-crash version is possible: the parcel was continued since.'
      }
    )
  }
  throw new HyperparcelError(
    'CRASH_CHOICE',
    `${parcel.name} ended without being suspended: its disk has changes that no version has`,
    {
      hint: `\`hyperparcel resume ${parcel.name} --from-crash disk\` boots from that disk (as after a power cut); \`--from-crash version\` instead goes back to the last version and drops the changes.`
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
