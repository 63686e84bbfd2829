import test from 'brittle'
import {
  parseCount,
  parseDuration,
  parseNodes,
  parseParcelVersion,
  parsePort,
  parseSize
} from '../../../lib/cli/parse.ts'

test('sizes', (t) => {
  t.is(parseSize('4096'), 4096)
  t.is(parseSize('512M'), 512 * 1024 ** 2)
  t.is(parseSize('512MiB'), 512 * 1024 ** 2)
  t.is(parseSize('20g'), 20 * 1024 ** 3)
  t.is(parseSize('1.5T'), 1.5 * 1024 ** 4)
  t.is(parseSize(' 64 K '), 65_536)
})

test('sizes that are none', async (t) => {
  for (const text of [
    '',
    '12X',
    '-1',
    '0',
    '0M',
    '1.5',
    '1e9',
    'M',
    '9999999999T',
    '0x10',
    '1 2'
  ]) {
    await t.exception(() => parseSize(text), /Write a size/, text)
  }
})

test('durations', async (t) => {
  t.is(parseDuration('10m'), 600_000)
  t.is(parseDuration('1.5h'), 5_400_000)
  t.is(parseDuration('250ms'), 250)
  t.is(parseDuration('1d'), 86_400_000)
  for (const text of ['', '10', '0s', '-5m', '5 weeks', 'm']) {
    await t.exception(() => parseDuration(text), /Write a duration/, text)
  }
})

test('counts and ports', async (t) => {
  t.is(parseCount(0)('0'), 0)
  t.is(parseCount(1)('12'), 12)
  await t.exception(() => parseCount(1)('0'), /1 or more/)
  await t.exception(() => parseCount(1)('1.5'), /whole number/)
  await t.exception(() => parseCount(1)('99999999999999'), /whole number/)
  t.is(parsePort('49737'), 49_737)
  for (const text of ['0', '65536', 'x', '']) await t.exception(() => parsePort(text), /port/, text)
})

test('bootstrap nodes', async (t) => {
  t.alike(parseNodes('10.0.0.1:49737, dht.example:1,[::1]:2'), [
    '10.0.0.1:49737',
    'dht.example:1',
    '[::1]:2'
  ])
  for (const text of ['', '10.0.0.1', '10.0.0.1:0', 'a:1,', 'a:99999', 'a b:1', '::1:5']) {
    await t.exception(() => parseNodes(text), /HOST:PORT/, text)
  }
})

test('a parcel with a version', async (t) => {
  t.alike(parseParcelVersion('work'), { parcel: 'work' })
  t.alike(parseParcelVersion('work@12'), { parcel: 'work', version: 12 })
  for (const text of ['', 'work@', 'work@0', '@3', 'work@x']) {
    await t.exception(() => parseParcelVersion(text), /PARCEL@VERSION/, text)
  }
})
