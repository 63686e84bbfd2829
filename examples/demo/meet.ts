/** How two devices come to know each other. */
import { performance } from 'node:perf_hooks'
import { HyperparcelError } from '../../lib/base/errors.ts'
import type { Result } from '../../lib/daemon/api.ts'
import type { Device } from './device.ts'
import { startDht } from './private-dht.ts'
import type { Timeline } from './timeline.ts'

const MEET_MS = 30_000

export interface Meeting {
  directory: string
  home: Device
  office: Device
  timeline: Timeline
}

/** A DHT, a fleet of one device, and a second one that joins it. */
export async function meet({ directory, home, office, timeline }: Meeting): Promise<void> {
  const bootstrap = await startDht(directory)
  timeline.say('', `a private DHT on ${bootstrap}`)
  await home.run('init', '--name', 'home', '--bootstrap', bootstrap)
  timeline.say('home', 'a new fleet')
  const { invite } = (await home.run<Result<'invite'>>('invite', '--no-wait')).result
  await office.run('join', invite, '--name', 'office', '--bootstrap', bootstrap)
  const deadline = performance.now() + MEET_MS
  for (const device of [home, office]) {
    while ((await device.status()).peers === 0) {
      if (performance.now() > deadline) {
        throw new HyperparcelError('PEER_UNREACHABLE', `${device.name} finds no other device`)
      }
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  timeline.say('office', 'joined it by an invite; the devices are connected')
}
