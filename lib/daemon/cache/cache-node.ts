/**
 * The daemon of a cache: one store, and a part in each fleet that enrolled it. It takes the place of `FleetNode`, and has
 * none of the keys that one needs.
 */
import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import ReadyResource from 'ready-resource'
import { HyperparcelError } from '../../base/errors.ts'
import { syncDirectory } from '../../base/files.ts'
import type { Logger } from '../../base/logger.ts'
import type { HomePaths } from '../../base/paths.ts'
import { loadIdentity, type FleetIdentity } from '../../fleet/index.ts'
import { LogStore } from '../../store/log-store.ts'
import type { Settings } from '../config.ts'
import { CacheFleet, loadState, storeState } from './cache-fleet.ts'

/** Of a fleet that did not answer yet. Fleets have names in hex. */
const CANDIDATE = 'new'

export interface CacheNodeOptions {
  paths: HomePaths
  settings: Readonly<Settings>
  logger: Logger
}

export class CacheNode extends ReadyResource {
  readonly paths: HomePaths
  readonly logger: Logger
  readonly store: LogStore
  readonly #settings: Readonly<Settings>
  readonly #fleets = new Map<string, CacheFleet>()
  /** Fleet (hex) of each log (hex). */
  readonly #owners = new Map<string, string>()
  #compacting: Promise<unknown> = Promise.resolve()
  readonly #closing = new AbortController()

  constructor({ paths, settings, logger }: CacheNodeOptions) {
    super()
    this.paths = paths
    this.logger = logger
    this.#settings = settings
    this.store = new LogStore({ directory: paths.store })
  }

  protected override async _open(): Promise<void> {
    this.store.on('failed', (err: HyperparcelError) => this.emit('failed', err))
    await this.store.ready()
    const names = await enrolments(this.paths)
    for (const name of names) {
      // Before any list is looked at: it may name what another fleet has.
      const { logs } = await loadState(path.join(cachesDirectory(this.paths), name))
      for (const log of logs) this.#owners.set(log.toString('hex'), name)
    }
    for (const name of names) await this.#openFleet(name)
  }

  protected override async _close(): Promise<void> {
    this.#closing.abort(new HyperparcelError('INTERRUPTED', 'The daemon ends'))
    for (const fleet of this.#fleets.values()) await fleet.close()
    await this.#compacting
    await this.store.close()
  }

  /** In the order of their ids. */
  fleets(): CacheFleet[] {
    return [...this.#fleets.values()]
  }

  /** Begins to serve a fleet that was enrolled while this runs. */
  async add(identity: FleetIdentity): Promise<CacheFleet> {
    return this.#openFleet(identity.fleet.toString('hex'))
  }

  async #openFleet(name: string): Promise<CacheFleet> {
    const directory = path.join(cachesDirectory(this.paths), name)
    const identity = await loadIdentity(directory)
    if (identity?.role !== 'cache') {
      throw new HyperparcelError('CACHE_DAMAGED', `${directory} is no enrolment of a cache`, {
        hint: 'Put it back from a backup, or remove it and enrol the cache anew.'
      })
    }
    const fleet = new CacheFleet({
      identity,
      directory,
      store: this.store,
      settings: this.#settings,
      logger: this.logger,
      claims: (claimant, log) => this.#claims(claimant, log),
      compact: () => this.#compact()
    })
    await fleet.ready()
    this.#fleets.set(name, fleet)
    return fleet
  }

  #claims({ identity }: CacheFleet, log: Buffer): boolean {
    const name = log.toString('hex')
    const fleet = identity.fleet.toString('hex')
    const owner = this.#owners.get(name)
    if (owner === undefined) this.#owners.set(name, fleet)
    else if (owner !== fleet) {
      this.logger.warn({ log: name }, 'Two fleets name one log: the second one does not get it')
    }
    return owner === undefined || owner === fleet
  }

  /** One at a time. */
  async #compact(): Promise<void> {
    const { signal } = this.#closing
    const turn = this.#compacting.then(async () => {
      if (signal.aborted) return
      await this.store.flush()
      await this.store.compact({ signal })
    })
    this.#compacting = turn.catch(() => {})
    await turn
  }
}

/** `<home>/keys/caches`, with a directory for each fleet. */
function cachesDirectory(paths: HomePaths): string {
  return path.join(paths.keys, 'caches')
}

/** Ids (hex) of the fleets that enrolled this home as a cache. */
export async function enrolments(paths: HomePaths): Promise<string[]> {
  const names = await readdir(cachesDirectory(paths)).catch((err: NodeJS.ErrnoException) => {
    if (err.code === 'ENOENT') return []
    throw err
  })
  return names.filter((name) => /^[0-9a-f]{64}$/.test(name)).toSorted()
}

/** Where the keys of a cache rest until a fleet has answered. */
export async function candidateDirectory(paths: HomePaths): Promise<string> {
  const directory = path.join(cachesDirectory(paths), CANDIDATE)
  await mkdir(directory, { recursive: true, mode: 0o700 })
  await rm(path.join(directory, 'fleet.key'), { force: true }) // of an attempt that was killed
  return directory
}

/** Makes an enrolment durable. Rejects with `FLEET_EXISTS` where that fleet has enrolled this home before. */
export async function enrol(
  paths: HomePaths,
  identity: FleetIdentity,
  quotaBytes: number
): Promise<void> {
  const candidate = path.join(cachesDirectory(paths), CANDIDATE)
  const name = identity.fleet.toString('hex')
  if ((await enrolments(paths)).includes(name)) {
    await rm(candidate, { recursive: true, force: true })
    throw new HyperparcelError('FLEET_EXISTS', 'This home is a cache of that fleet already', {
      hint: 'Use another home for a second cache: --home DIR or HYPERPARCEL_HOME.'
    })
  }
  await storeState(candidate, { quotaBytes, logs: [], uses: [] })
  await rename(candidate, path.join(cachesDirectory(paths), name))
  await syncDirectory(cachesDirectory(paths))
}
