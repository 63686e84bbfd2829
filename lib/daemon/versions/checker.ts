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

export async function checkVersions(
  node: FleetNode,
  versions: Named[],
  context: { signal: AbortSignal; progress: ProgressReporter }
): Promise<VerifySummary> {
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
  for (const { info, name } of versions) {
    for (const place of await node.versions.placesToCheck(info)) {
      places.push({ ...placeJson(place), name })
    }
  }
  const runner = await startRunner(directory, path.join(directory, 'check.log'), handlers)
  try {
    return await runner.call(
      'verify',
      {
        storeDirectory: node.paths.store,
        dedupKey: node.registry.keyring.dedupKey.toString('hex'),
        versions: places
      },
      { signal: context.signal, onevent: (event) => context.progress(event as { phase: string }) }
    )
  } finally {
    await runner.call('quit', { dropOverlays: false }).catch(safetyCatch)
    await rm(directory, { recursive: true, force: true })
  }
}
