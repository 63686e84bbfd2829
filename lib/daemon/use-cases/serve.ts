/** serve and export: volumes of a version without a VM. */
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../../base/errors.ts'
import type { Progress } from '../../base/progress.ts'
import type { ParcelInfo, VersionInfo } from '../../fleet/index.ts'
import type { Params, Result } from '../api.ts'
import { openVersion } from '../versions/complete-version.ts'
import { headVersion, versionByNumber } from '../versions/heads.ts'
import type { FleetNode } from '../node.ts'
import type { Runner } from '../runners/runners.ts'
import { whileReading } from '../runners/waiting.ts'
import type { UseCaseContext } from './context.ts'
import { settleLeftovers } from './settle-leftovers.ts'
import { takeLease } from './take-lease.ts'

export async function serve(
  node: FleetNode,
  params: Params<'serve'>,
  context: UseCaseContext
): Promise<Result<'serve'>> {
  const parcel = node.parcel(params.name)
  const runner = await node.runners.start(parcel, 'serve')
  try {
    if (params.writable) await takeLease(node, parcel, {}, context)
    const info = wanted(node, parcel, params.version)
    if (params.writable) await settleLeftovers(node, parcel, runner, {})
    const opened = await openVersion(node, info, context)
    await node.runners.open(runner, { info, opened })
    const { volumes } = await runner.process.call('serve', { writable: params.writable })
    runner.status = await runner.process.call('status', null)
    context.onclose(() => {
      stopServing(node, runner).catch(safetyCatch)
    })
    return {
      parcel: parcel.name,
      version: info.number,
      session: parcel.id.toString('hex'),
      volumes
    }
  } catch (err) {
    await node.runners.end(runner, false).catch(safetyCatch)
    throw err
  }
}

export async function serveStop(
  node: FleetNode,
  { session }: Params<'serve.stop'>
): Promise<Result<'serve.stop'>> {
  const id = Buffer.from(session, 'hex')
  const runner = node.runners.get(id)
  const parcel = node.registry.parcel(id)
  if (runner?.purpose !== 'serve' || parcel === null) {
    throw new HyperparcelError('NOT_SERVING', 'Nothing is served under that name')
  }
  const served = node.registry
    .versions(id)
    .find((known) => known.version.toString('hex') === runner.status?.version)
  const made = await stopServing(node, runner)
  return { parcel: parcel.name, version: made ?? served?.number ?? 0 }
}

/** Commits what was written, ends the runner. The number of the new version, or null. */
export async function stopServing(node: FleetNode, runner: Runner): Promise<number | null> {
  if (node.runners.get(runner.parcel) !== runner || runner.ending) return null
  runner.ending = true
  const { writable } = await runner.process.call('status', null)
  let number: number | null = null
  try {
    if (writable) number = (await node.runners.commitDisks(runner, 'serve', ''))?.number ?? null
  } catch (err) {
    // What was written stays on the disk, for a resume to decide on.
    await node.runners.end(runner, false).catch(safetyCatch)
    throw err
  }
  await node.runners.end(runner, true)
  return number
}

export async function exportVolume(
  node: FleetNode,
  params: Params<'export'>,
  context: UseCaseContext
): Promise<Result<'export'>> {
  const parcel = node.parcel(params.name)
  const info = wanted(node, parcel, params.version)
  const runner = await node.runners.startReader(parcel)
  try {
    const opened = await openVersion(node, info, context)
    await node.runners.open(runner, { info, opened })
    const { volume, file, format } = params
    const { bytes } = await whileReading(node, runner, info, context, (signal, report) => {
      const onevent = (event: unknown) => report(event as Progress)
      return runner.process.call('export', { volume, file, format }, { signal, onevent })
    })
    const runs = node.runners.get(parcel.id)?.purpose === 'vm'
    return { parcel: parcel.name, version: info.number, running: runs, file: params.file, bytes }
  } finally {
    await node.runners.end(runner, true).catch(safetyCatch)
  }
}

function wanted(node: FleetNode, parcel: ParcelInfo, number: number | undefined): VersionInfo {
  if (number !== undefined) return versionByNumber(node, parcel, number)
  const head = headVersion(node, parcel.id)
  if (head !== null) return head
  throw new HyperparcelError('VERSION_NOT_FOUND', `${parcel.name} has no version yet`)
}
