import test from 'brittle'
import { QemuDriver } from '../../lib/vmm/qemu/driver.ts'
import { vmmDriverSuite } from '../conformance/vmm-driver.ts'

vmmDriverSuite(test, 'QemuDriver', new QemuDriver({ cacheDirectory: null }), [
  'qemu',
  'fuse',
  'bubblewrap',
  'apt-get',
  'e2fsprogs'
])
