/**
 * Device state in and out, by QEMU's migration stream without RAM (`x-ignore-shared`), through a private socket and
 * never through a file: it holds registers and video memory.
 */
import { chmod, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import path from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../../base/errors.ts'
import type { Qmp, QmpEvent } from './qmp.ts'
import { checkSocketPath } from './socket-path.ts'

const CAPABILITIES = ['x-ignore-shared', 'events']
const BANDWIDTH_BYTES_PER_S = 16 * 1024 ** 3
const DOWNTIME_MS = 60_000
const CONNECT_TIMEOUT_MS = 10_000

export class DeviceState {
  readonly #qmp: Qmp
  readonly #directory: string
  #settle: ((status: 'completed' | 'failed') => void) | null = null
  #count = 0

  constructor(qmp: Qmp, directory: string) {
    this.#qmp = qmp
    this.#directory = directory
  }

  /** Before anything else that this class does. */
  async prepare(): Promise<void> {
    await this.#qmp.execute('migrate-set-capabilities', {
      capabilities: CAPABILITIES.map((capability) => ({ capability, state: true }))
    })
    await this.#qmp.execute('migrate-set-parameters', {
      'max-bandwidth': BANDWIDTH_BYTES_PER_S,
      'downtime-limit': DOWNTIME_MS
    })
  }

  onevent(event: QmpEvent): void {
    if (event.event !== 'MIGRATION') return
    const status = event.data['status']
    if (status === 'completed' || status === 'failed') this.#settle?.(status)
  }

  /** Ends with `VMM_FAILED` when QEMU could not write all of it. */
  async save(): Promise<Readable> {
    const file = this.#socketFile()
    const outcome = this.#outcome()
    outcome.catch(safetyCatch) // the reader may stop before it asks
    const server = createServer()
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen(file, resolve)
      })
      await chmod(file, 0o600)
      const connected = new Promise<Socket>((resolve) => server.once('connection', resolve))
      await this.#qmp.execute('migrate', { uri: `unix:${file}` })
      const early = outcome.then(() => null)
      const socket = await within(Promise.race([connected, early]), 'QEMU did not send its state')
      if (socket === null) throw new HyperparcelError('VMM_FAILED', 'QEMU sent no state')
      socket.on('error', () => {}) // the outcome tells
      return Readable.from(whole(socket, outcome), { objectMode: false })
    } finally {
      server.close()
    }
  }

  /** Rejects with `VMM_STATE_REJECTED`; QEMU does not survive that. */
  async restore(state: Readable): Promise<void> {
    const file = this.#socketFile()
    const outcome = this.#outcome()
    outcome.catch(safetyCatch)
    try {
      await this.#qmp.execute('migrate-incoming', { uri: `unix:${file}` })
      const socket = connect(file)
      socket.on('error', () => {}) // QEMU may hang up before it has read all
      const sent = pipeline(state, socket)
      sent.catch(safetyCatch)
      // QEMU knows the end of its stream; when ours breaks off it will never come
      await Promise.race([outcome, sent.then(() => outcome)])
      await sent.catch(safetyCatch)
    } catch (err) {
      state.destroy()
      throw new HyperparcelError('VMM_STATE_REJECTED', 'QEMU did not take the saved state', {
        hint: 'Resume with --reboot to start from the disk, or choose another version.',
        cause: err
      })
    } finally {
      await rm(file, { force: true })
    }
  }

  #socketFile(): string {
    return checkSocketPath(path.join(this.#directory, `state-${this.#count++}.sock`))
  }

  #outcome(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#settle = (status) => {
        this.#settle = null
        if (status === 'completed') resolve()
        else this.#reason().then((why) => reject(new HyperparcelError('VMM_FAILED', why)), reject)
      }
      this.#qmp.closed
        .then(() => reject(new HyperparcelError('VMM_FAILED', 'QEMU ended')))
        .catch(safetyCatch)
    })
  }

  async #reason(): Promise<string> {
    const info = await this.#qmp.execute<{ 'error-desc'?: string }>('query-migrate')
    return info['error-desc'] ?? 'QEMU does not say why its state failed'
  }
}

/** A stream that breaks off looks like one that ends: only QEMU's word makes it whole. */
async function* whole(socket: Socket, outcome: Promise<void>): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of socket) yield chunk as Buffer
    await outcome
  } finally {
    socket.destroy()
  }
}

async function within<T>(promise: Promise<T>, message: string): Promise<T> {
  let timer: NodeJS.Timeout
  const late = new Promise<never>((_, reject) => {
    const expire = () => reject(new HyperparcelError('VMM_UNRESPONSIVE', message))
    timer = setTimeout(expire, CONNECT_TIMEOUT_MS)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}
