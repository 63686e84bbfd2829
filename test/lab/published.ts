/** What was published of ISR-2 (256 MB of RAM, 4 GB of disk), by policy and Mb/s. */

/** Seconds until the VM ran. */
const RESUME_S: Record<string, Record<number, number>> = {
  demand: { 100: 14, 10: 39, 1: 317, 0.1: 4301 },
  lookaside: { 100: 13, 10: 12, 1: 12, 0.1: 12 },
  proactive: { 100: 10.5, 10: 10.5, 1: 10.5, 0.1: 10.5 }
}
/** Seconds of the office benchmark after it, with the resume; the local one by the best figure. */
const WORKLOAD_S: Record<string, Record<number, number>> = {
  demand: { 100: 173, 10: 370, 1: 2688, 0.1: 30_531 },
  lookaside: { 100: 161, 10: 212, 1: 1032, 0.1: 9530 }
}
/** What demand fetch at 100 Mb/s cost that benchmark. */
const SLOWDOWN_DEMAND_100 = 0.08

/** Ours by the name of what it is compared with: the best that there was without anything nearby. */
const KIN: Record<string, string> = {
  demand: 'demand',
  'working-set': 'demand',
  lookaside: 'lookaside',
  proactive: 'proactive'
}

export function publishedResume(policy: string, mbps: number): number | null {
  return RESUME_S[KIN[policy] ?? '']?.[mbps] ?? null
}

export function publishedWorkload(policy: string, mbps: number): number | null {
  return WORKLOAD_S[KIN[policy] ?? '']?.[mbps] ?? null
}

/** Of the workload; derived from the one share that was published. */
export function publishedSlowdown(policy: string, mbps: number): number | null {
  const local = WORKLOAD_S['demand'][100] / (1 + SLOWDOWN_DEMAND_100)
  const workload = publishedWorkload(policy, mbps)
  return workload === null ? null : workload / local - 1
}
