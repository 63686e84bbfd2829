/** rollback: a new version with the content of an older one. Nothing is copied. */
import { rolledBackMachine } from '../../vmm/identity.ts'
import type { MachineConfig } from '../../vmm/driver.ts'
import type { Params, Result } from '../api.ts'
import { completeVersion } from '../versions/complete-version.ts'
import { commitParams, versionByNumber } from '../versions/heads.ts'
import type { FleetNode } from '../node.ts'
import { writeVersion } from '../versions/write-version.ts'
import type { UseCaseContext } from './context.ts'
import { chooseVersion } from './choose-version.ts'
import { crashed } from './settle-leftovers.ts'
import { takeLease } from './take-lease.ts'

export async function rollback(
  node: FleetNode,
  params: Params<'rollback'>,
  context: UseCaseContext
): Promise<Result<'rollback'>> {
  const parcel = node.parcel(params.name)
  const release = node.runners.reserve(parcel)
  let unpin = () => {}
  try {
    const info = versionByNumber(node, parcel, params.version)
    unpin = node.versions.pin(info)
    if (await node.hasLeftovers(parcel.id)) throw crashed(parcel.name)
    const lease = await takeLease(node, parcel, {}, context)
    const head = await chooseVersion(node, parcel, lease, {}, context)
    await completeVersion(node, info, {}, { ...context, why: 'rollback' })
    const { record } = await node.versions.open(info, { local: true })
    context.signal.throwIfAborted()
    const message = `back to version ${info.number}`
    const made = commitParams(node, { parcel: parcel.id, status: null }, 'rollback', message)
    await writeVersion(node, {
      ...record,
      number: made.number,
      parent: head.version,
      lease: Buffer.from(made.lease!, 'hex'),
      author: Buffer.from(made.author, 'hex'),
      time: made.time,
      message,
      cause: made.cause,
      machine: setBack(record.machine),
      bytesNew: 0,
      bytesStored: 0
    })
    return { parcel: parcel.name, version: made.number }
  } finally {
    unpin()
    release()
  }
}

function setBack(machine: string | null): string | null {
  if (machine === null) return null
  return JSON.stringify(rolledBackMachine(JSON.parse(machine) as MachineConfig))
}
