/** Directories for the parts of a suite, with one private DHT, removed with everything that runs in them. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { cleanUp } from '../../../examples/demo/clean-up.ts'
import { Janitor } from '../../../examples/demo/janitor.ts'
import { startDht } from '../../../examples/demo/private-dht.ts'
import type { BenchOptions, BenchRow } from '../framework.ts'
import { BenchHome } from './bench-home.ts'

export interface Workspace {
  /** For this part alone. On the disk that $TMPDIR is on; its path is short, for sockets. */
  directory: string
  bootstrap: string
  opts: BenchOptions
  /** A new device and fleet. */
  home(): Promise<BenchHome>
}

export interface BenchPart {
  rows: string[]
  measure(workspace: Workspace): Promise<BenchRow[]>
}

/** Measures the parts that have a row which is asked for, one after the other; each starts with nothing. */
export async function measureParts(opts: BenchOptions, parts: BenchPart[]): Promise<BenchRow[]> {
  const wanted = parts.filter(({ rows }) => rows.some(opts.wants))
  const top = await mkdtemp(path.join(os.tmpdir(), 'hpbench-'))
  const janitor = new Janitor({ directory: top, keep: false })
  const measured: BenchRow[] = []
  try {
    const bootstrap = await startDht(top)
    for (const [i, part] of wanted.entries()) {
      const directory = path.join(top, `${i}`)
      measured.push(...(await measurePart(directory, bootstrap, opts, part)))
    }
  } finally {
    await cleanUp(top, false)
    janitor.dismiss()
  }
  return measured.filter((row) => opts.wants(row.name))
}

async function measurePart(
  directory: string,
  bootstrap: string,
  opts: BenchOptions,
  part: BenchPart
): Promise<BenchRow[]> {
  await mkdir(directory)
  const homes: string[] = []
  const home = () => {
    homes.push(path.join(directory, `${homes.length}`))
    return BenchHome.create(homes.at(-1)!, bootstrap, opts.signal)
  }
  try {
    return await part.measure({ directory, bootstrap, opts, home })
  } finally {
    for (const place of homes) await cleanUp(place, false)
    await rm(directory, { recursive: true, force: true })
  }
}
