import test from 'brittle'
import { isLow } from '../../../lib/daemon/pruning/low-space.ts'

const GIB = 1024 ** 3

test('space is low where both the share and the bytes are', (t) => {
  t.absent(isLow(25 * GIB, 1000 * GIB), 'plenty, though a small share')
  t.absent(isLow(2 * GIB, 8 * GIB), 'a small disk that is a quarter free')
  t.ok(isLow(19 * GIB, 1000 * GIB))
  t.ok(isLow(0.7 * GIB, 8 * GIB))
})
