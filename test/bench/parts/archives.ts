/**
 * What a user would pick instead to keep disk images: restic, borg and casync from Debian, each with a local
 * repository of its own, encrypted where it can be. casync cannot.
 */
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { timed, type Timed } from './command.ts'

/** Nothing secret is in them. */
const PASSWORD = 'bench'

export interface Archive {
  readonly name: string
  /** Where it keeps everything that a restore needs. */
  readonly repository: string
  /** An empty repository, in the place of an older one. */
  init(): Promise<void>
  store(image: string): Promise<Timed>
  /** The stored image, at that path. */
  restore(target: string): Promise<Timed>
}

export class Restic implements Archive {
  readonly name = 'restic'
  readonly repository: string
  readonly #cache: string
  readonly #signal: AbortSignal

  constructor(directory: string, signal: AbortSignal) {
    this.repository = path.join(directory, 'restic')
    this.#cache = path.join(directory, 'restic-cache')
    this.#signal = signal
  }

  async init(): Promise<void> {
    await rm(this.repository, { recursive: true, force: true })
    await rm(this.#cache, { recursive: true, force: true })
    await this.#run(['init'])
  }

  store(image: string): Promise<Timed> {
    return this.#run(['backup', '--quiet', path.basename(image)], path.dirname(image))
  }

  async restore(target: string): Promise<Timed> {
    const directory = `${target}.d`
    await rm(directory, { recursive: true, force: true })
    return this.#run(['restore', 'latest', '--target', directory])
  }

  #run(args: string[], cwd?: string): Promise<Timed> {
    const command = ['restic', '--repo', this.repository, '--cache-dir', this.#cache, ...args]
    return timed(command, { cwd, env: { RESTIC_PASSWORD: PASSWORD }, signal: this.#signal })
  }
}

export class Borg implements Archive {
  readonly name: string
  readonly repository: string
  readonly #base: string
  readonly #options: string[]
  readonly #signal: AbortSignal

  /**
   * @param sparse as its manual has it for raw images: fixed chunks, holes skipped; else its defaults
   */
  constructor(directory: string, compression: string, sparse: boolean, signal: AbortSignal) {
    this.name = `borg ${compression}${sparse ? ' sparse' : ''}`
    this.repository = path.join(directory, this.name.replaceAll(' ', '-'))
    this.#base = `${this.repository}-base`
    const chunks = sparse ? ['--sparse', '--chunker-params=fixed,4194304'] : []
    this.#options = [`--compression=${compression}`, ...chunks]
    this.#signal = signal
  }

  async init(): Promise<void> {
    await rm(this.repository, { recursive: true, force: true })
    await rm(this.#base, { recursive: true, force: true })
    await mkdir(this.#base, { recursive: true })
    await this.#run(['init', '--encryption=repokey-blake2', this.repository])
  }

  store(image: string): Promise<Timed> {
    const archive = `${this.repository}::image`
    const args = ['create', ...this.#options, archive, path.basename(image)]
    return this.#run(args, path.dirname(image))
  }

  async restore(target: string): Promise<Timed> {
    const directory = `${target}.d`
    await rm(directory, { recursive: true, force: true })
    await mkdir(directory)
    return this.#run(['extract', '--sparse', `${this.repository}::image`], directory)
  }

  #run(args: string[], cwd?: string): Promise<Timed> {
    const env = { BORG_PASSPHRASE: PASSWORD, BORG_BASE_DIR: this.#base }
    return timed(['borg', ...args], { cwd, env, signal: this.#signal })
  }
}

export class Casync implements Archive {
  readonly name = 'casync'
  readonly repository: string
  readonly #signal: AbortSignal

  constructor(directory: string, signal: AbortSignal) {
    this.repository = path.join(directory, 'casync')
    this.#signal = signal
  }

  async init(): Promise<void> {
    await rm(this.repository, { recursive: true, force: true })
    await mkdir(this.repository)
  }

  store(image: string): Promise<Timed> {
    return this.#run(['make', this.#index, image])
  }

  async restore(target: string): Promise<Timed> {
    await rm(target, { force: true })
    return this.#run(['extract', this.#index, target])
  }

  get #index(): string {
    return path.join(this.repository, 'image.caibx')
  }

  #run(args: string[]): Promise<Timed> {
    const store = `--store=${path.join(this.repository, 'store.castr')}`
    return timed(['casync', store, ...args], { signal: this.#signal })
  }
}
