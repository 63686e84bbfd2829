/** A directory for one run of a suite, with a private DHT, removed at the end with everything that runs in it. */
import { mkdtemp } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { cleanUp } from '../../../examples/demo/clean-up.ts'
import { Janitor } from '../../../examples/demo/janitor.ts'
import { startDht } from '../../../examples/demo/private-dht.ts'
import type { BenchOptions } from '../framework.ts'
import { BenchHome } from './bench-home.ts'

export interface Workspace {
  directory: string
  bootstrap: string
  opts: BenchOptions
  /** A new device in a folder of its own. */
  home(): Promise<BenchHome>
}

/** Short, for sockets. On the disk that $TMPDIR is on, as are the peers. */
export async function withWorkspace<T>(
  opts: BenchOptions,
  run: (workspace: Workspace) => Promise<T>
): Promise<T> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'hpbench-'))
  const janitor = new Janitor({ directory, keep: false })
  let homes = 0
  try {
    const bootstrap = await startDht(directory)
    const home = () => BenchHome.create(path.join(directory, `${homes++}`), bootstrap, opts.signal)
    return await run({ directory, bootstrap, opts, home })
  } finally {
    while (homes > 0) await cleanUp(path.join(directory, `${--homes}`), false)
    await cleanUp(directory, false)
    janitor.dismiss()
  }
}
