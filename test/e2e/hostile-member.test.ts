/**
 * A device of the fleet was taken over: it has a key that all others let in, and sends them what no honest device does.
 * Whole daemons go on, with little memory, and nothing that it sent is believed. What each lie does to one connection is
 * in `net-hostile.test.ts`.
 */
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import test from 'brittle'
import type { Assert } from 'brittle'
import Protomux from 'protomux'
import { loadIdentity, type FleetIdentity } from '../../lib/fleet/index.ts'
import { CALL_MESSAGES, CALL_PROTOCOL, CALL_VERSION } from '../../lib/format/call.ts'
import { openChannel } from '../../lib/net/channel.ts'
import { Fleet, type Device } from '../helpers/devices.ts'
import { create, exported } from '../helpers/disk-versions.ts'
import { RawPeer, type RawHandlers } from '../helpers/raw-peer.ts'
import { need } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const MIB = 1024 ** 2
/** Above what it has when nobody does it any harm. */
const MORE_MIB_MAX = 150
const LIFE_MS = 1500

type Attack = (peer: RawPeer, logs: Buffer[]) => void

const ATTACKS: Record<string, Attack> = {
  'random frames': (peer) => {
    for (let i = 0; i < 300; i++) {
      const frame = randomBytes(1 + (i % 90))
      frame[0] = i % 4
      write(peer, frame)
    }
  },
  'a list that says it is endless': (peer, logs) => {
    // `have`: log, reset, length, no tree hash, and 2^53 - 1 runs
    const numbers = Buffer.from([1, 5, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f, 0])
    write(peer, Buffer.from([1, 1, ...logs[0], ...numbers]))
  },
  'frames as large as they get, one after the other': (peer) => {
    for (let i = 0; i < 12; i++) write(peer, Buffer.alloc(8 * MIB, 7))
  },
  'announcements without end': (peer, logs) => {
    const runs = Array.from({ length: 1024 }, (_, i) => ({ start: 2 ** 40 + 3 * i, count: 1 }))
    for (let i = 0; i < 400; i++) {
      const shifted = runs.map(({ start, count }) => ({ start: start + 4000 * i, count }))
      const log = logs[i % logs.length]
      const have = { log, reset: false, length: 2 ** 50, treeHash: null, runs: shifted }
      peer.channels.at(-1)!.send.have(have)
    }
  },
  'requests without end': (peer, logs) => {
    const { send } = peer.channels.at(-1)!
    for (let id = 0; id < 100_000; id++) {
      send.blockRequest({ id, log: logs[id % logs.length], index: id % 7, nodes: 0, rank: 0 })
    }
  },
  'calls without end': (peer) => {
    const channel = openChannel(Protomux.from(peer.connections.at(-1)!), {
      protocol: CALL_PROTOCOL,
      version: CALL_VERSION,
      messages: CALL_MESSAGES,
      receivers: { request: () => {}, answer: () => {}, cancel: () => {} },
      onopen: () => {},
      onclose: () => {},
      onviolation: () => {}
    })!
    const attachment = Buffer.alloc(256 * 1024)
    for (let id = 0; id < 400; id++) {
      channel.send.request({ id, method: 'held', json: '{}', attachment })
    }
    for (let id = 400; id < 20_000; id++) {
      channel.send.request({ id, method: 'x', json: '[[[[[[[[', attachment: Buffer.alloc(0) })
    }
  },
  nothing: () => {}
}

test('a device that was taken over harms nobody', { timeout: 300_000 }, async (t) => {
  if (!need(t, 'qemu-tools', 'nbd-tools', 'qemu')) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const hash = await create(fleet, home, 8 * MIB)
  const insider = await fleet.join(home, 'insider')
  const lab = await fleet.join(home, 'lab')
  for (const device of [insider, lab]) {
    await until(async () => (await device.parcel('work'))?.['version'] === 1)
  }
  await insider.ok(['daemon', 'stop'])
  const identity = (await loadIdentity(path.join(insider.home, 'keys')))!

  const quietMib = await memoryMib(home)
  for (const [name, attack] of Object.entries(ATTACKS)) {
    const logs: Buffer[] = []
    const peer = member(t, fleet, identity, () => ({ want: ({ log }) => void logs.push(log) }))
    await peer.connected()
    await until(() => logs.length > 0)
    const [pid] = home.processes('daemon')
    attack(peer, logs)
    await sleep(LIFE_MS)
    await home.ok(['ls'])
    const mib = await memoryMib(home)
    t.alike(home.processes('daemon'), [pid], `${name}: the same daemon`)
    const dropped = peer.connections.at(-1)!.destroyed
    t.comment(`${name}: ${mib} MiB, ${quietMib} before all; ${dropped ? 'dropped' : 'kept'}`)
    t.ok(mib < quietMib + MORE_MIB_MAX, `${name}: ${mib} MiB`)
    await peer.swarm.destroy()
    if (!dropped) continue
    // It does not let in who was dropped, for a while; a new daemon knows nothing of that.
    await home.kill('daemon')
    await home.ok(['ls'])
  }

  // It alone is there, says that it has everything, and sends something else.
  await until(async () => (await lab.online()).includes('home'))
  await home.ok(['daemon', 'stop'])
  const liar = member(t, fleet, identity, (channel) => ({
    want: ({ log }) => {
      const runs = [{ start: 0, count: 4096 }]
      channel.send.have({ log, reset: true, length: 4096, treeHash: null, runs })
    },
    lengthRequest: ({ id, from }) => {
      const nodes = [{ index: 4095, size: 1000, hash: randomBytes(32) }]
      const upgrade = { start: from, length: 4096 - from, nodes, signature: randomBytes(100) }
      channel.send.proof({ id, block: null, upgrade, manifest: randomBytes(60) })
    },
    blockRequest: ({ id, index }) => {
      const block = { index, nodes: [], value: randomBytes(60_000) }
      channel.send.proof({ id, block, upgrade: null, manifest: null })
    }
  }))
  await liar.connected()
  const hoard = lab.start(['hoard', 'work'])
  await until(() => liar.connections.every(({ destroyed }) => destroyed))
  t.pass('who lies is disconnected')
  await home.ok(['ls'])
  const { code, stderr } = await hoard.done
  if (code !== 0) await lab.ok(['hoard', 'work'])
  t.comment(`the hoard ended with ${code}: ${stderr.slice(-200)}`)
  await home.ok(['daemon', 'stop'])
  t.is(await exported(fleet, lab, 'work'), hash)
})

function member(
  t: Assert,
  { bootstrap }: Fleet,
  { device, topic }: FleetIdentity,
  handlers: (channel: RawPeer['channels'][0]) => RawHandlers
): RawPeer {
  return new RawPeer({ t, bootstrap: [bootstrap], topic: Buffer.from(topic) }, handlers, device)
}

function write(peer: RawPeer, frame: Uint8Array): void {
  const connection = peer.connections.at(-1)!
  if (!connection.destroyed) connection.write(Buffer.from(frame))
}

async function memoryMib(device: Device): Promise<number> {
  const [pid] = device.processes('daemon')
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Math.round(Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)![1]) / 1024)
}

function sleep(durationMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, durationMs))
}
