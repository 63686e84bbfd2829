/** The lab itself: a VM at home, and resumes of it at the office over a link, row by row. */
import { readFile } from 'node:fs/promises'
import os from 'node:os'
import type { Timeline } from '../../examples/demo/timeline.ts'
import { guestCache } from '../../examples/guest/cache.ts'
import { buildGuest } from '../../examples/guest/build.ts'
import { buildDebianGuest } from '../../examples/guest/debian.ts'
import { HyperparcelError } from '../../lib/base/errors.ts'
import { LabFleet, type Stage } from './fleet.ts'
import { measureHome, measureRow, type Sample } from './measure.ts'
import type { LabOptions, RowPlan } from './options.ts'
import { POLICIES, policyNamed } from './policies.ts'
import { makeReport, type LabReport, type LeftOut, type Machine, type Measured } from './report.ts'

export async function runLab(stage: Stage, options: LabOptions): Promise<LabReport> {
  if (process.getuid?.() !== 0) {
    throw new HyperparcelError('LAB_NEEDS_ROOT', 'Only root may make network namespaces', {
      hint: 'Try again as root.'
    })
  }
  const { timeline } = stage
  const load = await loadNow()
  timeline.part('Hosts, links and a VM')
  const build = options.small ? buildGuest : buildDebianGuest
  const guest = await build(guestCache(), (text) => timeline.say('', text))
  const fleet = await LabFleet.open(stage)
  try {
    timeline.say('home', 'namespaces, links, a private DHT and a fleet are there')
    const [plans, leftOut] = feasible(options.rows, await fleet.canRehearse())
    const rehearse = plans.some(({ policy }) => policy === 'working-set')
    await fleet.parcel(guest, options.small, rehearse)
    timeline.say('home', `a VM has booted and is suspended${rehearse ? ' and rehearsed' : ''}`)
    timeline.part('Resumes')
    const { local, measured } = await measureAll(fleet, plans, options, timeline)
    return makeReport(
      {
        guest: options.small ? 'small guest' : 'Debian 12',
        memory: options.small ? '192M' : '256M',
        machine: { ...machine(), load: [load, await loadNow()] },
        local,
        left_out: leftOut,
        seconds: Math.round(timeline.seconds)
      },
      measured
    )
  } finally {
    await fleet.close()
  }
}

async function measureAll(
  fleet: LabFleet,
  plans: RowPlan[],
  options: LabOptions,
  timeline: Timeline
): Promise<{ local: Sample[]; measured: Measured[] }> {
  const local: Sample[] = []
  const { rounds, rttMs, lossPercent } = options
  for (let round = 0; options.workload && round < rounds; round++) {
    local.push(await measureHome(fleet, options, timeline))
  }
  const measured: Measured[] = []
  for (const { policy, mbps } of plans) {
    const samples: Sample[] = []
    const shape = { mbps, rttMs, ...(lossPercent === 0 ? {} : { lossPercent }) }
    for (let round = 0; round < rounds; round++) {
      samples.push(await measureRow(fleet, policyNamed(policy), shape, options, timeline))
    }
    measured.push({ policy, mbps, rttMs, samples })
  }
  return { local, measured }
}

/** In the order of the table of policies, without those that cannot be measured. */
function feasible(rows: RowPlan[], canRehearse: boolean): [RowPlan[], LeftOut[]] {
  const order = POLICIES.map(({ name }) => name)
  const sorted = rows.toSorted((a, b) => order.indexOf(a.policy) - order.indexOf(b.policy))
  const names = [...new Set(sorted.map(({ policy }) => policy))]
  const leftOut = names.flatMap((policy) => {
    const noRehearsal = policy === 'working-set' && !canRehearse
    const why = noRehearsal ? 'nothing is rehearsed in this version' : policyNamed(policy).missing
    return why === null ? [] : [{ policy, why }]
  })
  const left = leftOut.map(({ policy }) => policy)
  return [sorted.filter(({ policy }) => !left.includes(policy)), leftOut]
}

function machine(): Omit<Machine, 'load'> {
  return {
    cpus: os.availableParallelism(),
    cpu: os.cpus()[0]?.model.trim() ?? '',
    memory_bytes: os.totalmem(),
    kernel: os.release()
  }
}

async function loadNow(): Promise<number> {
  return Number((await readFile('/proc/loadavg', 'utf8')).split(' ')[0])
}
