/**
 * The guest's clock after a resume. Its hardware clock is right at once: QEMU keeps it as a distance to the host's
 * (`-rtc clock=host`, and the distance is in the saved state). But a running guest looks at it only when it boots, so
 * the guest agent has to tell it; without an agent the guest has to ask by itself (`hwclock -s`, NTP).
 */
import type { GuestAgent } from './guest-agent.ts'
import type { Qmp } from './qmp.ts'

/** All pages that the agent needs may have to come from far away first. */
const AGENT_TIMEOUT_MS = 120_000
/** The guest may have been that long about it: then it is told once more. */
const LATE_MS = 500
const ATTEMPTS = 3
const RTC_TOLERANCE_MS = 3000

interface BrokenDownTime {
  tm_year: number
  tm_mon: number
  tm_mday: number
  tm_hour: number
  tm_min: number
  tm_sec: number
}

/** `guest-agent`: the guest's clock was set. `rtc`: only its hardware clock is right. `none: …`: neither. */
export async function setGuestClock(qmp: Qmp, agent: GuestAgent): Promise<string> {
  if ((await agentIsThere(qmp)) && (await tellAgent(agent))) return 'guest-agent'
  const args = { path: '/machine', property: 'rtc-time' }
  const time = await qmp.execute<BrokenDownTime>('qom-get', args)
  const offMs = Date.now() - toMs(time)
  if (Math.abs(offMs) <= RTC_TOLERANCE_MS) return 'rtc'
  return `none: there is no guest agent, and the hardware clock is off by ${Math.round(offMs / 1000)} s`
}

async function tellAgent(agent: GuestAgent): Promise<boolean> {
  const end = performance.now() + AGENT_TIMEOUT_MS
  let told = 0
  const request = () => {
    told = performance.now()
    return `{"execute":"guest-set-time","arguments":{"time":${BigInt(Date.now()) * 1_000_000n}}}`
  }
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      await agent.call(request, end - performance.now())
      if (performance.now() - told <= LATE_MS) break
    }
    return true
  } catch {
    return false
  }
}

async function agentIsThere(qmp: Qmp): Promise<boolean> {
  const devices = await qmp.execute<{ label: string; 'frontend-open': boolean }[]>('query-chardev')
  return devices.some((device) => device.label === 'agent' && device['frontend-open'])
}

/** `struct tm`: years since 1900, months from 0. */
function toMs(time: BrokenDownTime): number {
  const { tm_year, tm_mon, tm_mday, tm_hour, tm_min, tm_sec } = time
  return Date.UTC(tm_year + 1900, tm_mon, tm_mday, tm_hour, tm_min, tm_sec)
}
