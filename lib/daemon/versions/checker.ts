/** A runner process that checks versions, beside those that parcels are used through. It fetches nothing. */
import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import path from 'node:path'
import safetyCatch from 'safety-catch'
import type { ProgressReporter } from '../../base/progress.ts'
import type { VersionInfo } from '../../fleet/index.ts'
import type { HostApi, VerifyParams, VerifySummary } from '../../runner/protocol.ts'
import type { FleetNode } from '../node.ts'
import { startRunner } from '../runners/runner-process.ts'
import { keysJson, placeJson, storedBlocks } from '../runners/stored-blocks.ts'

export interface Named {
  info: VersionInfo
  /** For progress. */
  name: string
}

export interface CheckSummary extends Omit<VerifySummary, 'versions'> {
  /** What was found in each of the versions, by any of its maps: flags, see `lib/parcel/verify.ts`. */
  found: Map<VersionInfo, number>
}

export async function checkVersions(
  node: FleetNode,
  versions: Named[],
  context: { signal: AbortSignal; progress: ProgressReporter }
): Promise<CheckSummary> {
  const directory = path.join(node.paths.run, `check-${randomBytes(4).toString('hex')}`)
  const handlers = {
    logKeys: ({ logs }: HostApi['logKeys']['params']) => ({
      keys: logs.map((log) => {
        const key = Buffer.from(log, 'hex')
        return keysJson(key, node.keysOf(key))
      })
    }),
    'blocks.stored': (params: HostApi['blocks.stored']['params']) =>
      storedBlocks(node.store, params)
  }
  // What is checked is what a runner can read by itself: all of it.
  await node.store.flush()
  const places: VerifyParams['versions'] = []
  const infos: VersionInfo[] = []
  for (const { info, name } of versions) {
    for (const place of await node.versions.placesToCheck(info)) {
      places.push({ ...placeJson(place), name })
      infos.push(info)
    }
  }
  const runner = await startRunner(directory, path.join(directory, 'check.log'), handlers)
  try {
    const { versions: flags, ...summary } = await runner.call(
      'verify',
      {
        storeDirectory: node.paths.store,
        dedupKey: node.registry.keyring.dedupKey.toString('hex'),
        versions: places
      },
      { signal: context.signal, onevent: (event) => context.progress(event as { phase: string }) }
    )
    const found = new Map<VersionInfo, number>()
    for (const [i, info] of infos.entries()) found.set(info, (found.get(info) ?? 0) | flags[i])
    return { ...summary, found }
  } finally {
    await runner.call('quit', { dropOverlays: false }).catch(safetyCatch)
    await rm(directory, { recursive: true, force: true })
  }
}
