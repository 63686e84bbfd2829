/** Limits of bandwidth as people write them. */
import { HyperparcelError } from './errors.ts'

/** A rate, a share (above 0, at most 1) of what the path is found to do, or null for none. */
export type Rate = { bytesPerS: number } | { share: number } | null

const BYTES_PER_S: Record<string, number> = {
  bit: 1 / 8,
  kbit: 1e3 / 8,
  mbit: 1e6 / 8,
  gbit: 1e9 / 8,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9
}
/** Below that, nothing would ever be done. */
const BYTES_PER_S_MIN = 1000

/** `10Mbit`, `1.5Mbit/s`, `2MB` (bytes a second), `50%`, `unlimited`. Throws `USAGE`. */
export function parseRate(text: string): Rate {
  if (text === 'unlimited') return null
  const match = /^(\d{1,9}(?:\.\d{1,3})?)\s?(%|[kmg]?(?:bit|b))(?:\/s)?$/i.exec(text)
  if (match !== null) {
    const [amount, unit] = [Number(match[1]), match[2].toLowerCase()]
    if (unit === '%' && amount > 0 && amount <= 100) return { share: amount / 100 }
    const bytesPerS = unit === '%' ? 0 : amount * BYTES_PER_S[unit]
    if (bytesPerS >= BYTES_PER_S_MIN) return { bytesPerS }
  }
  throw new HyperparcelError('USAGE', `${text} is no limit of bandwidth`, { hint: RATE_HINT })
}

export const RATE_HINT =
  'Write a rate like 10Mbit or 500kbit (8kbit at least), a share like 50%, or unlimited.'

export function isRate(text: string): boolean {
  try {
    parseRate(text)
    return true
  } catch {
    return false
  }
}
