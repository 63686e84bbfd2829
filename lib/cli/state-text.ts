/** A parcel's state: the word that `--json` has, and what else is worth saying. */
import type { ParcelRow } from '../daemon/api.ts'

export function stateText(parcel: ParcelRow): string {
  const { state, elsewhere, holder } = parcel
  if (state === 'elsewhere') {
    if (holder === null) return state
    return `${state} (${elsewhere === null ? '' : `${elsewhere} `}on ${holder})`
  }
  if (state !== 'suspended' || parcel.memory || parcel.version === 0) return state
  return `${state} (${parcel.version === 1 ? 'new' : 'off'})`
}
