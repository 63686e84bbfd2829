/** The goals of speed, judged by what the lab measured. */
import type { LabRow } from './report.ts'

export interface Check {
  name: string
  ours: number
  peer: number
  peer_name: string
  unit: string
  /** Greater than 1 means that we are better. */
  ratio: number
  /** What `ratio` should reach. */
  goal: number
}

/** Milliseconds to an answering shell, by policy and rate. */
const ANSWER_MS: Record<string, Record<number, number>> = {
  'working-set': { 100: 1000, 10: 2500, 1: 15_000 },
  demand: { 100: 4000, 10: 15_000 },
  lookaside: { 100: 1000, 10: 1000, 1: 1000, 0.1: 1000 },
  proactive: { 100: 1000, 10: 1000, 1: 1000, 0.1: 1000 }
}
const SLOWDOWN: Record<string, Record<number, number>> = {
  demand: { 100: 0.05 },
  'working-set': { 10: 0.25 },
  hoarded: { 100: 0.02, 10: 0.02, 1: 0.02 }
}
/** Of the faults of demand fetch that wait for the network, so many may be left. */
const WAITING = 0.1
/** Of what TCP moves. */
const BULK = 0.93
/** Demand fetch may take that much longer than its misses and bytes explain. */
const EXPLAINED = 1.2
/** A resume with a pack may take that much longer than the link needs for what it cannot do without. */
const LIMIT = 1.4
/** At these rates the link is what counts, megabits a second. */
const LIMIT_MBPS = [1, 10]

export function checksOf(rows: LabRow[]): Check[] {
  return rows.flatMap((row) => {
    const { policy, mbps } = row
    const checks: Check[] = []
    const answer = ANSWER_MS[policy]?.[mbps]
    if (answer !== undefined) {
      checks.push(atMost(`${policy}-${mbps}-answer`, row.interactive_ms, answer, 'the goal', 'ms'))
    }
    if (policy === 'demand') {
      const peer = Math.round(EXPLAINED * explainedMs(row))
      const name = `demand-${mbps}-explained`
      checks.push(
        atMost(name, row.interactive_ms, peer, '1.2 x (misses x round trip + bytes / rate)', 'ms')
      )
    }
    const plain = rows.find((one) => one.policy === 'demand' && one.mbps === mbps)
    if (policy === 'working-set' && plain !== undefined) {
      const peer = Math.round(WAITING * plain.faults_interactive)
      const name = `working-set-${mbps}-faults`
      checks.push(
        atMost(name, row.faults_interactive, peer, 'a tenth of those of demand', 'faults')
      )
    }
    if (policy === 'working-set' && LIMIT_MBPS.includes(mbps) && row.answer_bytes !== null) {
      const ms = (row.answer_bytes * 8) / (mbps * 1000) + 2 * row.rtt_ms
      const what = '1.4 x (state and what is touched / rate + 2 round trips)'
      const name = `working-set-${mbps}-limit`
      checks.push(atMost(name, row.interactive_ms, Math.round(LIMIT * ms), what, 'ms'))
    }
    const slowdown = SLOWDOWN[policy]?.[mbps]
    if (slowdown !== undefined && row.slowdown !== null) {
      // Times of the workload, so that one which got faster has a ratio too.
      const ours = Number((1 + row.slowdown).toFixed(3))
      checks.push(atMost(`${policy}-${mbps}-slowdown`, ours, 1 + slowdown, 'the goal', 'x local'))
    }
    if (row.bulk_mbps !== null && row.tcp_mbps !== null) {
      const [ours, peer] = [row.bulk_mbps, row.tcp_mbps]
      const ratio = Number((ours / peer).toFixed(3))
      const name = `bulk-${mbps}`
      checks.push({ name, ours, peer, peer_name: 'iperf3', unit: 'Mb/s', ratio, goal: BULK })
    }
    return checks
  })
}

/** What the faults until the answer would cost one after the other. */
function explainedMs({ faults_interactive, rtt_ms, bytes_interactive, mbps }: LabRow): number {
  return faults_interactive * rtt_ms + (bytes_interactive * 8) / (mbps * 1000)
}

function atMost(name: string, ours: number, peer: number, peerName: string, unit: string): Check {
  const ratio = Number((peer / Math.max(ours, 1e-3)).toFixed(3))
  return { name, ours, peer, peer_name: peerName, unit, ratio, goal: 1 }
}
