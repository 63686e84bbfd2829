import test from 'brittle'
import { MemoryDevice } from '../../../lib/block/memory-device.ts'
import { blockDeviceSuite } from '../../conformance/block-device.ts'
import { SlowDevice } from '../../helpers/faulty-device.ts'

blockDeviceSuite(test, 'MemoryDevice', (_t, sizeBytes) => new MemoryDevice(sizeBytes))

// Proves that the suite itself copes with a device that answers late.
blockDeviceSuite(
  test,
  'slow MemoryDevice',
  (_t, sizeBytes) => new SlowDevice(new MemoryDevice(sizeBytes), () => 0),
  { steps: 50 }
)

test('MemoryDevice: takes memory only for what is written, and gives it back', (t) => {
  const device = new MemoryDevice(1024 ** 4)
  t.is(device.allocatedBytes, 0)
  device.pwrite(Buffer.alloc(10, 1), 2 ** 39, false)
  t.is(device.allocatedBytes, 1024 * 1024)
  device.trim(2 ** 39 - 1024 * 1024, 4 * 1024 * 1024, false)
  t.is(device.allocatedBytes, 0)
})
