/** What a crashed run left behind, read as a resume would find it. Nothing of that device may run meanwhile. */
import path from 'node:path'
import { loadIdentity, localKey } from '../../lib/fleet/index.ts'
import { unsealOverlayKey } from '../../lib/runner/overlay-key.ts'
import { ZeroBase } from '../../lib/volume/base.ts'
import { Overlay } from '../../lib/volume/overlay.ts'
import { Volume } from '../../lib/volume/volume.ts'
import type { Device } from './devices.ts'

/** Of the disk of its only parcel that has an overlay: these bytes, zeros where it did not change; empty without one. */
export async function keptOverlay(device: Device, offset: number, bytes: number): Promise<Buffer> {
  const name = (await device.leftovers()).find((file) => file.endsWith('disk0.overlay'))
  if (name === undefined) return Buffer.alloc(0)
  const identity = await loadIdentity(path.join(device.home, 'keys'))
  const key = localKey(identity!.device, 'local overlay')
  const overlay = await Overlay.open(path.join(device.home, 'parcels', name), {
    unsealKey: (sealed) => unsealOverlayKey(sealed, key)
  })
  const volume = new Volume(new ZeroBase(overlay.sizeBytes), overlay)
  const data = Buffer.alloc(bytes)
  await volume.pread(data, offset)
  await volume.close()
  return data
}
