/** Does something grow from round to round? The middle rounds of the beginning are compared with the last ones. */
import { median } from '../bench/framework.ts'

/** Rounds 3 to 7: what is set up once is there by then. */
const EARLY = [2, 7] as const
const LATE = 5
/** Fewer rounds say nothing. */
const ROUNDS_MIN = 12

export interface Limits {
  /** Growth is more than this share of the beginning … */
  share: number
  /** … and more than this in all. */
  least: number
}

export interface Growth {
  name: string
  unit: string
  /** Medians. */
  early: number
  late: number
  grew: boolean
}

/** Null where there are too few rounds. */
export function growth(
  name: string,
  unit: string,
  values: number[],
  { share, least }: Limits
): Growth | null {
  if (values.length < ROUNDS_MIN) return null
  const early = median(values.slice(...EARLY))
  const late = median(values.slice(-LATE))
  return {
    name,
    unit,
    early,
    late,
    grew: late - early > least && late > early * (1 + share)
  }
}
