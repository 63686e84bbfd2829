/**
 * `memory`: the most memory that daemon and runner have resident together while a disk of 64 GiB with 8 GiB of data
 * is imported, read from start to end, written to and committed. `clone-8g`: a clone of it.
 */
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { fio } from '../../helpers/fio.ts'
import { startProgram } from '../../helpers/program.ts'
import { fixed, round, rowOf, type BenchRow, type Series } from '../framework.ts'
import type { BenchHome } from '../parts/bench-home.ts'
import { timed } from '../parts/command.ts'
import { madeUp } from '../parts/dense-image.ts'
import { totalBytes, watchMemory } from '../parts/memory-watch.ts'
import type { Workspace } from '../parts/workspace.ts'

const MEMORY = { name: 'memory', unit: 'MB', better: 'lower', goal: 1 } as const
const CLONE = { name: 'clone-8g', unit: 's', better: 'lower', goal: 1 } as const
const LIMIT_MB = 500
const CLONE_LIMIT_SECONDS = 1
const MIB = 1024 ** 2

export async function bigRows(workspace: Workspace): Promise<BenchRow[]> {
  const { directory, opts } = workspace
  const scale = opts.small ? 128 : 1
  const [sizeBytes, dataBytes] = [65_536, 8192].map((mib) => (mib * MIB) / scale)
  const image = path.join(directory, 'big.raw')
  opts.log(`memory: an image with ${dataBytes / MIB} MiB of data in ${sizeBytes / MIB} MiB`)
  await madeUp(image, sizeBytes, dataBytes)
  const home = await workspace.home()

  opts.log('memory: import, reads, writes')
  const peaks: number[] = []
  const phases: Record<string, string> = {}
  const during = async (phase: string, run: () => Promise<unknown>) => {
    const watch = watchMemory(home)
    try {
      await run()
    } finally {
      const most = watch.end()
      peaks.push(totalBytes(most) / 1e6)
      const [daemon, runner] = [most.daemonBytes, most.runnersBytes].map(mb)
      phases[`${phase}, daemon + runner MB`] = `${daemon} + ${runner}`
    }
  }
  await during('import', () => home.run('create', 'big', '--disk', image))
  await rm(image)
  await during('read', () =>
    served(home, false, (uri) => timed(['nbdcopy', uri, 'null:'], { signal: opts.signal }))
  )
  await during('write and commit', () =>
    served(home, true, (uri) => {
      const written = { rw: 'randwrite', blockBytes: 65_536, depth: 8 } as const
      const options = [`--io_size=${dataBytes / 8}`]
      return fio({ ...written, uri, sizeBytes, options })
    })
  )
  const peak: Series = fixed('ours', Math.max(...peaks))

  opts.log('clone-8g')
  const clones: Series = { name: 'ours', samples: [] }
  const rounds = opts.rounds ?? (opts.small ? 1 : 5)
  const before = await home.storedBytes()
  await home.startDaemon()
  for (let turn = 0; turn < rounds; turn++) {
    const { wallSeconds, cpuSeconds } = await home.run('create', `copy${turn}`, '--from', 'big')
    clones.samples.push({ value: wallSeconds, cpuSeconds })
  }
  const stored = ((await home.storedBytes()) - before) / rounds
  const details = { 'data MB': Math.round(dataBytes / 1e6) }
  const storedKb = { 'stored kB each': round(stored / 1000) }
  return [
    rowOf({ ...MEMORY, details: { ...details, ...phases } }, peak, [fixed('limit', LIMIT_MB)]),
    rowOf({ ...CLONE, details: { ...details, ...storedKb } }, clones, [
      fixed('limit', CLONE_LIMIT_SECONDS)
    ])
  ]
}

function mb(bytes: number): number {
  return Math.round(bytes / 1e6)
}

async function served(
  home: BenchHome,
  writable: boolean,
  run: (uri: string) => Promise<unknown>
): Promise<void> {
  const args = ['--home', home.device.home, '--json', 'serve', 'big']
  const serve = startProgram(writable ? [...args, '--writable'] : args)
  try {
    const { volumes } = (await serve.first()) as { volumes: { disk0: string } }
    await run(volumes.disk0)
  } finally {
    await serve.interrupt()
  }
}
