/** A standing order in words. */
import type { OrderRow } from '../daemon/api-versions.ts'

export function orderText({ kind, device }: OrderRow): string {
  return kind === 'push' ? `pushed to ${device}` : `followed here for ${device}`
}
