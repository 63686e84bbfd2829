import test from 'brittle'
import { chmod, readFile, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import {
  Keyring,
  boxFor,
  checkName,
  createFleet,
  createRecoveryPhrase,
  ensureDeviceKey,
  keyPair,
  loadDeviceKey,
  loadIdentity,
  logKeys,
  openBox,
  openKeyEpoch,
  randomBytes,
  recoveryKeys,
  unwrap,
  wrap
} from '../../../lib/fleet/index.ts'
import { derive, registryKey } from '../../../lib/fleet/derive.ts'
import { freeName } from '../../../lib/fleet/names.ts'
import { decodeRecord } from '../../../lib/format/registry.ts'

test('a device key is made once and stays', async (t) => {
  const directory = await t.tmp()
  t.is(await loadDeviceKey(directory), null)
  const keys = await ensureDeviceKey(directory)
  t.alike(await ensureDeviceKey(directory), keys)
  const file = path.join(directory, 'device.key')
  t.is((await stat(file)).mode & 0o777, 0o600)

  for (const mode of [0o640, 0o604, 0o666]) {
    await chmod(file, mode)
    await t.exception(loadDeviceKey(directory), /others may use it/, mode.toString(8))
  }
  await chmod(file, 0o600)
  const data = await readFile(file)
  await writeFile(file, data.subarray(0, 30))
  await t.exception(loadDeviceKey(directory), /ends too early/)
  data[4] = 2
  await writeFile(file, data)
  await t.exception(loadDeviceKey(directory), /not known here/)
})

test('a key under an unlock secret is named as such', async (t) => {
  const directory = await t.tmp()
  await ensureDeviceKey(directory)
  const file = path.join(directory, 'device.key')
  const data = await readFile(file)
  data[5] = 1
  await writeFile(file, data)
  await t.exception(loadDeviceKey(directory), /unlock secret/)
})

test('boxes open for their device only', async (t) => {
  const [a, b] = [keyPair(), keyPair()]
  const box = boxFor(a.publicKey, Buffer.from('secret'))
  t.alike(openBox(a, box), Buffer.from('secret'))
  t.is(openBox(b, box), null)
  box[50] ^= 1
  t.is(openBox(a, box), null)
  t.is(openBox(a, Buffer.alloc(10)), null)
  await t.exception(() => boxFor(Buffer.alloc(32), Buffer.from('secret')), /not a point/)
})

test('wrapped keys open under the right key and purpose only', async (t) => {
  const key = randomBytes(32)
  const wrapped = wrap(key, Buffer.from('secret'), Buffer.from('a'))
  t.alike(unwrap(key, wrapped, Buffer.from('a')), Buffer.from('secret'))
  await t.exception(() => unwrap(key, wrapped, Buffer.from('b')), /did not verify/)
  await t.exception(() => unwrap(randomBytes(32), wrapped, Buffer.from('a')), /did not verify/)
  await t.exception(() => unwrap(key, wrapped.subarray(0, 20), Buffer.from('a')), /too short/)
})

test('derived keys are fixed, and all different', async (t) => {
  const parent = Buffer.alloc(32, 1)
  const log = Buffer.alloc(32, 2)
  // Golden: whatever changes these makes stored data unreadable.
  t.is(
    registryKey(parent).toString('hex'),
    '59deb936ed813761b36e241a8bf4cf4a94f5167d043db193ddb18fb0b800e4cb'
  )
  const { id, data, meta } = logKeys(parent, log)
  t.is(data.toString('hex'), '6355a74af18f0e43f4c6ce3f9ed89a5d96fe6c69062b1ebe5b71987fe4bb5c8d')
  const others = logKeys(parent, Buffer.alloc(32, 3))
  const all = [id, data, meta, others.id, others.data, others.meta, registryKey(parent)]
  t.is(new Set(all.map((key) => key.toString('hex'))).size, all.length)
  await t.exception(() => derive(Buffer.alloc(31), 'meta'), /32 bytes/)
})

test('the recovery phrase gives its keys back, and notices mistakes', async (t) => {
  const phrase = createRecoveryPhrase()
  const words = phrase.split(' ')
  t.is(words.length, 24)
  const keys = recoveryKeys(phrase)
  t.alike(recoveryKeys(`  ${words.join('  ').toUpperCase()}\n`), keys)
  await t.exception(() => recoveryKeys(words.slice(1).join(' ')), /24 words/)
  await t.exception(() => recoveryKeys(['hyperparcel', ...words.slice(1)].join(' ')), /Word 1/)
  const zero = [...Array<string>(23).fill('abandon'), 'art'].join(' ')
  t.is(
    recoveryKeys(zero).publicKey.toString('hex'),
    'c56e7c6f680b77a6c5a8bd9dd5231f24ea10a0ff1f2528eb810e9e82574f349a'
  )
  await t.exception(
    () => recoveryKeys([...Array<string>(24).fill('abandon')].join(' ')),
    /checksum|wrong/
  )
})

test('a fleet rests under the device key; the phrase alone opens its keys', async (t) => {
  const directory = await t.tmp()
  const { identity, recoveryPhrase } = await createFleet({ keysDirectory: directory, name: 'home' })
  const loaded = (await loadIdentity(directory))!
  t.alike(loaded.keyring!.fleetKey(), identity.keyring!.fleetKey())
  t.alike(loaded.keyring!.dedupKey, identity.keyring!.dedupKey)
  t.alike(loaded.topic, identity.topic)
  await t.exception(createFleet({ keysDirectory: directory, name: 'home' }), /already/)

  const record = decodeRecord(identity.records[1])
  if (record?.kind !== 'key-epoch') return t.fail('the second record is the key epoch')
  const opened = openKeyEpoch(record.body, recoveryKeys(recoveryPhrase))
  t.alike(opened?.fleetKey, identity.keyring!.fleetKey())
  t.alike(opened?.dedupKey, identity.keyring!.dedupKey)
  t.is(openKeyEpoch(record.body, keyPair()), null)

  const file = path.join(directory, 'fleet.key')
  const data = await readFile(file)
  for (const secret of [identity.keyring!.fleetKey(), identity.keyring!.dedupKey]) {
    t.absent(data.includes(secret), 'no key lies open')
  }
  data[data.byteLength - 1] ^= 1
  await writeFile(file, data)
  await t.exception(loadIdentity(directory), /does not belong/)
})

test('a new key epoch keeps what the last one wrapped', async (t) => {
  const keyring = Keyring.create()
  const device = keyPair()
  const parcel = randomBytes(16)
  const key = randomBytes(32)
  const wrapped = keyring.wrapParcelKey(parcel, key)
  const first = keyring.fleetKey()
  keyring.add(2, randomBytes(32))
  t.is(keyring.epoch, 2)
  t.alike(keyring.unwrapParcelKey(parcel, wrapped.keyEpoch, wrapped.wrappedKey), key)
  await t.exception(() => keyring.unwrapParcelKey(randomBytes(16), 1, wrapped.wrappedKey), /verify/)
  await t.exception(() => keyring.fleetKey(3), /not known/)

  // Somebody who gets the second epoch reads the first one too.
  const body = keyring.keyEpochBody([keyPair().publicKey, device.publicKey])
  const other = new Keyring(keyring.dedupKey, [])
  t.is(other.learn(body, keyPair()), false)
  t.is(other.learn(body, device), true)
  t.alike(other.fleetKey(1), first)
  t.is(other.learn(body, device), false, 'nothing new')
})

test('names', async (t) => {
  for (const name of ['home', 'büro-2', 'a.b_c', '猫']) t.is(checkName(name, 'device'), name)
  for (const name of [
    '',
    ' ',
    'a b',
    'a@b',
    'a/b',
    '..',
    '-x',
    'a\nb',
    'x'.repeat(65),
    'a\u202eb'
  ]) {
    await t.exception(() => checkName(name, 'parcel'), /cannot be called/, JSON.stringify(name))
  }
  t.is(
    freeName('home', () => false),
    'home'
  )
  const taken = new Set(['é'.repeat(32)])
  t.is(
    freeName('é'.repeat(32), (name) => taken.has(name)),
    'é'.repeat(31) + '-2'
  )
})
