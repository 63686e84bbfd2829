/**
 * A fleet whose devices are at two sites, joined by a link that the test shapes, cuts and joins again. Each device is in
 * a network namespace of its own, with no way out but that link; multicast DNS is off, for it is all one Ethernet. Needs
 * root, iproute2 and vde2.
 */
import { spawnSync } from 'node:child_process'
import type { Assert } from 'brittle'
import { Wan, type Shape } from '../lab/wan.ts'
import { Fleet, fleetDirectory } from './devices.ts'

const SITES = { home: ['dht', 'home'], office: ['office', 'lab'] }
const FAST: Shape = { mbps: null, rttMs: 0 }

export interface WanFleet {
  fleet: Fleet
  /** Joins home and office like that from now on; null: not at all. */
  link(shape: Shape | 'fast' | null): Promise<void>
}

/** `through`: a further program that starts those of that device. */
export async function wanFleet(
  t: Assert,
  through: (name: string) => string[] = () => []
): Promise<WanFleet> {
  const directory = fleetDirectory(t)
  const hosts = Object.values(SITES).flat()
  const clean = () => {
    for (const name of hosts) {
      spawnSync('ip', ['netns', 'del', `hp${process.pid}${name}`], { stdio: 'ignore' })
    }
  }
  process.on('exit', clean)
  t.teardown(
    () => {
      process.off('exit', clean)
      clean()
    },
    { force: true, order: 110 }
  )
  const wan = await Wan.open(directory, SITES)
  t.teardown(() => wan.close(), { force: true, order: 105 })
  await wan.join('home', 'office', FAST)
  const fleet = await Fleet.open(t, directory, {
    dhtHost: wan.host('dht').address,
    through: (name) => [...wan.host(name).through, ...through(name)],
    network: ['--no-lan']
  })
  return {
    fleet,
    async link(shape) {
      if (shape === null) await wan.cut('home', 'office')
      else await wan.join('home', 'office', shape === 'fast' ? FAST : shape)
    }
  }
}
