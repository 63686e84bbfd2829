/** Blocks that came from other devices, and how many of them were not needed. */
import type { Device, Json } from './devices.ts'

/** What a device got from its peers since its daemon started, by `stats`. */
export interface Received {
  blocks: number
  wasted: number
  hedges: number
}

export async function received(device: Device): Promise<Received> {
  const rows = (await device.ok(['stats']))['peers'] as Json[]
  const sum = (field: string) => rows.reduce((total, row) => total + Number(row[field]), 0)
  return { blocks: sum('blocks_received'), wasted: sum('blocks_wasted'), hedges: sum('hedges') }
}

export async function blocks(device: Device): Promise<number> {
  return (await received(device)).blocks
}
