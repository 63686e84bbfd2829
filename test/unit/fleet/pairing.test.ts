import test from 'brittle'
import type { Assert } from 'brittle'
import BlindPairing from 'blind-pairing'
import { createRequire } from 'node:module'
import type { Clock } from '../../../lib/base/clock.ts'
import { systemClock } from '../../../lib/base/clock.ts'
import {
  Pairing,
  Registry,
  adoptFleet,
  createFleet,
  ensureDeviceKey,
  joinFleet,
  keyPair,
  loadIdentity,
  readInvite
} from '../../../lib/fleet/index.ts'
import type { JoinAnswer, KeyPair } from '../../../lib/fleet/index.ts'
import { inviteFromText, inviteToText, pairingKeys } from '../../../lib/fleet/invite-text.ts'
import { createJoinRequest, openJoinRequest } from '../../../lib/fleet/join-request.ts'
import { MemoryLogStore } from '../../helpers/memory-logs.ts'
import { swarmOn, testnet } from '../../helpers/swarms.ts'
import type { TestSwarm } from '../../helpers/swarms.ts'

const POLL_MS = 300
const require = createRequire(import.meta.url)

interface Member {
  registry: Registry
  pairing: Pairing
  swarm: TestSwarm
  directory: string
  net: Awaited<ReturnType<typeof testnet>>
}

async function member(t: Assert, opts: { clock?: Clock; deaf?: boolean } = {}): Promise<Member> {
  const net = await testnet(t)
  const directory = await t.tmp()
  const { identity } = await createFleet({ keysDirectory: directory, name: 'home' })
  const registry = new Registry({ identity, store: new MemoryLogStore(), keysDirectory: directory })
  await registry.ready()
  t.teardown(() => registry.close())
  const swarm = swarmOn(t, net, identity.device, opts.deaf ? { firewall: () => true } : {})
  const pairing = await openPairing(t, { registry, swarm, directory }, opts.clock)
  return { registry, pairing, swarm, directory, net }
}

async function openPairing(
  t: Assert,
  m: Pick<Member, 'registry' | 'swarm' | 'directory'>,
  clock: Clock = systemClock
): Promise<Pairing> {
  const { registry, swarm, directory } = m
  const pairing = new Pairing({ swarm, registry, keysDirectory: directory, pollMs: POLL_MS, clock })
  await pairing.ready()
  t.teardown(() => pairing.close(), { order: -1 })
  return pairing
}

function join(
  t: Assert,
  m: Member,
  invite: string,
  name: string,
  device: KeyPair = keyPair(),
  opts: { timeoutMs?: number; clock?: Clock; signal?: AbortSignal } = {}
): Promise<JoinAnswer> {
  const swarm = swarmOn(t, m.net, device)
  return joinFleet({ swarm, invite, device, name, pollMs: POLL_MS, timeoutMs: 20_000, ...opts })
}

async function code(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'fulfilled',
    (err: { code?: string; message: string }) => err.code ?? err.message
  )
}

test(
  'a device joins, and an invite is good for one device only',
  { timeout: 90_000 },
  async (t) => {
    const m = await member(t)
    const counts: number[] = []
    m.pairing.on('open-invites', (count: number) => counts.push(count))
    const { text } = await m.pairing.createInvite({ role: 'device', expiresMs: 60_000 })
    t.is(m.pairing.openInvites, 1)
    t.ok(/^hp1[a-z0-9]+$/.test(text), text)
    const used = m.pairing.waitForUse(text)

    const directory = await t.tmp()
    const device = await ensureDeviceKey(directory)
    const started = performance.now()
    const answer = await join(t, m, text, 'office', device)
    t.comment(`joined in ${Math.round(performance.now() - started)} ms`)
    t.is(answer.name, 'office')
    t.alike((await used).publicKey, device.publicKey)
    t.alike(answer.fleet, m.registry.identity.fleet)
    t.alike(answer.keys?.fleetKey, m.registry.fleetKey())
    t.alike(answer.card, m.registry.cards()[0])
    t.is(m.pairing.openInvites, 0)
    t.alike(counts, [1, 0])
    t.is(m.registry.deviceByName('office')?.role, 'device')

    await adoptFleet(directory, device, answer)
    const identity = (await loadIdentity(directory))!
    t.alike(identity.topic, m.registry.topic)
    t.is(await code(adoptFleet(directory, device, answer)), 'FLEET_EXISTS')

    t.is(await code(join(t, m, text, 'mallory')), 'INVITE_USED')
    t.absent(m.registry.deviceByName('mallory'))

    const again = await join(t, m, text, 'office', device)
    t.is(again.name, 'office', 'the same device may ask again: its answer may have got lost')

    await m.pairing.close()
    const pairing = await openPairing(t, m)
    t.is(pairing.openInvites, 0, 'a restart does not revive it')
    t.is((await pairing.waitForUse(text)).name, 'office')
    t.is(await code(join(t, m, text, 'mallory')), 'INVITE_USED')
  }
)

test(
  'an open invite survives a restart; a cancelled one does not',
  { timeout: 60_000 },
  async (t) => {
    const m = await member(t)
    const kept = await m.pairing.createInvite({ role: 'device', expiresMs: 60_000 })
    const cancelled = await m.pairing.createInvite({ role: 'device', expiresMs: 60_000 })
    const waiting = code(m.pairing.waitForUse(cancelled.text))
    await m.pairing.cancelInvite(cancelled.text)
    t.is(await waiting, 'INVITE_EXPIRED')
    await m.pairing.close()
    const pairing = await openPairing(t, m)
    t.is(pairing.openInvites, 1)
    t.is(await code(join(t, m, cancelled.text, 'mallory')), 'INVITE_USED')
    t.is((await join(t, m, kept.text, 'home')).name, 'home-2', 'a taken name gets a number')
  }
)

test('expiry counts by the clock of the member', { timeout: 60_000 }, async (t) => {
  let ahead = 0
  const clock: Clock = { ...systemClock, now: () => Date.now() + ahead }
  const m = await member(t, { clock })
  const { text } = await m.pairing.createInvite({ role: 'device', expiresMs: 30_000 })
  ahead = 60_000
  t.is(m.pairing.openInvites, 0)
  t.is(await code(join(t, m, text, 'late')), 'INVITE_EXPIRED')
  const late = { clock: { ...systemClock, now: () => Date.now() + 60_000 } }
  t.is(await code(join(t, m, text, 'late', keyPair(), late)), 'INVITE_EXPIRED', 'seen by itself')
  t.absent(m.registry.deviceByName('late'))
})

test('an invite expires while somebody waits for its use', { timeout: 30_000 }, async (t) => {
  const m = await member(t)
  const { text } = await m.pairing.createInvite({ role: 'device', expiresMs: 1 })
  t.is(await code(m.pairing.waitForUse(text)), 'INVITE_EXPIRED')
  t.is(m.pairing.openInvites, 0)
})

test('request and answer fit into records of the DHT', { timeout: 60_000 }, async (t) => {
  // The member lets nobody connect, so everything travels through the DHT.
  const m = await member(t, { deaf: true })
  const { text } = await m.pairing.createInvite({ role: 'device', expiresMs: 60_000 })
  const longest = 'n'.repeat(64)
  const answer = await join(t, m, text, longest, keyPair(), { timeoutMs: 40_000 })
  t.is(answer.name, longest)
  t.is(m.swarm.connections.size, 0)
})

test('nobody there', { timeout: 30_000 }, async (t) => {
  const m = await member(t)
  const { text } = await m.pairing.createInvite({ role: 'device', expiresMs: 60_000 })
  await m.pairing.close()
  const started = performance.now()
  const device = keyPair()
  t.is(await code(join(t, m, text, 'office', device, { timeoutMs: 1500 })), 'PEER_UNREACHABLE')
  t.ok(performance.now() - started < 6000, 'in time')
  const controller = new AbortController()
  const stopped = code(join(t, m, text, 'lab', keyPair(), { signal: controller.signal }))
  setTimeout(() => controller.abort(new Error('stopped')), 300)
  t.is(await stopped, 'stopped', 'the signal ends it')
})

test('texts that are no invite', async (t) => {
  const seed = Buffer.alloc(32, 7)
  const bootstrap = ['127.0.0.1:49737']
  const expires = Math.ceil(Date.now() / 1000) + 60
  const text = inviteToText({ role: 'device', expires, seed, bootstrap })
  t.alike(readInvite(text).bootstrap, bootstrap)
  const shown = text.toUpperCase().replace(/(.{10})/g, '$1 \n')
  t.alike(inviteFromText(shown).seed, seed, 'case and spaces do not matter')
  const accepted: number[] = []
  for (let at = 3; at < text.length; at++) {
    const letter = text[at] === 'y' ? 'b' : 'y'
    const wrong = text.slice(0, at) + letter + text.slice(at + 1)
    if ((await code((async () => readInvite(wrong))())) !== 'INVITE_INVALID') accepted.push(at)
  }
  t.alike(accepted, [], 'every wrong letter is noticed')
  for (const wrong of [
    '',
    'hp1',
    'hello',
    text.slice(0, -1),
    text + 'y',
    'hp1' + 'y'.repeat(10_000)
  ]) {
    await t.exception(async () => readInvite(wrong), /not an invite/)
  }
})

test('a request counts only with the key that it names', async (t) => {
  const device = keyPair()
  const id = Buffer.alloc(32, 1)
  const request = createJoinRequest(device, id, 'office', 'device')
  t.alike(openJoinRequest(request, id).publicKey, device.publicKey)
  await t.exception(async () => openJoinRequest(request, Buffer.alloc(32, 2)), /not signed/)
  const stolen = Buffer.from(request)
  keyPair().publicKey.copy(stolen, 5)
  await t.exception(async () => openJoinRequest(stolen, id), /not signed/)
})

test('strangers can neither join nor end the process', { timeout: 60_000 }, async (t) => {
  const m = await member(t)
  const { text } = await m.pairing.createInvite({ role: 'device', expiresMs: 60_000 })
  const keys = pairingKeys(inviteFromText(text))
  const Protomux = require('protomux') as {
    from(stream: object): {
      createChannel(opts: object): { open(): void; messages: { send(data: Buffer): void }[] } | null
    }
  }
  const c = require('compact-encoding') as { buffer: object }
  const swarm = swarmOn(t, m.net, keyPair())
  const connected = new Promise<void>((resolve) => {
    swarm.on('connection', (connection) => {
      ;(connection as { on(event: string, fn: () => void): void }).on('error', () => {})
      const channel = Protomux.from(connection).createChannel({
        protocol: 'blind-pairing',
        id: keys.discoveryKey,
        messages: [{ encoding: c.buffer }, { encoding: c.buffer }]
      })!
      channel.open()
      // A request whose session is absent, one that is absent whole, noise.
      channel.messages[0].send(Buffer.concat([keys.id, Buffer.from([0, 0])]))
      channel.messages[0].send(Buffer.alloc(0))
      channel.messages[0].send(Buffer.alloc(500, 0x20))
      resolve()
    })
  })
  swarm.join(keys.discoveryKey, { client: true, server: false })
  await connected

  // Somebody with the invite, but without the device key that the request names.
  const forged = createJoinRequest(keyPair(), Buffer.alloc(32), 'mallory', 'device')
  const other = new BlindPairing(swarmOn(t, m.net, keyPair()), { poll: POLL_MS })
  t.teardown(() => other.close(), { order: -2 })
  other.addCandidate({ invite: keys.invite, userData: forged, onadd: () => t.fail('admitted') })
  await new Promise((resolve) => setTimeout(resolve, 3000))
  t.is(m.pairing.openInvites, 1, 'the invite was not used up')
  t.is(m.registry.devices().length, 1)
  t.is((await join(t, m, text, 'office')).name, 'office', 'it still works')
})

test('a cache gets no keys', { timeout: 60_000 }, async (t) => {
  const m = await member(t)
  const { text } = await m.pairing.createInvite({ role: 'cache', expiresMs: 60_000 })
  const answer = await join(t, m, text, 'closet')
  t.is(answer.keys, null)
  t.is(answer.role, 'cache')
  t.alike(answer.topic, m.registry.topic)
  t.is(m.registry.deviceByName('closet')?.role, 'cache')
})
