/**
 * Who this device is: its key, its fleet, the keys that it was given. Rests in `<home>/keys/fleet.key`, under
 * the device's local key, so it is as safe as the device key itself.
 *
 * The device key outlives a failed attempt to join; a home belongs to one fleet, for good.
 */
import path from 'node:path'
import { HyperparcelError } from '../base/errors.ts'
import { systemClock } from '../base/clock.ts'
import type { Clock } from '../base/clock.ts'
import { writeFileDurable } from '../base/files.ts'
import type { JoinAnswer } from '../format/invite.ts'
import { decodeCard } from '../format/device-card.ts'
import { storeFirstCard } from './card-book.ts'
import { FLEET_FILE } from '../format/key-file.ts'
import type { Role } from '../format/registry.ts'
import { randomBytes, wipe } from './derive.ts'
import { ensureDeviceKey, loadDeviceKey, localKey, readPrivate } from './device-key.ts'
import { Keyring } from './keyring.ts'
import { checkName } from './names.ts'
import { fleetIdOf, signRecord } from './records.ts'
import { createRecoveryPhrase, recoveryKeys } from './recovery.ts'
import type { KeyPair } from './sign.ts'
import { unwrap, wrap } from './wrap.ts'

export interface FleetIdentity {
  /** 32 bytes, the fleet's name everywhere. */
  readonly fleet: Buffer
  readonly device: KeyPair
  /** Of this device; two that were given the same name are told apart by the registry's view. */
  readonly name: string
  readonly role: Role
  /** Null for a cache, which has no keys. */
  readonly keyring: Keyring | null
  /** Where the fleet's members meet on the DHT, as of the newest key epoch known here. */
  readonly topic: Buffer
  /** Public key of the member that admitted this device; null for the first one. */
  readonly sponsor: Buffer | null
  /** Records that this device signed before it had a registry, encoded. */
  readonly records: readonly Buffer[]
}

export interface CreateFleetOptions {
  /** `<home>/keys`. */
  keysDirectory: string
  name: string
  clock?: Clock
}

/**
 * A new device and a new fleet. The phrase is stored nowhere: it is the caller's to show, once.
 * Rejects with `FLEET_EXISTS`, `NAME_INVALID`, or as `loadDeviceKey`.
 */
export async function createFleet(
  opts: CreateFleetOptions
): Promise<{ identity: FleetIdentity; recoveryPhrase: string }> {
  const { keysDirectory, clock = systemClock } = opts
  const name = checkName(opts.name, 'device')
  await refuseFleet(keysDirectory)
  const device = await ensureDeviceKey(keysDirectory)
  const recoveryPhrase = createRecoveryPhrase()
  const recovery = recoveryKeys(recoveryPhrase)
  wipe(recovery.secretKey)
  const keyring = Keyring.create()
  const body = { name, recoveryKey: recovery.publicKey, nonce: randomBytes(16) }
  const fleet = fleetIdOf(device.publicKey, body)
  const time = clock.now()
  const keyEpoch = keyring.keyEpochBody([recovery.publicKey, device.publicKey])
  const records = [
    signRecord(fleet, device, time, { kind: 'genesis', body }).bytes,
    signRecord(fleet, device, time, { kind: 'key-epoch', body: keyEpoch }).bytes
  ]
  const identity: FleetIdentity = {
    fleet,
    device,
    name,
    role: 'device',
    keyring,
    topic: keyring.topic,
    sponsor: null,
    records
  }
  await storeIdentity(keysDirectory, identity)
  return { identity, recoveryPhrase }
}

/** The identity of a candidate that was admitted, made durable. Rejects with `FLEET_EXISTS`. */
export async function adoptFleet(
  keysDirectory: string,
  device: KeyPair,
  answer: JoinAnswer
): Promise<FleetIdentity> {
  await refuseFleet(keysDirectory)
  const { keys } = answer
  const keyring = keys
    ? new Keyring(keys.dedupKey, [{ epoch: keys.epoch, key: keys.fleetKey }])
    : null
  const identity: FleetIdentity = {
    fleet: answer.fleet,
    device,
    name: answer.name,
    role: answer.role,
    keyring,
    topic: keyring ? keyring.topic : answer.topic,
    sponsor: decodeCard(answer.card).publicKey,
    records: []
  }
  await storeFirstCard(keysDirectory, answer.card)
  await storeIdentity(keysDirectory, identity)
  return identity
}

/**
 * Null where this home belongs to no fleet yet. Rejects as `loadDeviceKey`, and with `KEY_DAMAGED` where the
 * fleet's file is not what this device wrote.
 */
export async function loadIdentity(keysDirectory: string): Promise<FleetIdentity | null> {
  const device = await loadDeviceKey(keysDirectory)
  const file = fleetFile(keysDirectory)
  const sealed = await readPrivate(file)
  if (sealed === null) return null
  if (device === null) {
    throw new HyperparcelError('KEY_DAMAGED', `${keysDirectory} has a fleet but no device.key`, {
      hint: 'Put device.key back from a backup, or join again with an empty home.'
    })
  }
  let data: Buffer
  try {
    data = unwrap(localKey(device, 'local fleet file'), sealed, device.publicKey)
  } catch (err) {
    throw new HyperparcelError('KEY_DAMAGED', `${file} does not belong to this device's key`, {
      hint: 'Put both files back from one backup, or join again with an empty home.',
      cause: err
    })
  }
  const f = FLEET_FILE.decode(data)
  const keyring = f.dedupKey ? new Keyring(f.dedupKey, f.fleetKeys) : null
  const { fleet, name, role, sponsor, records } = f
  const topic = keyring ? keyring.topic : f.topic
  return { fleet, device, name, role, keyring, topic, sponsor, records }
}

/** Makes an identity durable, also after its keyring learned a key. */
export async function storeIdentity(keysDirectory: string, identity: FleetIdentity): Promise<void> {
  const { fleet, device, name, role, keyring, topic, sponsor, records } = identity
  const data = FLEET_FILE.encode({
    fleet,
    name,
    role,
    topic,
    dedupKey: keyring ? keyring.dedupKey : null,
    fleetKeys: keyring ? keyring.entries() : [],
    sponsor,
    records: [...records]
  })
  const sealed = wrap(localKey(device, 'local fleet file'), data, device.publicKey)
  wipe(data)
  await writeFileDurable(fleetFile(keysDirectory), sealed, 0o600)
}

function fleetFile(keysDirectory: string): string {
  return path.join(keysDirectory, 'fleet.key')
}

async function refuseFleet(keysDirectory: string): Promise<void> {
  if ((await readPrivate(fleetFile(keysDirectory))) === null) return
  throw new HyperparcelError('FLEET_EXISTS', 'This home already belongs to a fleet', {
    hint: 'Use another home: --home DIR or HYPERPARCEL_HOME.'
  })
}
