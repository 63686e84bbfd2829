/** Overlays that a crashed run left behind: is there anything in them that no version has? */
import { readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { HyperparcelError } from '../base/errors.ts'
import { CHUNK_BYTES } from '../base/limits.ts'
import { Overlay } from '../volume/overlay.ts'
import type { Host } from './host.ts'
import { OVERLAY_SUFFIX, unsealOverlayKey } from './overlay-key.ts'
import { reserveCommit } from './space.ts'
import type { Leftovers } from './protocol.ts'

const MEMORY_OVERLAY = `memory${OVERLAY_SUFFIX}`
/** An overlay says this of itself. */
const UNREADABLE = new Set(['DATA_CORRUPT', 'FORMAT_TOO_NEW', 'FORMAT_TOO_OLD'])

/** Removes overlays of guest RAM, which is lost, and those that hold nothing new. */
export async function findLeftovers(
  stateDirectory: string,
  overlayKey: Buffer,
  host: Host
): Promise<Leftovers> {
  const left: Leftovers = { dirty: false, base: null, damaged: [], unreadable: null }
  const names = await readdir(stateDirectory).catch(() => [])
  for (const name of names) {
    if (!name.endsWith(OVERLAY_SUFFIX)) continue
    const file = path.join(stateDirectory, name)
    if (name === MEMORY_OVERLAY) {
      await rm(file)
      continue
    }
    const volume = path.basename(name, OVERLAY_SUFFIX)
    let overlay: Overlay
    try {
      overlay = await Overlay.open(file, {
        unsealKey: (sealed) => unsealOverlayKey(sealed, overlayKey),
        committed: async (version) => (await host.call('versionExists', { version })).json
      })
    } catch (err) {
      const error = HyperparcelError.from(err)
      if (!UNREADABLE.has(error.code)) throw error
      left.dirty = true
      left.unreadable = { volume, error: error.toJSON() }
      continue
    }
    if (overlay.clean) {
      await overlay.destroy()
      continue
    }
    left.dirty = true
    left.base = overlay.baseId === '' ? null : overlay.baseId
    const bytes = overlay.damagedChunks * CHUNK_BYTES
    if (bytes > 0) left.damaged.push({ volume, bytes })
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
