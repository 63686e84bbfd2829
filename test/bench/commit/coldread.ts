/**
 * `coldread`: a whole stored image becomes a raw file again, from a disk that the kernel has no pages of: read,
 * opened, decompressed and verified; against the restores of restic, borg and casync of the same image.
 */
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { sameImage } from '../../helpers/images.ts'
import { interleave, rowOf, type BenchRow } from '../framework.ts'
import { Borg, Casync, Restic, type Archive } from '../parts/archives.ts'
import { makeCold } from '../parts/cold.ts'
import { settleDisk } from '../parts/bench-home.ts'
import { benchGuest, dataBytes } from '../parts/image.ts'
import type { Workspace } from '../parts/workspace.ts'

const ROW = { name: 'coldread', unit: 's', better: 'lower', goal: 1.5 } as const

export async function coldReadRow(workspace: Workspace): Promise<BenchRow[]> {
  const { directory, opts } = workspace
  const { disk } = await benchGuest(opts)
  const rounds = opts.rounds ?? (opts.small ? 1 : 5)
  opts.log('coldread: storing the image in each')
  const home = await workspace.home()
  await home.run('create', 'image', '--disk', disk)
  const archives: Archive[] = [
    new Restic(directory, opts.signal),
    new Borg(directory, 'lz4', true, opts.signal),
    new Casync(directory, opts.signal)
  ]
  for (const tool of archives) {
    await tool.init()
    await tool.store(disk)
  }
  opts.log(`coldread: ${rounds} rounds`)
  const target = path.join(directory, 'restored.raw')
  const forget = async (stored: string) => {
    for (const file of [target, `${target}.d`]) await rm(file, { recursive: true, force: true })
    await settleDisk(opts)
    await makeCold(stored)
  }
  const archive = (tool: Archive) => ({
    name: tool.name,
    async measure() {
      await forget(tool.repository)
      const { wallSeconds, cpuSeconds } = await tool.restore(target)
      return { value: wallSeconds, cpuSeconds }
    }
  })
  const ours = {
    name: 'ours',
    async measure() {
      await forget(home.store)
      const { wallSeconds, cpuSeconds } = await home.run('export', 'image', target)
      return { value: wallSeconds, cpuSeconds }
    }
  }
  const [own, ...peers] = await interleave(rounds, [ours, ...archives.map(archive)])
  // a read that is fast because it is wrong would not count
  await ours.measure()
  if (!(await sameImage(disk, target))) throw new Error('the exported image is another one')
  return [rowOf({ ...ROW, dataBytes: await dataBytes(disk) }, own, peers)]
}
