/**
 * Makes a resume pack of a version that is wholly here, in a process of its own: by a rehearsal, or of what a resume
 * touched. The pack goes to a log of its own and is announced when it is durable; no version changes, no lease is needed.
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../../base/errors.ts'
import type { VersionInfo } from '../../fleet/index.ts'
import { ANNEX_PURPOSE } from '../../format/registry.ts'
import { Reply, type Handlers } from '../../ipc/channel.ts'
import type { HostApi, OpenParams, PackSummary } from '../../runner/protocol.ts'
import type { MachineConfig } from '../../vmm/driver.ts'
import type { FleetNode } from '../node.ts'
import { CommitHost } from '../runners/commit-host.ts'
import type { RunnerProcess } from '../runners/runner-process.ts'
import { startRunner } from '../runners/runner-process.ts'
import { keysJson } from '../runners/stored-blocks.ts'
import type { OpenedVersion } from '../versions/versions.ts'

type Params<M extends keyof HostApi> = HostApi[M]['params']

/** A process that was told to end has ended by then. */
const END_MS = 15_000
/** Behind everything that somebody waits for. */
const NICE = 10

/** `names`: chunks that a resume touched, as a runner's `trace` gives them. */
export type PackWork = { rehearse: MachineConfig } | { names: Buffer }

/** The abort of `signal` rejects at once; the process ends by itself then, a moment later (`ended`). */
export class PackWorker {
  /** Resolves when nothing of it is left. */
  ended: Promise<void> = Promise.resolve()
  readonly #node: FleetNode
  readonly #info: VersionInfo
  readonly #commits: CommitHost

  constructor(node: FleetNode, info: VersionInfo) {
    this.#node = node
    this.#info = info
    this.#commits = new CommitHost({
      store: node.store,
      index: node.index,
      indexer: node.indexer,
      keyEpoch: () => node.registry.keyring.epoch,
      compressionLevel: () => null,
      ownLog: () => node.packLog(info.parcel),
      keysJson: (log) => keysJson(log, node.keysOf(log)),
      mayReference: () => false,
      doomed: () => node.doomed,
      announce: () => {
        throw new HyperparcelError('INTERNAL', 'A resume pack is no version')
      },
      announceMaps: (made, log) => this.#announce(made, log)
    })
  }

  async run(work: PackWork, signal: AbortSignal): Promise<PackSummary> {
    const node = this.#node
    const unpin = node.versions.pin(this.#info)
    const directory = path.join(node.paths.run, `try-${randomBytes(4).toString('hex')}`)
    const state = path.join(node.stateDirectory(this.#info.parcel), 'rehearsal')
    let runner: RunnerProcess | null = null
    node.packs.writing = () => this.#commits.needs()
    try {
      await node.store.flush() // what is read is what a runner can read by itself
      const opened = await node.versions.open(this.#info, { local: true })
      const file = path.join(node.stateDirectory(this.#info.parcel), 'rehearsal.log')
      runner = await startRunner(directory, file, this.#handlers())
      await lowerPriority(runner)
      signal.throwIfAborted()
      const open = this.#openParams(opened, directory, state)
      const attachments = [opened.encoded, opened.annex?.encoded ?? Buffer.alloc(0)]
      if ('rehearse' in work) {
        const params = { open, machine: work.rehearse }
        return await runner.call('rehearse', params, { attachments, signal })
      }
      attachments.push(work.names)
      const params = { open, traceBytes: work.names.byteLength }
      return await runner.call('pack', params, { attachments, signal })
    } finally {
      node.packs.writing = null
      unpin()
      this.ended = this.#clean(runner, directory, state)
    }
  }

  async #clean(runner: RunnerProcess | null, directory: string, state: string): Promise<void> {
    if (runner !== null && !runner.channel.closed) {
      const signal = AbortSignal.timeout(END_MS)
      await once(runner.channel, 'close', { signal }).catch(() => runner.channel.close())
    }
    await rm(directory, { recursive: true, force: true }).catch(safetyCatch)
    await rm(state, { recursive: true, force: true }).catch(safetyCatch)
  }

  #openParams(opened: OpenedVersion, runDirectory: string, stateDirectory: string): OpenParams {
    const node = this.#node
    return {
      parcel: this.#info.parcel.toString('hex'),
      version: this.#info.version.toString('hex'),
      recordBytes: opened.encoded.byteLength,
      keys: opened.record.logs.map(({ key }) => keysJson(key, node.keysOf(key))),
      pack: null,
      seeds: [], // it reads what is stored
      dedupKey: node.registry.keyring.dedupKey.toString('hex'),
      overlayKey: node.overlayKey.toString('hex'),
      storeDirectory: node.paths.store,
      stateDirectory,
      runDirectory,
      cacheDirectory: node.cacheDirectory
    }
  }

  #handlers(): Handlers {
    const commits = this.#commits
    return {
      blocks: (params: Params<'blocks'>) => this.#blocks(params),
      logKeys: ({ logs }: Params<'logKeys'>) => ({
        keys: logs.map((log) => {
          const key = Buffer.from(log, 'hex')
          return keysJson(key, this.#node.keysOf(key))
        })
      }),
      'commit.begin': () => commits.begin(),
      'commit.append': (params: Params<'commit.append'>, { attachment, recycle }) =>
        commits.append(params, attachment).finally(recycle),
      'commit.reissue': (params: Params<'commit.reissue'>) => commits.reissue(params),
      event: () => null
    }
  }

  /** Of what is stored here: nothing is fetched for it. */
  async #blocks({ log: key, blocks }: Params<'blocks'>): Promise<Reply> {
    const log = await this.#node.store.open(Buffer.from(key, 'hex'))
    const found: Buffer[] = []
    for (const block of blocks) {
      const data = await log.read(block)
      if (data === null) {
        throw new HyperparcelError('DATA_UNREACHABLE', 'What is rehearsed is not all here')
      }
      found.push(data)
    }
    return new Reply({ lengths: found.map((data) => data.byteLength) }, found)
  }

  async #announce(made: Params<'commit.reissue'>['maps'], log: Buffer): Promise<void> {
    const { registry, identity } = this.#node
    const { parcel, version } = this.#info
    const own = registry
      .packs(version)
      .find(({ device }) => device.equals(identity.device.publicKey))
    const serial = (own?.serial ?? 0) + 1
    const purpose = ANNEX_PURPOSE.RESUME_PACK
    for (const { block } of made) {
      await registry.append({
        kind: 'annex',
        body: { parcel, version, purpose, serial, log, block }
      })
    }
  }
}

async function lowerPriority(runner: RunnerProcess): Promise<void> {
  const { pid } = await runner.call('status', null)
  try {
    os.setPriority(pid, NICE)
  } catch (err) {
    safetyCatch(err) // it has ended
  }
}
