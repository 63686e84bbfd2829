/** Overlays that a crashed run left behind: is there anything in them that no version has? */
import { readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { Overlay } from '../volume/overlay.ts'
import type { Host } from './host.ts'
import { OVERLAY_SUFFIX, unsealOverlayKey } from './overlay-key.ts'
import { reserveCommit } from './space.ts'
import type { Leftovers } from './protocol.ts'

/** Removes overlays of guest RAM, which is lost, and those that hold nothing new. */
export async function findLeftovers(
  stateDirectory: string,
  overlayKey: Buffer,
  host: Host
): Promise<Leftovers> {
  const left: Leftovers = { dirty: false, base: null }
  const names = await readdir(stateDirectory).catch(() => [])
  for (const name of names) {
    if (!name.endsWith(OVERLAY_SUFFIX)) continue
    const file = path.join(stateDirectory, name)
    const overlay = await Overlay.open(file, {
      unsealKey: (sealed) => unsealOverlayKey(sealed, overlayKey),
      committed: async (version) => (await host.call('versionExists', { version })).json
    })
    if (!overlay.durable || overlay.clean) {
      await overlay.destroy()
      continue
    }
    left.dirty = true
    left.base = overlay.baseId === '' ? null : overlay.baseId
    await overlay.close()
  }
  return left
}

/** The user does not want them. */
export async function dropLeftovers(stateDirectory: string): Promise<void> {
  for (const name of await readdir(stateDirectory)) {
    if (name.endsWith(OVERLAY_SUFFIX)) await rm(path.join(stateDirectory, name))
  }
  await reserveCommit(stateDirectory, 0)
}
