/** A parcel's state in words; `--json` has that of the contract. */
import type { ParcelRow } from '../daemon/api.ts'

export function stateText(parcel: ParcelRow): string {
  const { state, elsewhere, holder } = parcel
  if (state === 'elsewhere') {
    if (holder === null) return state
    return elsewhere === null ? `on ${holder}` : `${elsewhere} on ${holder}`
  }
  if (state !== 'suspended' || parcel.memory || parcel.version === 0) return state
  return parcel.version === 1 ? 'new' : 'off'
}
