/** The most memory that the processes of a device have resident at one moment. */
import { residentBytes } from './cpu.ts'

const SAMPLE_MS = 50

export interface Resident {
  daemonBytes: number
  runnersBytes: number
}

/** `end` returns it; both figures are of the same moment. */
export function watchMemory(home: { daemonPid: number; runners(): number[] }): { end(): Resident } {
  let most: Resident = { daemonBytes: 0, runnersBytes: 0 }
  const look = () => {
    const now = {
      daemonBytes: residentBytes(home.daemonPid),
      runnersBytes: home.runners().reduce((sum, pid) => sum + residentBytes(pid), 0)
    }
    if (totalBytes(now) > totalBytes(most)) most = now
  }
  const timer = setInterval(look, SAMPLE_MS)
  return {
    end() {
      clearInterval(timer)
      look()
      return most
    }
  }
}

export function totalBytes({ daemonBytes, runnersBytes }: Resident): number {
  return daemonBytes + runnersBytes
}
