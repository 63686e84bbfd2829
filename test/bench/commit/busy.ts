/**
 * `coldread-p99-busy`: how long 1 % of random reads of stored, uncached data take at least while the daemon sends all
 * of that data to another device as fast as it can, and while it does nothing. Each measurement has a runner of its
 * own, whose caches are empty, and a disk that the kernel has no pages of.
 */
import path from 'node:path'
import { fio } from '../../helpers/fio.ts'
import { startProgram } from '../../helpers/program.ts'
import { median, round, rowOf, type BenchRow, type Series } from '../framework.ts'
import { makeCold } from '../parts/cold.ts'
import { settleDisk, type BenchHome } from '../parts/bench-home.ts'
import { withoutHoles } from '../parts/dense-image.ts'
import { benchGuest } from '../parts/image.ts'
import { Pull } from '../parts/pull.ts'
import type { Workspace } from '../parts/workspace.ts'

const ROW = { name: 'coldread-p99-busy', unit: 'ms', better: 'lower', goal: 0.5 } as const
const MIB = 1024 ** 2

export async function busyRow(workspace: Workspace): Promise<BenchRow[]> {
  const { directory, bootstrap, opts } = workspace
  const { disk } = await benchGuest(opts)
  const dense = path.join(directory, 'dense.raw')
  const sizeBytes = await withoutHoles(disk, dense, opts.small ? 24 * MIB : 1024 * MIB)
  // few enough that most of them find a segment that nobody has read yet
  const reads = opts.small ? 100 : 1000
  const rounds = opts.rounds ?? (opts.small ? 1 : 5)
  const home = await workspace.home()
  await home.run('create', 'dense', '--disk', dense)
  const office = await home.join(bootstrap, opts.signal)

  const idle: Series = { name: 'idle daemon', samples: [] }
  const busy: Series = { name: 'busy daemon', samples: [] }
  const rates: number[] = []
  let ended = 0
  for (let turn = 0; turn < rounds; turn++) {
    opts.log(`coldread-p99-busy: round ${turn + 1} of ${rounds}`)
    const measure = async (uri: string) => {
      const options = [`--number_ios=${reads}`, `--randseed=${turn + 1}`]
      const job = { uri, rw: 'randread', blockBytes: 4096, depth: 1, sizeBytes, options } as const
      return (await fio(job)).readP99Us / 1000
    }
    await settleDisk(opts)
    idle.samples.push({ value: await served(home, measure) })
    await settleDisk(opts)
    const value = await served(home, async (uri) => {
      const pull = await Pull.start(office, 'dense', path.join(directory, 'pulled.raw'))
      try {
        const p99 = await measure(uri)
        rates.push(await pull.bytesPerSecond())
        return p99
      } finally {
        if (!(await pull.end())) ended++
      }
    })
    busy.samples.push({ value })
    await office.device.run('evict', 'dense', '--yes')
  }
  const details = {
    'data MB': Math.round(sizeBytes / 1e6),
    'sent MB/s meanwhile': round(median(rates) / 1e6),
    'rounds in which all was sent too early': ended
  }
  return [rowOf({ ...ROW, details }, busy, [idle])]
}

/** Runs with the exports of a new runner, all of whose data is on the disk only. */
async function served<T>(home: BenchHome, run: (uri: string) => Promise<T>): Promise<T> {
  const serve = startProgram(['--home', home.device.home, '--json', 'serve', 'dense'])
  try {
    const { volumes } = (await serve.first()) as { volumes: { disk0: string } }
    await makeCold(home.store)
    return await run(volumes.disk0)
  } finally {
    await serve.interrupt()
  }
}
