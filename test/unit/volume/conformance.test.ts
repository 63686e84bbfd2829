import test from 'brittle'
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { ZeroBase } from '../../../lib/volume/base.ts'
import { Overlay } from '../../../lib/volume/overlay.ts'
import { Volume } from '../../../lib/volume/volume.ts'
import { blockDeviceSuite } from '../../conformance/block-device.ts'
import { MemoryBase } from '../../helpers/memory-base.ts'
import { SEAL } from './model.ts'

const options = (sizeBytes: number) => ({
  volume: 0,
  name: 'disk0',
  sizeBytes,
  baseId: 'v1',
  ...SEAL
})

blockDeviceSuite(test, 'Volume on a blank disk', async (t, sizeBytes) => {
  const file = path.join(await t.tmp(), 'overlay')
  return new Volume(new ZeroBase(sizeBytes), await Overlay.create(file, options(sizeBytes)))
})

blockDeviceSuite(test, 'Volume of guest RAM, reserved', async (t, sizeBytes) => {
  const file = path.join(await t.tmp(), 'overlay')
  const more = { durable: false, reserveBytes: sizeBytes }
  const overlay = await Overlay.create(file, { ...options(sizeBytes), ...more })
  return new Volume(new ZeroBase(sizeBytes), overlay)
})

// With everything the suite writes on top of a generation that was frozen meanwhile, over a base that answers late.
blockDeviceSuite(test, 'Volume with a frozen generation', async (t, sizeBytes) => {
  const file = path.join(await t.tmp(), 'overlay')
  const base = new MemoryBase(randomBytes(sizeBytes))
  base.delay = 1
  const volume = new Volume(base, await Overlay.create(file, options(sizeBytes)))
  await volume.trim(0, sizeBytes, false)
  volume.freeze()
  return volume
})
