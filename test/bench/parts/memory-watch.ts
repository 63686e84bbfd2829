/** The most memory that some processes have resident at one moment. */
import { residentBytes } from './cpu.ts'

const SAMPLE_MS = 50

/** `end` returns it, in bytes. */
export function watchMemory(pids: () => number[]): { end(): number } {
  let most = 0
  const look = () => {
    const now = pids().reduce((sum, pid) => sum + residentBytes(pid), 0)
    if (now > most) most = now
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
