import test from 'brittle'
import { isRate, parseRate } from '../../../lib/base/rate.ts'

test('rates, shares, none', (t) => {
  t.alike(parseRate('10Mbit'), { bytesPerS: 1_250_000 })
  t.alike(parseRate('1.5mbit/s'), { bytesPerS: 187_500 })
  t.alike(parseRate('500 kbit'), { bytesPerS: 62_500 })
  t.alike(parseRate('2MB/s'), { bytesPerS: 2_000_000 })
  t.alike(parseRate('50%'), { share: 0.5 })
  t.is(parseRate('unlimited'), null)
  for (const text of [
    '',
    'fast',
    '10',
    '0Mbit',
    '-1Mbit',
    '1bit',
    '0%',
    '101%',
    '50%/s x',
    '1e9bit'
  ]) {
    t.absent(isRate(text), text)
  }
})
