/**
 * `import-time` and `import-size`: a disk image becomes a parcel in an empty home whose daemon is warm, durable on
 * return; against restic and borg with new local repositories on the same disk, which do not flush everything.
 */
import { interleave, median, rowOf, type BenchRow, type Series } from '../framework.ts'
import { Borg, Restic, type Archive } from '../parts/archives.ts'
import { diskUsage, settleDisk } from '../parts/bench-home.ts'
import { benchGuest, dataBytes } from '../parts/image.ts'
import type { Workspace } from '../parts/workspace.ts'

const TIME = { name: 'import-time', unit: 's', better: 'lower', goal: 1.7 } as const
const SIZE = { name: 'import-size', unit: 'MB', better: 'lower', goal: 0.95 } as const

export async function importRows(workspace: Workspace): Promise<BenchRow[]> {
  const { directory, opts } = workspace
  const { disk } = await benchGuest(opts)
  const rounds = opts.rounds ?? (opts.small ? 1 : 5)
  opts.log(`import: ${rounds} rounds`)
  const stored = new Map<string, number[]>()
  const keep = (name: string, bytes: number) =>
    stored.set(name, [...(stored.get(name) ?? []), bytes])

  const archive = (tool: Archive) => ({
    name: tool.name,
    async measure() {
      await tool.init()
      await settleDisk(opts)
      const { wallSeconds, cpuSeconds } = await tool.store(disk)
      keep(tool.name, await diskUsage(tool.repository))
      return { value: wallSeconds, cpuSeconds }
    }
  })
  const packed: number[] = []
  const ours = {
    name: 'ours',
    async measure() {
      const home = await workspace.home()
      await settleDisk(opts)
      const { result, wallSeconds, cpuSeconds } = await home.run('create', 'image', '--disk', disk)
      packed.push(Number(result['bytes_stored']))
      keep('ours', await home.storedBytes())
      await home.destroy()
      return { value: wallSeconds, cpuSeconds }
    }
  }
  const fast = [
    new Restic(directory, opts.signal),
    new Borg(directory, 'lz4', false, opts.signal),
    new Borg(directory, 'lz4', true, opts.signal)
  ]
  const [own, ...peers] = await interleave(rounds, [ours, ...fast.map(archive)])
  for (const sparse of opts.small ? [true] : [false, true]) {
    await archive(new Borg(directory, 'zstd', sparse, opts.signal)).measure()
  }
  const size = (name: string): Series => ({
    name,
    samples: stored.get(name)!.map((bytes) => ({ value: bytes / 1e6 }))
  })
  const sizes = [...stored.keys()].filter((name) => /restic|zstd/.test(name)).map(size)
  const bytes = await dataBytes(disk)
  return [
    rowOf(
      { ...TIME, dataBytes: bytes, details: { 'data MB': Math.round(bytes / 1e6) } },
      own,
      peers
    ),
    rowOf(
      { ...SIZE, details: { 'ours, segments MB': Math.round(median(packed) / 1e6) } },
      size('ours'),
      sizes
    )
  ]
}
